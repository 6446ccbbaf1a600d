"""The log in one SQLite file: WAL, synchronous=FULL, one read-write connection in one process, any number of readers.

Invariants
- `events` only grows, by position size, size + 1, ...: triggers refuse everything else, also to other programs.
- `head` (one row), `rows` and `events` change in the same transaction; a block of the index has one of its own.
- Only the holder of `<file>.lock` opens for writing; readers open `mode=ro`, never checkpoint, never create the
  file.
- The file itself changes in `_bring_in` and at opening and closing, and by nobody else: what does is noticed (`Ours`).
- The file is never opened but through SQLite while a connection may be open in this process: closing any other
  descriptor of it would drop SQLite's own POSIX locks.
- An existing file is never made anew: what is not a whole log of this version is LogDamaged.

SQLite's exceptions are mapped by `errors`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Literal

from reconciler.core.errors import LogBusy, LogDamaged, LogNotWritable
from reconciler.core.state import RowKey
from reconciler.log.index import Block
from reconciler.log.lock import WriterLock
from reconciler.log.problems import MADE_ANEW
from reconciler.log.sqlite import index, pruned, subtrees
from reconciler.log.sqlite.errors import AFRESH, RESTORE, mapped
from reconciler.log.sqlite.events import EventsReader
from reconciler.log.sqlite.files import Ours, must_exist
from reconciler.log.sqlite.index import IndexReader
from reconciler.log.sqlite.opening import BUSY_S, connect, mark, open_database
from reconciler.log.sqlite.schema import PAGE_BYTES, amiss, lost_guards, put_right, recognise
from reconciler.log.sqlite.writing import HEAD, prepare_writer, put_rows, write
from reconciler.log.store import SNAPSHOT_SPAN, SNAPSHOTS_KEPT, Base, Kept, LogHead, Rows, Snapshot, Stored
from reconciler.tlog.merkle import Frontier

GATHER_S: Final = 1.0
"""How long readers may keep the file from being whole when the writer ends."""
COMMITS_MAX: Final = 200
WAITING_BYTES_MAX: Final = 8 * 1024 * 1024
"""What may wait in the WAL: about the 1,000 pages that SQLite itself would let wait."""

# Damaged values may have another type than their column's; whoever checks them gets the right type all the same.
_ROWS = (
    "SELECT coalesce(CAST(kind AS TEXT), ''), coalesce(CAST(name AS TEXT), ''), coalesce(CAST(body AS BLOB), x'')"
    " FROM rows"
)
_SNAPSHOTS = (
    "SELECT position, coalesce(CAST(fold AS INTEGER), -1), coalesce(CAST(peaks AS BLOB), x''),"
    " coalesce(CAST(data AS BLOB), x''), coalesce(CAST(digest AS BLOB), x'') FROM snapshots ORDER BY position DESC"
)
_SIZE = "SELECT coalesce(max(seq) + 1, 0) FROM events"
_PUT_SNAPSHOT = "INSERT OR REPLACE INTO snapshots (position, fold, peaks, data, digest) VALUES (?, ?, ?, ?, ?)"
_TRIM_SNAPSHOTS = (
    "DELETE FROM snapshots WHERE position NOT IN (SELECT position FROM snapshots ORDER BY position DESC LIMIT ?1)"
    " AND position NOT IN"
    " (SELECT min(position) FROM snapshots WHERE fold = ?2 AND position >= ?3 GROUP BY position / ?3)"
)


def lock_path(path: Path) -> Path:
    """Name the lock file of a log."""
    return path.with_name(path.name + ".lock")


class SqliteBackend:
    """The right to write the log at `path`: holds its lock file from construction to `release`.

    `mended` says which settings of the file were put right.
    """

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        """Take the lock, waiting up to `wait_s` seconds. Raises LogBusy, LogDamaged if there is no log."""
        must_exist(path)
        self.path = path
        self._lock = WriterLock(lock_path(path), wait_s)
        self._ours, self._opened = Ours(path), False
        self.mended: list[str] = []

    def open(self) -> SqliteStore:
        """Open the store for writing. Raises LogDamaged (also if the file is not the one of before), LogNotWritable."""
        if self._opened:  # a file that is again as this process left it needs no check
            self._lock.doubt(not self._ours.same())
        self._ours.check()
        if self._lock.doubted:
            self._prove()
        with contextlib.closing(open_reader(self.path)) as log:  # before the WAL, maybe another file's, is brought in
            log.agree()
        try:
            store = SqliteStore(self.path, self._ours)
        finally:
            self._ours.take()  # on a full disk an opening may fail half-way
        self._opened = True
        self.mended += store.mended
        return store

    def _prove(self) -> None:
        """Read the whole of what another program wrote over before anything is written to it. Raises LogDamaged.

        SQLite puts what waits in a WAL on top of any file, also of one that it does not belong to.
        """
        from reconciler.log.check.whole import check  # which reads logs by this module

        try:
            with contextlib.closing(open_reader(self.path)) as log:
                found = [each.message for each in check(log, place=str(self.path)) if MADE_ANEW not in each.message]
        except LogDamaged as error:
            found = [error.message]
        if found:
            what = f"{self.path}, which was written over while in use, is no whole log with what lies beside it"
            raise LogDamaged(f"{what}: {found[0]}", AFRESH)
        self._lock.doubt(False)

    def is_lost(self) -> bool:
        """Tell that it never is: the kernel keeps the lock."""
        return False

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        self._lock.release()


def open_reader(path: Path) -> SqliteReader:
    """Open the log read-only, whether or not a process writes it. Raises LogDamaged, LogBusy, CouldNotRun."""
    return SqliteReader(path)


class SqliteReader(EventsReader, IndexReader):
    """A read-only view; each call sees the newest durable state, or that of the enclosing `moment`."""

    _mode: Literal["ro", "rw"] = "ro"
    _writing = False

    def __init__(self, path: Path) -> None:
        must_exist(path)
        self.path = path
        self._deadline: float | None = None
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                with self._mapped():
                    self._db, self._still = open_database(path, self._mode)
                    try:
                        self._prepare()
                        self._recognise()
                    except BaseException:
                        self._db.close()
                        raise
                self._mark = mark(path, still=self._still)
                return
            except LogBusy:  # another connection recovers the WAL after a crash, or closes as the last one
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.005)

    def size(self) -> int:
        """Give the number of events, which is the next position."""
        with self._mapped():
            return int(self._db.execute(_SIZE).fetchone()[0])

    def head(self) -> LogHead:
        """Give what the last transaction said about the whole log."""
        with self._mapped():
            found = self._db.execute(HEAD).fetchall()
            if len(found) != 1:
                raise LogDamaged(f"{self.path} has {len(found)} heads", RESTORE)
            return LogHead(*found[0])

    def hashes(self, tier: int, start: int, stop: int) -> list[bytes]:
        """Give the stored roots of the subtrees `start` to `stop` - 1 of 256**tier leaves, up to the first missing."""
        with self._mapped():
            return subtrees.read(self._db, tier, start, stop) if not tier or subtrees.planted(self._db) else []

    def agree(self) -> None:
        """Make sure that as many events are there as the last transaction said. Raises LogDamaged."""
        size, head = self.size(), self.head()
        if size != head.size:
            raise LogDamaged(f"{self.path} contradicts itself: {size} events, {head.size} announced", RESTORE)

    def rows(self) -> dict[RowKey, bytes]:
        """Give all projection rows."""
        with self._mapped():
            return {(kind, name): body for kind, name, body in self._db.execute(_ROWS)}

    def row(self, key: RowKey) -> bytes | None:
        """Give one projection row."""
        with self._mapped():
            found = self._db.execute(f"{_ROWS} WHERE kind = ? AND name = ?", key).fetchone()
        return None if found is None else bytes(found[2])

    def snapshots(self) -> list[Snapshot]:
        """Give the kept snapshots, newest first, whether intact or not."""
        with self._mapped():
            found = self._db.execute(_SNAPSHOTS).fetchall()
        return [Snapshot(*fields) for fields in found]

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """Let everything read inside the `with` see the log as of one moment, that of the outermost `with`."""
        if self._db.in_transaction:
            yield
            return
        with self._mapped():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with self._mapped():
                self._db.execute("ROLLBACK")

    def faults(self) -> list[str]:
        """Let SQLite check its own structures, and look whether the guards are in place."""
        with self._mapped():
            found = [str(line) for (line,) in self._db.execute("PRAGMA integrity_check")]
            return [line for line in found if line != "ok"] + [f"{line}: {MADE_ANEW}" for line in lost_guards(self._db)]

    def amiss(self) -> list[str]:
        """Say which settings of the file are not a log's; the next writer puts them right."""
        with self._mapped():
            return amiss(self._db, still=self._still)

    def is_current(self) -> bool:
        """Tell whether this still reads the file that the path names, and nothing was copied over it."""
        return mark(self.path, still=self._still) == self._mark

    def be_gentle(self, deadline: float) -> None:
        """Pause between events, and end with CouldNotRun at a time of the monotonic clock.

        For a reader in a process that has more urgent work: other threads get their turn.
        """
        self._deadline = deadline
        self._db.set_progress_handler(lambda: time.monotonic() >= deadline, 20_000)

    def keep_little(self) -> None:
        """Keep next to nothing of what was read in memory: for a reader that stays open beside many others."""
        with self._mapped():
            self._db.execute("PRAGMA cache_size = -512")

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        with self._mapped():
            self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA query_only = ON")

    def _recognise(self) -> None:
        recognise(self._db, self.path)

    def _mapped(self) -> contextlib.AbstractContextManager[None]:
        return mapped(self.path, self._writing)


class SqliteStore(SqliteReader):
    """The one read-write connection; made by SqliteBackend, used by one thread at a time."""

    _mode = "rw"
    _writing = True

    def __init__(self, path: Path, ours: Ours | None = None) -> None:
        """Open it; `ours` is the file as the store before left it."""
        super().__init__(path)
        self._ours = ours or Ours(path)
        self._commits = self._bytes = 0  # since what waits in the WAL was brought into the file
        try:
            with self._mapped():
                self._keeper = connect(path, "mode=ro")
        except BaseException:
            self._db.close()
            raise

    def append(self, events: Sequence[Stored], rows: Rows) -> None:
        """Add events whose positions continue the log, and put `rows`, in one durable transaction."""
        self._bytes += sum([len(event.body) for event in events]) + sum([len(row) for row in rows.values() if row])
        with self._transaction():
            write(self._db, events, rows)

    shared = False

    def turn(self, position: int) -> AbstractContextManager[Sequence[Stored]]:  # noqa: ARG002 (the port's)
        """Do nothing: the lock on the file is held from the opening to the closing."""
        return contextlib.nullcontext(())

    def look(self) -> None:
        """Make sure that no other program has changed the file. Raises LogDamaged."""
        self._ours.check()

    def project(self, rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Replace the whole projection by `rows`, made by fold version `fold` from all events, durably."""
        self._bytes += sum(map(len, rows.values()))
        with self._transaction():
            self._db.execute("DELETE FROM rows")
            put_rows(self._db, rows)
            self._db.execute("UPDATE head SET projected = size, fold = ?", (fold,))

    def plant(self) -> None:
        """Make the subtree hashes anew, durably, unless there are as many as the log has subtrees."""
        size = self.size()
        with self._mapped():
            if subtrees.planted(self._db) and subtrees.whole(self._db, size):
                return
        base = self.base()
        with self._transaction():
            subtrees.plant(self._db, Frontier() if base is None else Frontier.unpack(base.position, base.peaks))

    def save_block(self, block: Block) -> None:
        """Add the next block to the index, durably."""
        with self._transaction():
            assert self.head().indexed == block.first
            index.save(self._db, block)
            self._db.execute("UPDATE head SET indexed = ?", (block.stop,))

    def clear_index(self, version: int) -> None:
        """Forget the index, which is to be made anew by an index version, durably."""
        with self._transaction():
            index.clear(self._db)
            self._db.execute("UPDATE head SET indexed = ?, index_version = ?", (self.first(), version))

    def prune(self, base: Base, kept: Sequence[Kept]) -> None:
        """Drop all events before the base but `kept`; the index goes too, and is made anew at the next opening."""
        with self._transaction():
            pruned.cut(self._db, base, kept)
            index.clear(self._db)
            self._db.execute("UPDATE head SET indexed = ?", (base.position,))

    def shrink(self) -> None:
        """Give the space of dropped events back to the disk."""
        with self._mapped():
            self._db.execute("VACUUM")
            self._bring_in("TRUNCATE")

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot durably, and those that the port says."""
        self._bytes += len(snapshot.data)
        with self._transaction():
            self._db.execute(_PUT_SNAPSHOT, snapshot)
            self._db.execute(_TRIM_SNAPSHOTS, (SNAPSHOTS_KEPT, snapshot.fold, SNAPSHOT_SPAN))

    def settle(self) -> None:
        """After a failed commit: make durable what reading shows, and prove that a write works.

        After a failed fsync the kernel may show pages that never reach the disk. Copying the whole WAL into the main
        file and starting the WAL anew writes them again. Raises LogNotWritable while a reader prevents that.
        """
        with self._mapped():
            busy, _, _ = self._bring_in("TRUNCATE")
        if busy:
            raise LogNotWritable(f"{self.path} has a reader that does not let go", "end long-running readers")
        with self._transaction():  # SQLite writes no page that an update leaves as it is
            self._db.execute("UPDATE head SET size = size + 1")
            self._db.execute("UPDATE head SET size = size - 1")

    def gather(self) -> bool:
        """Bring everything into the one file, so that a copy of it alone is the log; False if a reader prevents that.

        A reader that only keeps the WAL from being emptied prevents nothing.
        """
        with self._mapped():
            self._db.execute(f"PRAGMA busy_timeout = {int(GATHER_S * 1000)}")
            _, frames, copied = self._bring_in("TRUNCATE")
        return bool(frames == copied)

    def close(self) -> None:
        """Let go of the file; safe to call twice. What another program wrote over is left as it is, with the WAL.

        The last connection to go brings the WAL into the file, unless it can only read.
        """
        same = self._ours.same()
        try:
            with self._mapped():
                for db in (self._keeper, self._db) if same else (self._db, self._keeper):
                    db.close()
        finally:
            if same:
                self._ours.take()

    def _bring_in(self, how: Literal["PASSIVE", "TRUNCATE"]) -> tuple[int, int, int]:
        """Copy what waits in the WAL into the file: nothing else changes that. Gives what SQLite tells of it.

        What a reader of an older moment keeps there waits on, and a WAL from which not all was copied is never cut.
        """
        self._ours.check()
        self._commits = self._bytes = 0
        try:
            told: tuple[int, int, int] = self._db.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        finally:
            self._ours.take()
        _, frames, copied = told
        self._bytes = (frames - copied) * PAGE_BYTES
        return told

    def _prepare(self) -> None:
        prepare_writer(self._db)
        self._db.execute(f"PRAGMA journal_size_limit = {2 * WAITING_BYTES_MAX}").fetchone()  # of a WAL begun anew
        # Whatever an earlier process left in the WAL is written again; a busy reader may put that off.
        self._db.execute("PRAGMA busy_timeout = 100")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._db.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")

    def _recognise(self) -> None:
        super()._recognise()
        self.agree()
        self.mended = put_right(self._db)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._mapped():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._ours.check()  # SQLite would go on writing, also into a file that has no name
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # the failed commit may have ended the transaction itself
                    self._db.execute("ROLLBACK")
                raise
        self._commits += 1
        if self._commits >= COMMITS_MAX or self._bytes >= WAITING_BYTES_MAX:
            with contextlib.suppress(sqlite3.Error, LogDamaged):  # what was committed is durable; the next call tells
                self._bring_in("PASSIVE")
