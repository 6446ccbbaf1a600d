"""The log's file as a file: whether it is there, and whether it is still the same one. It is never opened here."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from reconciler.core.errors import CouldNotRun, LogDamaged
from reconciler.log.sqlite.errors import AFRESH, RESTORE


def must_exist(path: Path) -> None:
    """Make sure that there is a file with something in it. Raises LogDamaged, CouldNotRun."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            to = moved_note(path).read_text().strip()
            raise LogDamaged(f"the log at {path} was moved to {to}", "set log.database to that") from None
        raise LogDamaged(
            f"there is no log at {path}", "restore the file from a backup; a new workspace gets one by `pai init`"
        ) from None
    except OSError as error:
        raise CouldNotRun(f"{path} cannot be read: {error.strerror}", "check its owner and mode") from error
    if not path.is_file() or size == 0:
        raise LogDamaged(f"{path} is empty or no file", RESTORE)


def moved_note(path: Path) -> Path:
    """Name the file that says where a log was moved to."""
    return path.with_name(f"{path.name}.moved")


class Ours:
    """A log's file as its one writer left it, to notice that another program replaced it or wrote over it.

    A copy over it (`cp`, `rsync --inplace`) keeps the inode, so its size and the time of its last change count too.
    Nobody but the writer changes them: readers cannot, and what waits in the WAL does not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.take()

    def take(self) -> None:
        """Take the file for what the writer itself has just made of it."""
        self._known = _look(self.path)

    def same(self) -> bool:
        """Tell whether the file is as the writer left it."""
        return _look(self.path) == self._known

    def check(self) -> None:
        """Make sure of it. Raises LogDamaged."""
        now = _look(self.path)
        if now and now != self._known:
            deed = "written over by another program" if now[:2] == self._known[:2] else "replaced by another file"
            raise LogDamaged(f"{self.path} was {deed} while in use: stop what uses it, and restore it", AFRESH)
        if not now:
            hint = "or stop what uses it, and start it where the folder is now"
            raise LogDamaged(f"{self.path} was moved or removed while in use: put it back", hint)


def _look(path: Path) -> tuple[int, ...]:
    """Give what tells files apart, () if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
