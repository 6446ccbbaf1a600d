"""Git as a witness: small files committed, one commit each time, on a ref of their own that is no branch.

`refs/pai/...` belongs to Pai: the hook lets nobody push there, and the watch does not look there. Each commit's first
parent is the one before, so that what was published once stays in the history. Objects and ref are on disk (fsync)
when `publish` returns. Nothing here knows what the files say, and nothing trusts them: other programs may write there,
so whatever is read has a bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import pygit2
from pygit2.enums import FileMode, ObjectType, RepositoryOpenFlag

from reconciler.core.errors import SourceUnavailable
from reconciler.source import writing
from reconciler.source.history import COMMIT_BYTES_MAX
from reconciler.source.identities import Author
from reconciler.source.mapping import fsck, mapped
from reconciler.source.storing import store

CHECKPOINTS: Final = "refs/pai/checkpoints"
"""The ref of the first log of a repository."""
FILE_BYTES_MAX: Final = 65_536
FILES_MAX: Final = 4


def refs_of(origin: str) -> tuple[str, str]:
    """Name where a log's checkpoints may be: the ref that several logs may want, and its own beside that."""
    return CHECKPOINTS, f"{CHECKPOINTS}-{origin}"


class NoCommit(SourceUnavailable):
    """The ref leads to an object that is no commit as `publish` makes them: nothing can be read from it."""


class Published(NamedTuple):
    """One commit of the ref and its first few files; what is no file of a sane size is left out."""

    commit: str
    files: Mapping[str, bytes]


def newest(path: Path, ref: str = CHECKPOINTS) -> Published | None:
    """Give what was published last, None if nothing was. Raises NoCommit, SourceUnavailable."""
    return next(history(path, ref), None)


def history(path: Path, ref: str = CHECKPOINTS) -> Iterator[Published]:
    """Give everything that was published, newest first. Raises NoCommit where that ends early, SourceUnavailable."""
    with mapped(path):
        repo = _opened(path)
        at = _tip(repo, ref)
    while at is not None:
        with mapped(path):
            oid = at
            try:
                found, at = _read(repo, oid)
            except (KeyError, pygit2.GitError):  # git may have packed meanwhile what was just found
                found, at = _again(path, ref, oid)
        yield found


def tips(path: Path, refs: Iterable[str]) -> dict[str, str | None]:
    """Give the commit of each ref, None for one that is not there; those that cannot be read are left out.

    Raises SourceUnavailable.
    """
    found = {}
    with mapped(path):
        repo = _opened(path)
        for ref in refs:
            with suppress(NoCommit):
                found[ref] = _tip(repo, ref)
    return found


def _opened(path: Path) -> pygit2.Repository:
    return pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)


def _tip(repo: pygit2.Repository, ref: str) -> str | None:
    try:
        return writing.target(repo, ref)
    except (pygit2.GitError, ValueError) as error:
        raise NoCommit(f"{ref} in {repo.path} cannot be read: {error}", fsck(repo.path)) from error


def _read(repo: pygit2.Repository, oid: str) -> tuple[Published, str | None]:
    """Give a commit with its files, and its first parent. Raises KeyError, GitError for what is none."""
    kind, size = repo.odb.read_header(oid)
    if kind != ObjectType.COMMIT or size > COMMIT_BYTES_MAX:
        raise KeyError(oid)
    commit = repo[oid].peel(pygit2.Commit)
    return Published(oid, _files(repo, commit)), str(commit.parent_ids[0]) if commit.parent_ids else None


def _again(path: Path, ref: str, oid: str) -> tuple[Published, str | None]:
    try:
        return _read(_opened(path), oid)
    except (KeyError, pygit2.GitError) as error:
        why = f"commit {oid} of {ref} in {path} is missing or no commit"
        raise NoCommit(why, f"restore it: {fsck(path)}") from error


def publish(
    path: Path,
    expected: str | None,
    files: Mapping[str, bytes],
    message: str,
    author: Author,
    ref: str = CHECKPOINTS,
) -> str:
    """Commit `files` on top of `expected` (None: the ref is new), and give the commit's id.

    Raises RaceLost if the ref is elsewhere, SourceUnavailable.
    """
    with mapped(path):
        repo = _opened(path)
        signature = writing.signature_of(author)
        parents = [] if expected is None else [expected]

        def written(into: pygit2.Repository) -> pygit2.Oid:
            tree = into.TreeBuilder()
            for name, content in files.items():
                tree.insert(name, into.create_blob(content), FileMode.BLOB)
            return into.create_commit(None, signature, signature, message, tree.write(), parents)

        commit = store(repo, written)
        writing.move(repo, ref, expected, commit, signature, message)
    return str(commit)


def _files(repo: pygit2.Repository, commit: pygit2.Commit) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    if repo.odb.read_header(commit.tree_id)[1] > FILE_BYTES_MAX:
        return files
    for entry in islice(commit.tree, FILES_MAX):
        if entry.name and entry.filemode in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE):
            _, size = repo.odb.read_header(entry.id)
            if size <= FILE_BYTES_MAX:
                files[entry.name] = repo.odb.read(entry.id)[1]
    return files
