"""Opening a log's SQLite file, whatever state it and its folder are in.

SQLite needs `-shm` beside a file in WAL mode, also to read. Where it can neither be written nor made (a read-only file
system, another user's folder), nobody writes either, and the file is read as it lies there: `still`. And a `-shm` that
a reader has kept open describes the file of before when another one was copied over it: what it says of the size is
then not believed.
"""

from __future__ import annotations

import os
import sqlite3
from operator import methodcaller
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

BUSY_S: Final = 5.0
_STILL: Final = "mode=ro&immutable=1"
_STILL_WITH_WAL: Final = "mode=ro&vfs=unix-none"
"""Without locks and shared memory: with `locking_mode = EXCLUSIVE` the index of the WAL is made in memory."""

Mark = tuple[tuple[int, ...], ...]
"""What tells files apart: see `mark`."""


class Opened(NamedTuple):
    """A connection; `still` if it sees the file as it was when it was opened."""

    db: sqlite3.Connection
    still: bool


def open_database(path: Path, mode: Literal["ro", "rw"]) -> Opened:
    """Open a log's file; `rw` is for whoever holds its lock, and removes a `-shm` of another file.

    Raises sqlite3.Error.
    """
    try:
        db = connect(path, f"mode={mode}")
        if not _outlived(db, path):
            return Opened(db, still=False)
        db.close()
        if mode == "rw":
            for end in ("-wal", "-shm"):  # of which the first is empty
                beside(path, end).unlink(missing_ok=True)
            return Opened(connect(path, "mode=rw"), still=False)
    except sqlite3.OperationalError as error:
        if mode == "rw" or error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
    return Opened(_open_still(path), still=True)


def beside(path: Path, end: str) -> Path:
    """Name the file that SQLite keeps beside another."""
    return path.with_name(path.name + end)


def mark(path: Path, *, still: bool) -> Mark:
    """Tell the files that are read apart from those that lie there later, also after a copy over them.

    A checkpoint changes it too. What is read as it lies there is another one as soon as anything is written.
    """
    return (_stat(path, content=True), _stat(beside(path, "-shm")), _stat(beside(path, "-wal"), content=True) * still)


def connect(path: Path, how: str) -> sqlite3.Connection:
    """Open a connection with the pragmas that all have, and see that the file can be read. Raises sqlite3.Error."""
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{how}"
    db = sqlite3.connect(
        uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    db.text_factory = methodcaller("decode", "utf-8", "surrogateescape")  # damaged text reaches the checks
    try:
        if how == _STILL_WITH_WAL:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "cache_size = -16384", "user_version"):
            db.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:  # the first statement reads the schema, which may be damaged
        db.close()
        raise
    return db


def _open_still(path: Path) -> sqlite3.Connection:
    return connect(path, _STILL_WITH_WAL if _size(beside(path, "-wal")) else _STILL)


def _outlived(db: sqlite3.Connection, path: Path) -> bool:
    """Tell whether what is known of the file's size comes from a `-shm` of another file: nothing waits in the WAL."""
    before = mark(path, still=True)
    if _size(beside(path, "-wal")) or not _size(beside(path, "-shm")):
        return False
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return bool(pages * size != _size(path)) and before == mark(path, still=True)


def _size(path: Path) -> int:
    found = _stat(path, content=True)
    return found[2] if found else 0


def _stat(path: Path, *, content: bool = False) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, *((found.st_size, found.st_mtime_ns) if content else ()))
