"""Commits made by Pai on behalf of a person.

The new tree is built from the old one, touching only the folders on the way to the changed files. The branch moves
under git's own ref lock and only if it still is where the caller last saw it: a push in between is never lost.
Where the branch is checked out, index and files follow; nothing uncommitted is ever overwritten. Callers map libgit2's
exceptions.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

import pygit2
from pygit2.enums import ObjectType

from reconciler.core.errors import NotFound, Refused, SourceUnavailable
from reconciler.source.checkouts import checkout, follow_branch, parts_of
from reconciler.source.identities import Author, Identity
from reconciler.source.storing import common_dir, store
from reconciler.source.tree_walk import TREES, parse, serialise

_FILES = (b"100644", b"100755", b"100664")
LOCK_WAIT_S = 2.0
"""How long a ref lock held by another git process is waited for."""
LOCK_LEFT_S = 10.0
"""The age in seconds from which a lock of Pai's own refs counts as left behind by a process that was killed, or whose
repository was moved away under it."""
_SYNCING = threading.Lock()
_Entries = dict[bytes, tuple[bytes, bytes]]
"""Of a tree: mode and id by name."""


class RaceLost(Refused):
    """The branch moved while the commit was made; read it again and retry."""

    retry = True


def prepare(
    repo: pygit2.Repository,
    expected_tip: str | None,
    files: Mapping[str, bytes | None],
    message: str,
    author: Author | Identity,
) -> str:
    """Commit `files` on top of `expected_tip` without moving a branch; `expected_tip` if the tree stays the same."""
    base = None if expected_tip is None else str(repo[expected_tip].peel(pygit2.Tree).id)
    places = {parts_of(path): content for path, content in files.items()}
    tree = store(repo, lambda into: _tree(into.odb, base, places, ""))
    assert tree is not None, "only folders below the root vanish when they are empty"
    return _commit(repo, expected_tip, tree, message, author)


def restore(
    repo: pygit2.Repository, expected_tip: str, path: str, folder: str | None, message: str, author: Author | Identity
) -> str:
    """Make the commit on top of `expected_tip` that has the tree `folder` (None for none) at `path`; as `prepare`."""
    root = str(repo[expected_tip].peel(pygit2.Tree).id)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    tree = store(repo, lambda into: _graft(into.odb, root, parts, folder) or str(into.odb.write(ObjectType.TREE, b"")))
    return _commit(repo, expected_tip, tree, message, author)


def land(
    repo: pygit2.Repository,
    branch: str,
    expected_tip: str | None,
    commit: str,
    files: Mapping[str, bytes | None],
    message: str,
    author: Author | Identity,
) -> None:
    """Move the branch to a commit that was made on top of `expected_tip`, in which `files` differ."""
    if commit == expected_tip:
        return
    follow = checkout(repo, branch, files)
    made = pygit2.Oid(hex=commit)
    move(repo, f"refs/heads/{branch}", expected_tip, made, _signatures(author)[1], _text(message))
    if follow is not None:
        follow_branch(repo, follow, commit, files)


def _commit(
    repo: pygit2.Repository, expected_tip: str | None, tree: str, message: str, author: Author | Identity
) -> str:
    if expected_tip is not None and tree == str(repo[expected_tip].peel(pygit2.Tree).id):
        return expected_tip
    written, committed = _signatures(author)
    parents = [] if expected_tip is None else [expected_tip]
    oid = pygit2.Oid(hex=tree)
    return str(store(repo, lambda into: into.create_commit(None, written, committed, _text(message), oid, parents)))


def _signatures(author: Author | Identity) -> tuple[pygit2.Signature, pygit2.Signature]:
    both = author if isinstance(author, Identity) else Identity(author, author)
    return signature_of(both.author), signature_of(both.committer)


def _text(message: str) -> str:
    return message.encode("utf-8", "replace").decode("utf-8").rstrip("\n") + "\n"


def signature_of(author: Author) -> pygit2.Signature:
    """Make of any name and address one that a commit can carry."""
    name, email = (re.sub(r"[<>\x00-\x1f\ud800-\udfff]", "", text).strip(" .,:;\"'\\") for text in author[:2])
    if author.when is None:
        return pygit2.Signature(name or email or "unknown", email or "unknown")
    return pygit2.Signature(name or email or "unknown", email or "unknown", author.when, author.offset)


def _tree(odb: pygit2.Odb, base: str | None, files: Mapping[tuple[str, ...], bytes | None], prefix: str) -> str | None:
    """Write the tree `base` with `files` put in, and give its id; None if nothing is left."""
    present = _entries(odb, base)
    folders: dict[str, dict[tuple[str, ...], bytes | None]] = {}
    for parts, content in files.items():
        if len(parts) > 1:
            folders.setdefault(parts[0], {})[parts[1:]] = content
            continue
        name = os.fsencode(parts[0])
        mode, _ = _require(present, name, prefix, _FILES)
        if content is not None:
            present[name] = (mode or b"100644", odb.write(ObjectType.BLOB, content).raw)
        elif present.pop(name, None) is None:
            raise NotFound(f"there is no file {prefix}{parts[0]}")
    for folder, below in folders.items():
        name = os.fsencode(folder)
        _, old = _require(present, name, prefix, TREES)
        tree = _tree(odb, old.hex() if old else None, below, f"{prefix}{folder}/")
        if tree is not None:
            present[name] = (TREES[0], bytes.fromhex(tree))
        else:
            present.pop(name, None)
    return _written(odb, present) if present or not prefix else None


def _graft(odb: pygit2.Odb, tree: str | None, parts: list[str], folder: str | None) -> str | None:
    """Write a tree with `folder` (a tree, or None) in the place of the folder at `parts`; None if nothing is left."""
    if not parts:
        return folder
    present = _entries(odb, tree)
    name = os.fsencode(parts[0])
    mode, old = present.pop(name, (b"", b""))
    below = _graft(odb, old.hex() if mode in TREES else None, parts[1:], folder)
    if below is not None:
        present[name] = (TREES[0], bytes.fromhex(below))
    return _written(odb, present) if present else None


def _entries(odb: pygit2.Odb, tree: str | None) -> _Entries:
    return {} if tree is None else {name: (mode, oid) for mode, name, oid in parse(odb.read(tree)[1], tree)}


def _written(odb: pygit2.Odb, entries: _Entries) -> str:
    return str(odb.write(ObjectType.TREE, serialise((mode, name, oid) for name, (mode, oid) in entries.items())))


def _require(present: _Entries, name: bytes, prefix: str, modes: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Give mode and id of what has that name now, empty for nothing. Raises Refused if it is of another sort."""
    mode, oid = present.get(name, (b"", b""))
    if mode and mode not in modes:
        sort = "a folder" if modes is TREES else "a regular file"
        raise Refused(f"{prefix}{os.fsdecode(name)} is there already, and not as {sort}", "choose another path")
    return mode, oid


def move(
    repo: pygit2.Repository,
    ref: str,
    expected: str | None,
    commit: pygit2.Oid,
    signature: pygit2.Signature,
    message: str,
) -> None:
    """Move a ref under git's ref lock, which other git processes honour, if it is where it is expected.

    Raises RaceLost if it is elsewhere, SourceUnavailable if the lock stays taken or the repository goes away meanwhile.
    """
    name = f"branch {ref.removeprefix('refs/heads/')}" if ref.startswith("refs/heads/") else ref
    repo.set_ident(signature.name, signature.email)  # for the reflog: pygit2 1.21 cannot pass a signature to it
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            with _still_there(repo, ref), _synced(), repo.transaction() as transaction:
                transaction.lock_ref(ref)
                if (now := target(repo, ref)) != expected:
                    raise RaceLost(
                        f"{name} moved to {now[:12] if now else 'nowhere'} meanwhile", "run the command again"
                    )
                transaction.set_target(ref, commit, message=f"pai: {message.splitlines()[0][:200]}")
            return
        except pygit2.GitError as error:
            if "lock" not in str(error):
                raise
            _remove_left_lock(repo, ref)
            if time.monotonic() > deadline:
                lock = Path(repo.path, f"{ref}.lock")
                raise SourceUnavailable(
                    f"{name} is locked by another git process", f"if no git process runs, remove {lock}"
                ) from error
        time.sleep(0.01)


def _remove_left_lock(repo: pygit2.Repository, ref: str) -> None:
    """Remove an old lock of one of Pai's own refs, which nobody else moves, and which takes no time to be moved."""
    lock = common_dir(Path(repo.path)) / f"{ref}.lock"
    if ref.startswith("refs/pai/"):
        with suppress(OSError):
            if lock.stat().st_mtime < time.time() - LOCK_LEFT_S:
                lock.unlink()


@contextmanager
def _synced() -> Iterator[None]:
    """Have refs synced to the disk. libgit2 does that for a whole process, for objects too, and stops it meanwhile."""
    with _SYNCING:
        pygit2.settings.enable_fsync_gitdir(True)
        try:
            yield
        finally:
            pygit2.settings.enable_fsync_gitdir(False)


@contextmanager
def _still_there(repo: pygit2.Repository, ref: str) -> Iterator[None]:
    """Leave nothing in the place that the repository was moved away from: libgit2 makes the folders above a ref's lock.

    What stayed there would be in the way of whoever moves it back.
    """
    try:
        yield
    finally:
        common = common_dir(Path(repo.path))
        if not _is_left(common, ref):
            raise SourceUnavailable(f"{common} went away meanwhile", "run the command again when it is back")


def _is_left(common: Path, ref: str) -> bool:
    """Tell whether a repository is there; what libgit2 made in its place is removed.

    That is done in the very folder that was looked into: the repository may come back at any moment.
    """
    try:
        handle = os.open(common, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        if "HEAD" in os.listdir(handle):
            return True
        for place in (PurePath(ref), PurePath("logs", ref)):
            with suppress(OSError):
                os.unlink(place, dir_fd=handle)
            with suppress(OSError):
                for folder in place.parents[:-1]:
                    os.rmdir(folder, dir_fd=handle)
        with suppress(OSError):
            common.rmdir()
        return False
    finally:
        os.close(handle)


def target(repo: pygit2.Repository, ref: str) -> str | None:
    """Give the commit that a ref points at, None if there is no such ref."""
    try:
        return str(repo.lookup_reference(ref).resolve().target)
    except KeyError:
        return None
