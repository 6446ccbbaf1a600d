"""The log's file as a file: whether it is there, whether it is still the same one, and its durability.

It is never opened here while SQLite may have it open: `sync` is for files that nobody uses yet, and for folders.
"""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.core.errors import CouldNotRun, LogDamaged
from reconciler.log.sqlite_errors import RESTORE


def must_exist(path: Path) -> None:
    """Make sure that there is a file with something in it. Raises LogDamaged, CouldNotRun."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise LogDamaged(
            f"there is no log at {path}", "restore the file from a backup; a new workspace gets one by `pai init`"
        ) from None
    except OSError as error:
        raise CouldNotRun(f"{path} cannot be read: {error.strerror}", "check its owner and mode") from error
    if not path.is_file() or size == 0:
        raise LogDamaged(f"{path} is empty or no file", RESTORE)


def identity(path: Path) -> tuple[int, int]:
    """Tell files apart, also after a rename over the path; (0, 0) if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def replaced(path: Path) -> LogDamaged:
    """Give the error for a file that is not the one that was opened."""
    return LogDamaged(f"{path} was moved, removed or replaced while in use", "put the file back and start again")


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
