"""Work trees that have a branch checked out: whether it may move there, and what follows when it does.

Nothing uncommitted is ever overwritten. Callers map libgit2's exceptions.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, FileStatus

from reconciler.core.errors import CouldNotRun, Refused

_STAGED = FileStatus.INDEX_NEW | FileStatus.INDEX_MODIFIED | FileStatus.INDEX_TYPECHANGE
_EDITED = FileStatus.WT_MODIFIED | FileStatus.WT_TYPECHANGE


def checkout(
    repo: pygit2.Repository, branch: str, expected: str | None, files: Mapping[str, bytes | None]
) -> Path | None:
    """Find the work tree that has to follow the branch (None: there is none); refuse what would lose work there."""
    reference = repo.references.get("HEAD")
    at_head = reference is not None and reference.target == f"refs/heads/{branch}"
    if repo.is_bare or not at_head:
        local = None if expected is None else repo.branches.local.get(branch)
        if local is not None and not (repo.is_bare and at_head) and local.is_checked_out():
            raise Refused(
                f"branch {branch} is checked out in another work tree",
                "set source.repo to the folder of that work tree",
            )
        return None
    root = Path(repo.workdir)
    if Path(repo.path, "index.lock").exists():
        raise Refused(f"another git process works in {root}", "wait for it, or remove a stale .git/index.lock")
    for path, content in files.items():
        for folder in Path(path).parents:
            place = root / folder
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise Refused(f"{place} is not a folder", "move it away")
        if not _clean(repo, root, path) and not _same(repo, root, path, content):
            raise Refused(f"{path} has uncommitted changes", f"commit or stash them first: git -C {root} status")
    return root


def _clean(repo: pygit2.Repository, root: Path, path: str) -> bool:
    try:
        return repo.status_file(path) == FileStatus.CURRENT
    except KeyError:  # git knows nothing of it; neither should the disk
        return not os.path.lexists(root / path)


def _same(repo: pygit2.Repository, root: Path, path: str, content: bytes | None) -> bool:
    """Tell whether the uncommitted file is just what is to be committed, so that nothing can be lost."""
    place = root / path
    try:
        status = repo.status_file(path)
        return not place.is_symlink() and place.read_bytes() == content and not (status & _STAGED and status & _EDITED)
    except (KeyError, OSError):
        return False


def follow_branch(repo: pygit2.Repository, root: Path, commit: str, files: Mapping[str, bytes | None]) -> None:
    """Bring index and files of the work tree up to a commit in which `files` differ. Raises CouldNotRun."""
    try:
        index = repo.index
        index.read(True)
        tree = repo[commit].peel(pygit2.Tree)
        for path, content in files.items():
            if content is None:
                (root / path).unlink(missing_ok=True)
                _remove_empty(root, (root / path).parent)
                index.remove(path)
            else:
                entry = tree[path]
                _replace(root / path, content, executable=entry.filemode == FileMode.BLOB_EXECUTABLE)
                index.add(pygit2.IndexEntry(path, entry.id, FileMode(entry.filemode)))
        index.write()
    except (pygit2.GitError, OSError) as error:
        raise CouldNotRun(
            f"commit {commit[:12]} is made, but the work tree {root} could not follow: {error}",
            f"git -C {root} status shows the files; git -C {root} checkout HEAD -- FILE brings them up to date",
        ) from error


def _remove_empty(root: Path, folder: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _replace(path: Path, content: bytes, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".pai-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, (0o777 if executable else 0o666) & ~mask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
