"""What SQLite's exceptions mean: mapped here, to the errors of core/errors.py, and nowhere else."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.core.errors import CouldNotRun, LogBusy, LogDamaged, LogNotWritable, PaiError, TooLong
from reconciler.log.store import FREE

RESTORE: Final = (
    "restore log.db from a backup, with log.db-wal and log.db-shm moved away; Pai never makes it anew by itself"
)
"""What to do about a file that is not what Pai wrote."""
AFRESH: Final = (
    "with nothing running, move log.db-wal and log.db-shm away, put a whole copy in place of log.db, pai verify"
)
"""What to do about a file that another program wrote over, or put in place of the one in use."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_SCHEMA})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


@contextlib.contextmanager
def mapped(path: Path, writing: bool) -> Iterator[None]:
    """Raise what SQLite raises inside the `with` as an error of ours about the log at `path`."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a bug of ours, not an operating error
    except sqlite3.Error as error:
        raise _error(path, error, writing) from error
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema, and sqlite3 cannot tell what it says
        raise LogDamaged(f"{path} is damaged: its schema cannot be read", RESTORE) from error


def _error(path: Path, error: sqlite3.Error, writing: bool) -> PaiError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _DAMAGED:
        return LogDamaged(f"{path} is damaged: {error}", RESTORE)
    if code == sqlite3.SQLITE_INTERRUPT:
        return TooLong()
    if code in _BUSY:
        hint = "try again; if it stays so, see what has it open, and that its file system knows locks"
        return LogBusy(f"{path} is busy: {error}", hint)
    if writing:
        return LogNotWritable(f"{path} cannot be written: {error}", FREE)
    return CouldNotRun(f"{path} cannot be read: {error}", "check its owner and mode, and the disk")
