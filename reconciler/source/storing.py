"""Objects written into a repository, out of the sight of whoever copies it meanwhile.

libgit2 writes each object under a name of its own beside the others and renames it; `git clone` of a folder copies or
links whatever it finds there, and ends with an error if that is gone a moment later. So objects are written into a
folder of their own next to `objects`, and moved in when all of them are on disk. They are synced here: libgit2 would
keep the whole process waiting for the disk.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import pygit2

T = TypeVar("T")

_PREFIX: Final = "pai-objects-"
_TIMES = 8
_FIRST = 10
"""A priority above libgit2's own backends: it writes to the first one that accepts the object."""
_YOUNG_S = 60
"""A younger folder may not have been locked by its writer yet."""


def store(repo: pygit2.Repository, write: Callable[[pygit2.Repository], T]) -> T:
    """Give what `write` gives, which writes objects into the repository it is handed; they are on disk (fsync) then.

    It is done again if git moved something away meanwhile: git packs also what nothing reaches yet, such as a tree
    whose commit is about to be made, and replaces packs by others, so that libgit2 may look for an object where it just
    was. Objects are named by what they hold, so writing them twice changes nothing.
    """
    for _ in range(_TIMES):
        try:
            return _stored(repo, write)
        except (pygit2.GitError, KeyError) as error:
            if "object not found" not in str(error):
                raise
    return _stored(repo, write)


def _stored(repo: pygit2.Repository, write: Callable[[pygit2.Repository], T]) -> T:
    objects = (common_dir(Path(repo.path)) / "objects").resolve()
    with _folder(objects.parent) as folder:
        odb = pygit2.Odb(str(objects))
        odb.add_backend(pygit2.OdbBackendLoose(str(folder), -1, False), _FIRST)
        beside = pygit2.Repository(repo.path)
        beside.set_odb(odb)
        given = write(beside)
        changed = [(f"{folder}/{name}", f"{objects}/{name}") for name in os.listdir(folder)]
        made = False
        for below, into in changed:
            for name in os.listdir(below):
                _sync(f"{below}/{name}")
                made |= _move(f"{below}/{name}", into, name)
            os.rmdir(below)
            _sync(into)
        if made:
            _sync(str(objects))
    return given


def common_dir(git_dir: Path) -> Path:
    """Give the folder that holds refs and objects: the git directory, or the main one behind a linked work tree's."""
    try:
        return (git_dir / (git_dir / "commondir").read_text().strip()).resolve()
    except OSError:
        return git_dir


@contextmanager
def _folder(common: Path) -> Iterator[Path]:
    """Make a folder that is locked as long as somebody writes there, which tells it from what was left over."""
    _remove_leftovers(common)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=common))
    try:
        with _opened(folder) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield folder
    finally:
        try:
            folder.rmdir()
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(common: Path) -> None:
    """Remove the folders of writers that were killed."""
    for name in os.listdir(common):
        if not name.startswith(_PREFIX):
            continue
        folder = common / name
        with suppress(OSError), _opened(folder) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.stat().st_mtime < time.time() - _YOUNG_S:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened(place: Path | str) -> Iterator[int]:
    handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        yield handle
    finally:
        os.close(handle)


def _move(place: str, folder: str, name: str) -> bool:
    """Move an object into a folder, and tell whether that had to be made.

    Git may remove it as long as it is empty, and whoever shares the others may use it.
    """
    made = False
    for _ in range(_TIMES):
        with suppress(FileExistsError):
            os.mkdir(folder)
            os.chmod(folder, stat.S_IMODE(os.stat(f"{folder}/..").st_mode))
            made = True
        with suppress(FileNotFoundError):
            os.rename(place, f"{folder}/{name}")
            return made
    os.rename(place, f"{folder}/{name}")
    return made


def _sync(place: str) -> None:
    with suppress(FileNotFoundError), _opened(place) as handle:  # git packed what was in a folder, and removed it
        os.fsync(handle)
