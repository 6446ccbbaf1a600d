"""The log in one Postgres schema, for as many writers as there are nodes: turns, appends, reading.

Invariants
- A turn holds the schema's advisory lock from its first message to its commit; `head` is read under it, and written
  only where it still says what was read.
- Every transaction sets what it leans on itself (isolation, timeouts, durability), by SET LOCAL: defaults of the role,
  the database or a pooler change nothing.
- The message that begins a turn is one simple query: a pipeline would keep the server from ending the transaction of a
  node that stalls.
- After any error the outcome is unknown, and the connection is not used again: the recorder opens another store.
"""
# ruff: noqa: S608 (only names of our own tables and columns are put into statements)

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import psycopg

from reconciler.core.errors import LogDamaged, LogNotWritable
from reconciler.core.state import RowKey
from reconciler.log.index import INDEX_VERSION, Block
from reconciler.log.postgres.asking import statement
from reconciler.log.postgres.errors import RESTORE
from reconciler.log.postgres.events import PostgresEventsReader
from reconciler.log.postgres.index import PostgresIndexReader
from reconciler.log.postgres.schema import BEGIN, LOCK, lifted, lost_guards, recognise
from reconciler.log.store import SNAPSHOT_SPAN, SNAPSHOTS_KEPT, Base, Kept, LogHead, Rows, Snapshot, Stored
from reconciler.log.url import PostgresAddress
from reconciler.tlog.merkle import TILE_HEIGHT, Frontier, Tiers

_TAIL_MAX: Final = 4096
_REPLACED: Final = "this one gave no sign of life for too long; let it end, and start it again"
_HEAD: Final = "SELECT size, peaks, (SELECT epoch FROM {s}.holder) FROM {s}.head"
_TAIL: Final = f"SELECT seq, body, leaf FROM {{s}}.events WHERE seq >= {{position}} ORDER BY seq LIMIT {_TAIL_MAX}"
_GROW: Final = "SELECT {s}.move_head(%s, %s, %s)"
_INSERT: Final = "INSERT INTO {s}.events (seq, body, leaf) SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[])"
_PLANT: Final = "INSERT INTO {s}.subtrees (tier, n, hash) SELECT %s, * FROM unnest(%s::bigint[], %s::bytea[])"
_PUT_ROWS: Final = (
    "INSERT INTO {s}.rows (kind, name, body) SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[])"
    " ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body"
)
_DROP_ROWS: Final = (
    "DELETE FROM {s}.rows USING unnest(%s::text[], %s::text[]) AS gone (kind, name)"
    " WHERE rows.kind = gone.kind AND rows.name = gone.name"
)
_PUT_SNAPSHOT: Final = (
    "INSERT INTO {s}.snapshots (position, fold, peaks, data, digest) VALUES (%s, %s, %s, %s, %s) ON CONFLICT (position)"
    " DO UPDATE SET fold = excluded.fold, peaks = excluded.peaks, data = excluded.data, digest = excluded.digest"
)
_TRIM_SNAPSHOTS: Final = (
    "DELETE FROM {s}.snapshots"
    " WHERE position NOT IN (SELECT position FROM {s}.snapshots ORDER BY position DESC LIMIT %s) AND position NOT IN"
    " (SELECT min(position) FROM {s}.snapshots WHERE fold = %s AND position >= %s GROUP BY position / %s)"
)
_PUT_BASE: Final = (
    "INSERT INTO {s}.base (id, position, peaks, data, digest, event, fold) VALUES (0, %s, %s, %s, %s, %s, %s)"
)


class TurnHead(NamedTuple):
    """What a turn begins with: the log's size and Merkle frontier."""

    size: int
    peaks: bytes


class PostgresReader(PostgresEventsReader, PostgresIndexReader):
    """A view for reading; each call sees the newest state, or that of the enclosing `moment`."""

    def __init__(self, address: PostgresAddress, *, made: bool = True) -> None:
        """Open it. Raises LogDamaged if no log was `made` there, CouldNotRun."""
        super().__init__(address)
        try:
            with self._mapped():
                recognise(self._db, self._schema)
            self._oid = int(self._one("SELECT oid FROM pg_namespace WHERE nspname = %s", (self._schema,))[0])
            if made:
                self.head()
        except BaseException:
            self._db.close()
            raise

    def made(self) -> bool:
        """Tell whether the schema has a log."""
        return bool(self._ask("SELECT FROM {s}.head"))

    def head(self) -> LogHead:
        """Give what the last transaction said about the whole log."""
        query = (
            "SELECT size, peaks, projected, fold, indexed, index_version,"
            " (SELECT name FROM {s}.holder WHERE until = 'infinity') FROM {s}.head JOIN {s}.derived USING (id)"
        )
        found = self._ask(query)
        if not found:
            raise LogDamaged(f"{self._shown} was not made", "make the log first: pai init")
        if found[0][-1] is not None:
            raise LogDamaged(f"the log at {self._shown} was moved to {found[0][-1]}", "set log.database to that")
        return LogHead(*found[0][:-1])

    def rows(self) -> dict[RowKey, bytes]:
        """Give all projection rows."""
        return {(kind, name): body for kind, name, body in self._ask("SELECT kind, name, body FROM {s}.rows")}

    def row(self, key: RowKey) -> bytes | None:
        """Give one projection row."""
        found = self._ask("SELECT body FROM {s}.rows WHERE kind = %s AND name = %s", key)
        return bytes(found[0][0]) if found else None

    def snapshots(self) -> list[Snapshot]:
        """Give the kept snapshots, newest first, whether intact or not."""
        found = self._ask("SELECT position, fold, peaks, data, digest FROM {s}.snapshots ORDER BY position DESC")
        return [Snapshot(*fields) for fields in found]

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """Let everything read inside the `with` see the log as of one moment, that of the outermost `with`."""
        if self._db.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            yield
            return
        # The snapshot is taken by the first statement, so one is made at once.
        self._tell("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.size()
        try:
            yield
        finally:
            if not self._db.closed:
                self._tell("ROLLBACK")

    def faults(self) -> list[str]:
        """Look whether the guards are in place; Postgres checks its own pages as it reads them."""
        with self._mapped():
            return lost_guards(self._db, self._schema)

    def amiss(self) -> list[str]:
        """Name no settings: each transaction sets its own."""
        return []

    def is_current(self) -> bool:
        """Tell whether the schema is still the one that was opened."""
        found = self._ask("SELECT oid FROM pg_namespace WHERE nspname = %s", (self._schema,))
        return found == [(self._oid,)]

    def be_gentle(self, deadline: float) -> None:
        """Pause between events, and end with CouldNotRun at a time of the monotonic clock."""
        self._deadline = deadline

    def keep_little(self) -> None:
        """Do nothing: what was read is kept by the server."""


class PostgresStore(PostgresReader):
    """Reading and writing; made by PostgresBackend, used by one thread at a time."""

    _writing = True
    shared = True

    def __init__(self, address: PostgresAddress, *, made: bool = True, epoch: int | None = None) -> None:
        """`epoch` is that of the holder who alone may write; without it, anybody may."""
        super().__init__(address, made=made)
        self._epoch = epoch
        self._turn: TurnHead | None = None
        self._kept = False  # whether what is derived was written in this turn

    @contextlib.contextmanager
    def turn(self, position: int) -> Iterator[Sequence[Stored]]:
        """Let nobody else append inside the `with`, until `append`; gives what others appended from a position on."""
        try:
            with self._ending():
                self._turn, tail = self._begin(position)
                self._kept = False
                while tail and tail[-1].seq + 1 < self._turn.size:  # the first message asks for what fits well
                    tail += self.read(tail[-1].seq + 1, self._turn.size)
                yield tail
                if self._turn is not None:
                    self._tell("COMMIT" if self._kept else "ROLLBACK")
        finally:
            self._turn = None

    def append(self, events: Sequence[Stored], rows: Rows) -> None:
        """Add events whose positions continue the log, and put `rows`, in one durable transaction; it ends the turn."""
        if self._turn is None:
            with self.turn(events[0].seq if events else 0):
                return self.append(events, rows)
        head, self._turn = self._turn, None
        with self._ending(), self._db.pipeline():
            self._grow(head, events)
            self._put_rows(rows)
            self._tell("COMMIT")
        return None

    def look(self) -> None:
        """Make sure that the log is still there. Raises LogDamaged."""

    def project(self, rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Replace the whole projection by `rows`, made by fold version `fold` from all events, durably."""
        with self._transaction():
            self._tell("DELETE FROM {s}.rows")
            self._put_rows(rows)
            self._tell("UPDATE {s}.derived SET projected = (SELECT size FROM {s}.head), fold = %s", (fold,))

    def plant(self) -> None:
        """Make the subtree hashes anew, durably, unless there are as many as the log has subtrees."""
        size = self.size()
        wanted = sum(size >> shift for shift in range(TILE_HEIGHT, size.bit_length(), TILE_HEIGHT))
        if self._one("SELECT count(*) FROM {s}.subtrees")[0] == wanted:
            return
        base = self.base()
        frontier = Frontier() if base is None else Frontier.unpack(base.position, base.peaks)
        with self._transaction():
            for tier in range(1, 9):
                query = "DELETE FROM {s}.subtrees WHERE tier = %s AND n >= %s"
                self._tell(query, (tier, frontier.size >> TILE_HEIGHT * tier))
            for chunk in self.chunks(frontier.size):
                tiers: Tiers = {}
                frontier.extend([leaf for _, _, leaf in chunk], tiers)
                self._put_subtrees(tiers)

    def save_block(self, block: Block) -> None:
        """Add the next block to the index, durably."""
        with self._transaction():
            moved = self._tell("UPDATE {s}.derived SET indexed = %s WHERE indexed = %s", (block.stop, block.first))
            assert moved == 1
            self._save_index(block)

    def clear_index(self, version: int) -> None:
        """Forget the index, which is to be made anew by an index version, durably."""
        with self._transaction():
            self._clear_index()
            self._tell("UPDATE {s}.derived SET indexed = %s, index_version = %s", (self.first(), version))

    def prune(self, base: Base, kept: Sequence[Kept]) -> None:
        """Drop all events before the base but `kept`; needs the owner of the tables, who alone can lift the guards."""
        self._db.patience_s = None
        with self._transaction():
            self._guards("DISABLE")
            self._tell("DELETE FROM {s}.kept")
            for each in kept:
                self._tell("INSERT INTO {s}.kept (seq, body, leaf, path) VALUES (%s, %s, %s, %s)", each)
            self._tell("DELETE FROM {s}.events WHERE seq < %s", (base.position,))
            self._tell("DELETE FROM {s}.base")
            self._tell(_PUT_BASE, base)
            self._tell("DELETE FROM {s}.snapshots WHERE position < %s", (base.position,))
            self._clear_index()
            self._tell("UPDATE {s}.derived SET indexed = %s", (base.position,))
            self._guards("ENABLE")

    def shrink(self) -> None:
        """Let the space of dropped events be used again; the server gives it back to the disk when it likes."""
        self._db.patience_s = None
        self._tell("VACUUM {s}.events")

    def gather(self) -> bool:
        """Tell that everything is in one place."""
        return True

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot durably, and drop those that the port does not keep."""
        with self._transaction():
            self._tell(_PUT_SNAPSHOT, snapshot)
            self._tell(_TRIM_SNAPSHOTS, (SNAPSHOTS_KEPT, snapshot.fold, SNAPSHOT_SPAN, SNAPSHOT_SPAN))

    def settle(self) -> None:
        """Prove that a write works. Raises LogNotWritable."""
        with self._transaction():
            self._tell("UPDATE {s}.derived SET indexed = indexed")

    def make(self, events: Sequence[Stored], rows: Rows, fold: int) -> None:
        """Make the log of a schema that has none, durably. Raises LogDamaged if it has one."""
        with self._transaction():
            self._ask(LOCK)
            if not self._tell("INSERT INTO {s}.head (id, size, peaks) VALUES (0, 0, '') ON CONFLICT DO NOTHING"):
                raise LogDamaged(f"{self._shown} exists already; a log is never made over another")
            self._tell("INSERT INTO {s}.derived VALUES (0, 0, %s, 0, %s)", (fold, INDEX_VERSION))
            self._grow(TurnHead(0, b""), events)
            self._put_rows(rows)

    def _begin(self, position: int) -> tuple[TurnHead, list[Stored]]:
        """Send the one message that begins a turn, and read what it gives."""
        parts = (BEGIN, LOCK, _HEAD, _TAIL.replace("{position}", str(position)))
        with self._mapped():
            cursor = self._db.execute(statement("; ".join(parts), self._schema))
            given = [cursor.fetchall() for _ in cursor.results() if cursor.description]
        _, ((size, peaks, epoch),), tail = given
        if self._epoch is not None and epoch != self._epoch:
            raise LogNotWritable(f"{self._shown} is written by another program by now", _REPLACED)
        return TurnHead(size, peaks), list(map(Stored._make, tail))

    def _grow(self, head: TurnHead, events: Sequence[Stored]) -> None:
        """Add events where the head ends."""
        if [event.seq for event in events] != list(range(head.size, head.size + len(events))):
            what = f"the log has {head.size} events, position {events[0].seq} does not continue it"
            raise LogDamaged(what)
        try:
            frontier = Frontier.unpack(head.size, head.peaks)
        except ValueError as error:
            raise LogDamaged(f"the log's Merkle frontier is damaged: {error}", RESTORE) from error
        tiers: Tiers = {}
        frontier.extend([event.leaf for event in events], tiers)
        if events:
            self._tell(_INSERT, [list(column) for column in zip(*events, strict=True)])
        self._put_subtrees(tiers)
        self._tell(_GROW, (frontier.size, frontier.pack(), head.size))

    def _put_subtrees(self, tiers: Tiers) -> None:
        for tier, (first, found) in tiers.items():
            self._tell(_PLANT, (tier, list(range(first, first + len(found))), list(found)))

    def _put_rows(self, rows: Rows) -> None:
        put = [(*key, body) for key, body in rows.items() if body is not None]
        gone = [key for key, body in rows.items() if body is None]
        if put:
            self._tell(_PUT_ROWS, [list(column) for column in zip(*put, strict=True)])
        if gone:
            self._tell(_DROP_ROWS, [list(column) for column in zip(*gone, strict=True)])

    def _guards(self, how: str) -> None:
        with self._mapped():
            for each in lifted(self._schema, how):
                self._db.execute(each)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do the things inside the `with` durably, all or none: beside others' turns, or at the end of one's own."""
        if self._turn is not None:
            yield
            self._kept = True
            return
        self._tell(BEGIN)
        with self._ending():
            yield
            self._tell("COMMIT")
