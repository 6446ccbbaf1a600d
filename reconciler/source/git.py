"""One git repository on this machine, read by object id and written by compare-and-swap.

Reads go to the object database and the refs, never to a work tree or an index, so what is not committed does not exist
here. Every failure of libgit2 or the file system leaves this package as SourceUnavailable; a repository that vanished
comes back by opening it anew. A tree that itself cannot be judged is TreeRefused: waiting would not mend it.

A Repository is used by one thread at a time; open one for each thread (0.1 ms).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType, RepositoryOpenFlag

from reconciler.core.errors import NotFound, SourceUnavailable
from reconciler.source import absence, history, identities, tree_walk, writing
from reconciler.source.commits import CommitInfo, parse_commit, trailers
from reconciler.source.history import Walk
from reconciler.source.identities import Author, Identity
from reconciler.source.mapping import fsck, mapped, unavailable
from reconciler.source.storing import common_dir
from reconciler.source.tree_walk import TreeEntry
from reconciler.source.writing import RaceLost

__all__ = ["Author", "Identity", "RaceLost", "Repository", "TreeEntry", "Walk"]

CACHE_BYTES_MAX = 16 * 1024 * 1024
"""The most bytes of objects that libgit2 keeps once they were read, of all repositories together.

Its own limit is 256 MiB, and a history that a remote sends in a few megabytes has as many commits.
"""
KIN_TIPS_MAX = 1000
"""The most refs of a repository that are looked for in another one to see whether both share a history."""
pygit2.settings.cache_max_size(CACHE_BYTES_MAX)
pygit2.settings.set_extensions(["partialclone"])  # set by older gits; what is missing is told, or brought: `promised`

_URL = re.compile(r"\A(?:[A-Za-z][A-Za-z0-9+.-]*:/|[^/]+@[^/]+:)")
_NAME = re.compile(r"\w[\w./-]*")
"""A remote's name that may stand in a command that people are told to type."""
_PROMISOR = re.compile(r"remote\.(.*)\.promisor", re.DOTALL)
_TREE_OF = re.compile(rb"\Atree ([0-9a-f]{40})\n")


class ObjectMissing(SourceUnavailable):
    """There is no object with the id `oid`."""

    def __init__(self, message: str, hint: str, oid: str) -> None:
        super().__init__(message, hint)
        self.oid = oid


class Repository:
    """A repository: bare, with a work tree, or a linked work tree."""

    def __init__(self, repo: pygit2.Repository, path: Path) -> None:
        self._repo = repo
        self._odb = repo.odb
        self._trees: set[str] = set()
        self._entry_set = tree_walk.Remembered(self._tree)
        self.path = path
        self.quarantine: tuple[str, ...] = ()
        self.tree_bytes_max = tree_walk.FOLDER_BYTES_MAX
        self.git_dir = common_dir(Path(repo.path))
        self._standing = _standing(path)
        self.work_tree = Path(repo.workdir) if repo.workdir else None
        """The top of the files that are checked out, None if it is bare."""

    @classmethod
    def open(cls, path: Path, quarantine: Iterable[str] = ()) -> Repository:
        """Open the repository at `path` itself, without searching the folders above.

        With `quarantine` the objects of a push under way are seen too: the folders that `quarantine_folders` names.
        Raises SourceUnavailable.
        """
        if _URL.match(str(path)) and not path.exists():
            raise SourceUnavailable("a remote repository is not opened but mirrored", "name a path on this machine")
        with mapped(path):
            repository = cls(pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH), path)
            repository.quarantine = tuple(quarantine)
            for folder in repository.quarantine:
                repository._odb.add_disk_alternate(folder)
        return repository

    def see(self, objects: Path) -> None:
        """Read the objects in a folder too, until this is closed."""
        with mapped(self.path):
            self._odb.add_disk_alternate(str(objects))

    @property
    def promisor(self) -> str:
        """Name the remote that promised what a partial clone lacks, "" if this is none."""
        said = [(_PROMISOR.fullmatch(key), value.lower()) for key, value in self.all_configured()]
        names = (found[1] for found, value in said if found and value in ("", "true", "yes", "on", "1"))
        return self.configured("extensions.partialclone") or next(names, "")

    @property
    def hint_to_complete(self) -> str:
        """Say how to fetch what a partial clone lacks."""
        name = self.promisor
        safe = name if _NAME.fullmatch(name) else "origin"
        return f"git -C {shlex.quote(str(self.path))} fetch --refetch --no-filter {safe}"

    def all_configured(self) -> list[tuple[str, str]]:
        """Give every setting of the repository's configuration, its name in lower case but for what users chose."""
        with mapped(self.path):
            return [(entry.name, entry.value or "") for entry in self._repo.config]

    def configured(self, key: str) -> str:
        """Give a value of the repository's configuration, "" if it is not set."""
        with mapped(self.path):
            return str(self._repo.config[key]) if key in self._repo.config else ""

    def tip(self, branch: str) -> str | None:
        """Give the commit id that the branch points at; None if the branch does not exist."""
        found = self.target(f"refs/heads/{branch}")
        if found is None:
            self._require_alive()
        return found

    def target(self, ref: str) -> str | None:
        """Give the commit that a ref of any kind points at, None if there is no such ref."""
        with mapped(self.path):
            return writing.target(self._repo, ref)

    def drop_refs(self, folder: str, but: Set[str]) -> None:
        """Delete the refs whose names begin with `folder`, all but some."""
        with mapped(self.path):
            for ref in list(self._repo.references):
                if ref.startswith(folder) and ref not in but:
                    self._repo.references.delete(ref)

    def is_kin(self, other: Repository) -> bool:
        """Tell whether one has a tip of the other, as a clone and its origin do."""
        with mapped(self.path):
            return any(tip in two._odb for one, two in ((self, other), (other, self)) for tip in one._tips())

    def _tips(self) -> Iterator[str]:
        for name in islice(self._repo.raw_listall_references(), KIN_TIPS_MAX):
            with contextlib.suppress(KeyError, pygit2.GitError):
                yield str(self._repo.lookup_reference(os.fsdecode(name)).resolve().target)

    @property
    def replaced(self) -> bool:
        """Tell whether something else stands at the path now than was opened, as behind a link that was switched."""
        return _standing(self.path) != self._standing

    def missing(self, branch: str) -> SourceUnavailable | None:
        """Say that a branch does not exist and what does; None if there is no commit at all but Pai's own."""
        with mapped(self.path):
            refs = [os.fsdecode(name) for name in self._repo.raw_listall_references()]
            head = None if self._repo.head_is_unborn else str(self._repo.head.target)
        self._require_alive()
        return absence.missing(self.path, branch, [ref for ref in refs if not ref.startswith("refs/pai/")], head)

    def resolve(self, rev: str) -> str:
        """Give the commit id that any revision means (`HEAD~2`, a tag, a short id). Raises NotFound."""
        try:
            return str(self._repo.revparse_single(rev).peel(pygit2.Commit).id)
        except (KeyError, ValueError) as error:
            self._require_alive()
            hint = f"git -C {shlex.quote(str(self.path))} log --oneline --all lists them"
            raise NotFound(f"no commit {rev!r} in {self.path}", hint) from error
        except (pygit2.GitError, OSError) as error:
            self._require_alive()
            raise unavailable(self.path, error) from error

    def commit(self, sha: str) -> CommitInfo:
        """Give what the commit says about itself. Raises CommitUnreadable, SourceUnavailable."""
        raw = self._read(sha, ObjectType.COMMIT)
        history.parents_of(self._repo, sha, raw)
        return parse_commit(sha, raw)

    def has_trailer(self, sha: str, key: str, value: str) -> bool:
        """Tell whether the commit carries the trailer `key: value`; the key's case does not matter."""
        return any(k.lower() == key.lower() and v == value for k, v in trailers(self.commit(sha).message))

    def walk(self, tip: str, since: str | None) -> Walk:
        """Give the first-parent commits that came between `since` and `tip`; see `history.walk`."""
        with mapped(self.path):
            return history.walk(self._repo, tip, since)

    def first_parents(self, tip: str) -> Iterator[str]:
        """List `tip` and its first parents, newest first."""
        with mapped(self.path):
            yield from history.first_parents(self._repo, tip)

    def merge_base(self, one: str, other: str) -> str | None:
        """Give the commit that two commits both come from; None if there is none here (a shallow clone's edge)."""
        with mapped(self.path):
            found: pygit2.Oid | None = self._repo.merge_base(one, other)
        return None if found is None else str(found)

    @property
    def is_shallow(self) -> bool:
        """Tell whether older commits were left out when it was cloned."""
        return bool(self._repo.is_shallow)

    def reachable(self, sha: str, hide: str | None = None) -> Iterator[str]:
        """List the commits reachable from `sha` and not from `hide`, all parents followed, `sha` first.

        If `hide` is no longer in the repository nobody can tell what came since, and `sha` alone is listed. Of a commit
        that cannot be read nobody can tell what it comes from.
        """
        with mapped(self.path):
            yield from history.reachable(self._repo, sha, hide)

    def ancestors(self, sha: str, hidden: Set[str] = frozenset()) -> Iterator[str]:
        """List `sha` and all that it comes from, nearest first, as far as it is not `hidden` nor behind what is."""
        with mapped(self.path):
            yield from history.ancestors(self._repo, sha, hidden)

    def holds(self, oid: str) -> bool:
        """Tell whether there is such an object."""
        with mapped(self.path):
            return oid in self._odb

    def is_commit(self, oid: str) -> bool:
        """Tell whether there is such a commit."""
        with mapped(self.path):
            return oid in self._odb and self._odb.read_header(oid)[0] == ObjectType.COMMIT

    def entries(
        self,
        sha: str,
        path: str = ".",
        wanted: tree_walk.Wanted | None = None,
        budget: tree_walk.TreeBudget | None = None,
    ) -> Iterator[TreeEntry]:
        """List files, links and submodules below `path` in the commit, all or those `wanted`."""
        tree = self._subtree(sha, path)
        return iter(()) if tree is None else tree_walk.entries(self._tree, tree, wanted, budget)

    def leaf(self, sha: str, path: str, name: str) -> TreeEntry | None:
        """Find what is no folder and has that name in the folder `path` of the commit."""
        tree = self._subtree(sha, path)
        return None if tree is None else tree_walk.leaf(self._tree, tree, name)

    def changes(
        self,
        old_sha: str,
        new_sha: str,
        path: str = ".",
        budget: tree_walk.TreeBudget | None = None,
        wanted: tree_walk.Wanted | None = None,
    ) -> list[tuple[str, TreeEntry | None]]:
        """Compare two commits below `path`: each path that differs with its new entry, or None if it is gone."""
        old, new = (self._subtree(sha, path) for sha in (old_sha, new_sha))
        return tree_walk.changes(self._entry_set, old, new, budget, wanted)

    def blob(self, oid: str) -> bytes:
        """Give the content of a file by its object id; ask `size` first."""
        return self._read(oid, ObjectType.BLOB)

    def blob_at(self, sha: str, path: str) -> bytes | None:
        """Give the content of the file at `path` (relative to the repository) in the commit; None if there is none."""
        folder, _, name = path.rpartition("/")
        found = self.leaf(sha, folder or ".", name)
        return self.blob(found.oid) if found is not None and found.kind == "file" else None

    def size(self, oid: str) -> int:
        """Give the size of an object in bytes without reading it."""
        try:
            return self._odb.read_header(oid)[1]
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            raise self._unreadable(oid, error) from error

    def write(
        self,
        branch: str,
        expected_tip: str | None,
        files: Mapping[str, bytes | None],
        message: str,
        author: Author | Identity,
    ) -> str:
        """Commit `files` (path in the repository -> content, None deletes) on `expected_tip` and move the branch there.

        `expected_tip` None makes the branch. Gives the new commit's id, or `expected_tip` if nothing changes; objects
        and ref are on disk (fsync) then. Raises RaceLost if the branch is elsewhere, Refused if a path cannot be
        written or has uncommitted changes.
        """
        commit = self.prepare(expected_tip, files, message, author)
        with mapped(self.path):
            writing.land(self._repo, branch, expected_tip, commit, files, message, author)
        return commit

    def restore(self, expected_tip: str, commit: str, path: str, message: str, author: Author | Identity) -> str:
        """Make a commit on top of `expected_tip` whose folder `path` is that of `commit`; `land` moves the branch.

        Gives `expected_tip` if nothing changes.
        """
        with mapped(self.path):
            return writing.restore(self._repo, expected_tip, path, self._subtree(commit, path), message, author)

    def land(self, branch: str, expected_tip: str, commit: str, path: str, author: Author | Identity) -> None:
        """Move the branch to a commit that differs from `expected_tip` below `path` only; otherwise as `write`."""
        with mapped(self.path):
            prefix = "" if path == "." else f"{path.rstrip('/')}/"
            files = {
                prefix + name: None if entry is None else self.blob(entry.oid)
                for name, entry in self.changes(expected_tip, commit, path)
                if entry is None or entry.kind == "file"
            }
            message = self.commit(commit).message
            writing.land(self._repo, branch, expected_tip, commit, files, message, author)

    def prepare(
        self, expected_tip: str | None, files: Mapping[str, bytes | None], message: str, author: Author | Identity
    ) -> str:
        """Make the commit that `write` would make, for somebody else to move the branch there."""
        with mapped(self.path):
            return writing.prepare(self._repo, expected_tip, files, message, author)

    def identity(self) -> Identity:
        """Tell who commits here, as git does. Raises Refused if git would not commit, CouldNotRun without git."""
        return identities.identity(self.git_dir)

    def has_folder(self, sha: str, path: str) -> bool:
        """Tell whether the commit has that folder."""
        return self._subtree(sha, path) is not None

    def checked_out(self) -> list[str]:
        """Give the commit that HEAD leads to, nothing if there is none."""
        with mapped(self.path):
            return [] if self._repo.head_is_unborn else [str(self._repo.head.peel(pygit2.Commit).id)]

    def names(self, tree: str) -> list[tuple[str, bool, str]]:
        """List the entries of one tree: each name, whether it is a folder, and its id."""
        return [
            (os.fsdecode(name), mode in tree_walk.TREES, oid.hex())
            for mode, name, oid in tree_walk.parse(self._tree(tree), tree)
        ]

    def root(self, sha: str) -> str:
        """Give the id of a commit's tree."""
        if sha in self._trees:
            return sha
        found = _TREE_OF.match(self._read(sha, ObjectType.COMMIT))
        if found is None:
            raise SourceUnavailable(f"commit {sha} in {self.path} is malformed", fsck(self.path))
        return found[1].decode("ascii")

    def treat_as_commit(self, tree: str) -> None:
        """Take the id of a tree for a commit that holds it from now on: so a tree without a commit can be judged."""
        self._trees.add(tree)

    def _subtree(self, sha: str, path: str) -> str | None:
        return tree_walk.subtree(self._tree, self.root(sha), path)

    def require_folder(self, sha: str, path: str) -> None:
        """Make sure that `path` is a folder in the commit, or nothing at all. Raises TreeRefused for all else."""
        found = tree_walk.leaf(self._tree, self.root(sha), path)
        if found is not None:
            raise tree_walk.TreeRefused(
                f"the source path {path} is no folder: {found.path} is a {found.kind}", "make it a folder of manifests"
            )

    def _tree(self, oid: str) -> bytes:
        return self._read(oid, ObjectType.TREE)

    def _read(self, oid: str, kind: ObjectType) -> bytes:
        try:
            if kind == ObjectType.COMMIT:
                history.require_small(self._repo, self._odb, oid)
            elif kind == ObjectType.TREE:
                tree_walk.require_small(oid, self._odb.read_header(oid)[1], self.tree_bytes_max)
            found, data = self._odb.read(oid)
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            raise self._unreadable(oid, error) from error
        if found != kind:
            # A tree's word for what it holds is part of the tree, and no repair of the repository changes it.
            refusal = SourceUnavailable if kind == ObjectType.COMMIT else tree_walk.TreeRefused
            raise refusal(f"object {oid} in {self.path} is not a {kind.name.lower()}", fsck(self.path))
        return data

    def _unreadable(self, oid: str, error: Exception) -> SourceUnavailable:
        self._require_alive()
        if isinstance(error, KeyError):
            whole = f"it is a partial clone; fetch the rest: {self.hint_to_complete}" if self.promisor else ""
            hint = whole or f"{fsck(self.path)}; restore or push it again"
            return ObjectMissing(f"object {oid} in {self.path} is missing", hint, oid)
        return SourceUnavailable(
            f"object {oid} in {self.path} cannot be read: {error}", f"{fsck(self.path)}; restore or push it again"
        )

    def _require_alive(self) -> None:
        """A missing ref or object means nothing if the whole repository is gone."""
        if not (self.git_dir / "HEAD").is_file():
            raise SourceUnavailable(f"the repository {self.path} is gone", "restore it, or change source.repo")


def _standing(path: Path) -> tuple[tuple[int, ...], ...]:
    """Tell what stands at a path: which folder, and which folder or file `.git` in it."""
    found = []
    for place in (path, path / ".git"):
        with contextlib.suppress(OSError):
            stands = place.stat()
            written = stands.st_mtime_ns if stat.S_ISREG(stands.st_mode) else 0
            found.append((stands.st_dev, stands.st_ino, written))
    return tuple(found)


def user_identity(path: Path | None) -> Author:
    """Tell who works here, as the repository at `path` knows them, or without it if it is gone or there is none."""
    if path is not None:
        try:
            return identities.somebody(Repository.open(path).git_dir)
        except SourceUnavailable:
            pass  # whoever stores a key while the repository is away is the same person as before
    return identities.somebody(None)
