"""A log in a SQLite file by its place: opening it, and making it whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler import durable
from reconciler.core.errors import LogDamaged, LogNotWritable
from reconciler.core.state import RowKey
from reconciler.log.index import INDEX_VERSION
from reconciler.log.lock import WriterLock
from reconciler.log.sqlite.errors import mapped
from reconciler.log.sqlite.files import moved_note
from reconciler.log.sqlite.opening import connect
from reconciler.log.sqlite.schema import APPLICATION_ID, FORMAT_VERSION, PAGE_BYTES, SCHEMA
from reconciler.log.sqlite.store import SqliteBackend, SqliteReader, lock_path, open_reader
from reconciler.log.sqlite.writing import prepare_writer, write
from reconciler.log.store import FREE, Stored


class SqliteLog(NamedTuple):
    """A log by its file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def place(self) -> str:
        """Give the text that names it in other processes too."""
        return str(self.path.absolute())

    def exists(self) -> bool:
        """Tell whether there is a file."""
        return self.path.exists()

    def reader(self) -> SqliteReader:
        """Open it for reading. Raises LogDamaged, LogBusy, CouldNotRun."""
        return open_reader(self.path)

    def writer(self, wait_s: float = 0.0) -> SqliteBackend:
        """Take the right to write it, waiting for so long. Raises LogBusy, LogDamaged if there is no log."""
        return SqliteBackend(self.path, wait_s)

    def create(self, events: Sequence[Stored], rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Make it. Raises LogDamaged if there is one already, LogBusy, LogNotWritable."""
        create(self.path, events, rows, fold)

    def leave(self, to: str) -> None:
        """Rename the file, which stays beside it, and say where the log is now. Raises LogNotWritable."""
        try:
            durable.replace(moved_note(self.path), f"{to}\n".encode())
            os.rename(self.path, self.path.with_name(f"{self.path.name}.before-move"))
            durable.sync(self.path.parent)
        except OSError as error:
            raise LogNotWritable(f"{self.path} cannot be renamed: {error.strerror}", FREE) from error


def create(path: Path, events: Sequence[Stored], rows: Mapping[RowKey, bytes], fold: int) -> None:
    """Make a log that holds `events` from position 0 on: after a crash there is either none or a whole one.

    Raises LogDamaged if there is a file already, LogBusy, LogNotWritable.
    """
    lock = WriterLock(lock_path(path))
    try:
        for there in (path, path.with_name(path.name + "-wal")):
            if there.exists():
                raise LogDamaged(f"{there} exists already; a log is never made over another", "move it away first")
        draft = path.with_name(path.name + ".new")
        _build(draft, events, rows, fold)
        try:
            os.rename(draft, path)
            durable.sync(path.parent)
        except OSError as error:
            raise LogNotWritable(f"{path} cannot be made: {error.strerror}", FREE) from error
    finally:
        lock.release()


def _build(draft: Path, events: Sequence[Stored], rows: Mapping[RowKey, bytes], fold: int) -> None:
    try:
        for leftover in (draft, *(draft.with_name(draft.name + end) for end in ("-wal", "-shm", "-journal"))):
            leftover.unlink(missing_ok=True)  # of a creation that was killed
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise LogNotWritable(f"{draft} cannot be made: {error.strerror}", FREE) from error
    with mapped(draft, writing=True):
        db = connect(draft, "mode=rw")
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            prepare_writer(db)
            db.execute("BEGIN IMMEDIATE")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            for statement in SCHEMA:
                db.execute(statement)
            db.execute("INSERT INTO head VALUES (0, 0, x'', 0, ?, 0, ?)", (fold, INDEX_VERSION))
            write(db, events, rows)
            db.execute("COMMIT")
        finally:
            db.close()  # checkpoints, so that the one file is the whole log
    durable.sync(draft)
