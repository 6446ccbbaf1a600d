"""The tables of the index (see `log/index`) in the log's SQLite file: their schema, sealing a block, looking things up.

Functions on an open connection; `sqlite` calls them inside its transactions and maps SQLite's exceptions. Only names
of our own tables and columns are put into statements, never a value.
"""
# ruff: noqa: S608

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.errors import LogDamaged
from reconciler.log.index import FIGURES, SPANS, Block, Mark, SpentKey
from reconciler.log.sqlite.errors import RESTORE
from reconciler.log.store import Index, Marked, Spent, SpentQuery

T = TypeVar("T")

_SUMS = ", ".join(FIGURES)

SCHEMA: Final = (
    # Which values occur in a block, and where; `previous` is the block before it that has the value.
    "CREATE TABLE marks (block INTEGER NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, previous INTEGER,"
    " offsets BLOB NOT NULL, account TEXT, PRIMARY KEY (block, kind, value)) STRICT, WITHOUT ROWID",
    # The newest block that has a value.
    "CREATE TABLE marked (kind TEXT NOT NULL, value TEXT NOT NULL, block INTEGER NOT NULL,"
    " PRIMARY KEY (kind, value)) STRICT, WITHOUT ROWID",
    # The events of a request.
    "CREATE TABLE requests (request TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (request, seq))"
    " STRICT, WITHOUT ROWID",
    # Tokens spent, by the hour and by the day that the outcomes were recorded in.
    "CREATE TABLE spent (span TEXT NOT NULL, period TEXT NOT NULL, day TEXT NOT NULL, model TEXT NOT NULL,"
    f" agent TEXT NOT NULL, {', '.join(f'{name} INTEGER NOT NULL' for name in FIGURES)},"
    " PRIMARY KEY (span, period, day, model, agent)) STRICT, WITHOUT ROWID",
)
TABLES: Final = frozenset({"marks", "marked", "requests", "spent"})

_STEP = 64
_STEP_LARGE = 512
_PUT_MARKS = (
    "WITH new(block, kind, value, offsets, account) AS (VALUES {}) INSERT INTO marks"
    " (block, kind, value, previous, offsets, account) SELECT new.block, new.kind, new.value, marked.block, offsets,"
    " account FROM new LEFT JOIN marked ON marked.kind = new.kind AND marked.value = new.value"
)
_PUT_MARKED = (
    "INSERT INTO marked (kind, value, block) VALUES {} ON CONFLICT (kind, value) DO UPDATE SET block = excluded.block"
)
_PUT_REQUESTS = "INSERT INTO requests (request, seq) VALUES {}"
_PUT_SPENT = (
    f"INSERT INTO spent (span, period, day, model, agent, {_SUMS}) VALUES {{}}"
    " ON CONFLICT (span, period, day, model, agent) DO UPDATE SET "
    + ", ".join(f"{name} = min({MAX_SAFE_INTEGER}, {name} + excluded.{name})" for name in FIGURES)
)
_CLEAR = tuple(f"DELETE FROM {table}" for table in sorted(TABLES))
_ONE_MARK = "SELECT block, previous, offsets, account FROM marks WHERE block = ? AND kind = ? AND value = ?"
_NEWEST_BLOCK = "SELECT block FROM marked WHERE kind = ? AND value = ?"
_BLOCK_AT = "SELECT max(block) FROM marks WHERE block <= ?"
# Block by block, looking only at the last kinds in each: before them are hundreds of other rows.
_CHANGES = (
    "WITH RECURSIVE blocks(block) AS (SELECT max(block) FROM marks WHERE block <= ?1 UNION ALL"
    " SELECT (SELECT min(block) FROM marks WHERE block > blocks.block) FROM blocks WHERE blocks.block < ?2)"
    " SELECT marks.block, kind, marks.value, offsets FROM blocks CROSS JOIN marks ON marks.block = blocks.block"
    " AND kind >= 'path' AND kind IN ('path', 'type', 'version')"
    " AND (kind <> 'type' OR marks.value NOT IN (SELECT value FROM json_each(?3))) WHERE blocks.block < ?2"
)
_BLOCKS_BACK = (
    "WITH RECURSIVE blocks(block) AS (SELECT max(block) FROM marks WHERE block < ? UNION ALL"
    " SELECT (SELECT max(block) FROM marks WHERE block < blocks.block) FROM blocks WHERE blocks.block IS NOT NULL)"
)
_ACCOUNTS_BACK = (
    f"{_BLOCKS_BACK} SELECT value, account FROM blocks CROSS JOIN marks"
    " ON marks.block = blocks.block AND kind = 'model' WHERE account IS NOT NULL"
)
_NEWEST_BEFORE = (
    f"{_BLOCKS_BACK} SELECT blocks.block FROM blocks CROSS JOIN marks"
    " ON marks.block = blocks.block AND kind = ? AND value = ? LIMIT 1"
)


class IndexReader:
    """Looking things up in the index; the part of a reader that knows its tables."""

    path: Path
    _db: sqlite3.Connection

    def _mapped(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def marks_back(self, kind: str, value: str, before: int) -> Iterator[Marked]:
        """Give the blocks of the index that have a value and begin before a position, newest first."""
        with self._mapped():
            block = _newest(self._db, kind, value, before)
        while block is not None:
            found = self.mark(block, kind, value)
            if found is None or (found.previous is not None and found.previous >= block):
                raise LogDamaged(f"{self.path}: the index of {kind} {value} is broken at block {block}", RESTORE)
            yield found
            block = found.previous

    def mark(self, block: int, kind: str, value: str) -> Marked | None:
        """Give where a value occurs in one block of the index."""
        with self._mapped():
            return _mark(self._db, block, kind, value)

    def block_of(self, position: int) -> int | None:
        """Give the newest block of the index that begins at a position or before."""
        with self._mapped():
            return _block_of(self._db, position)

    def changes(self, start: int, stop: int, without: Collection[str]) -> Iterator[tuple[int, str, str, bytes]]:
        """Give the marks of paths, of event types but some and of objects' versions, as in the port."""
        with self._mapped():
            yield from self._db.execute(_CHANGES, (start, stop, json.dumps(list(without))))

    def accounts_back(self, block: int) -> Iterator[tuple[str, str]]:
        """Give the models that have an account at the end of a block before `block`, with it, newest first."""
        with self._mapped():
            yield from self._db.execute(_ACCOUNTS_BACK, (block,))

    def marked(self, kind: str, prefix: str = "") -> list[str]:
        """Give the values of a kind that the index has and that begin with a text."""
        with self._mapped():
            return _values(self._db, kind, prefix)

    def requests(self, request: str) -> list[int]:
        """Give the positions of a request's events that the index has, newest first."""
        with self._mapped():
            return _positions(self._db, request)

    def spent(self, query: SpentQuery) -> list[Spent]:
        """Add up what the index has of tokens spent."""
        with self._mapped():
            return list(islice(_spent(self._db, query), query.most))

    def whole_index(self) -> Index:
        """Give everything that is in the index, to be checked."""
        db, guarded = self._db, self._guarded
        sums = {span: guarded(_all_spent(db, span)) for span in SPANS}
        return Index(guarded(_all_marks(db)), guarded(_all_newest(db)), guarded(_all_requests(db)), sums)

    def _guarded(self, found: Iterator[T]) -> Iterator[T]:
        with self._mapped():
            yield from found


def clear(db: sqlite3.Connection) -> None:
    """Forget the whole index."""
    for statement in _CLEAR:
        db.execute(statement)


def save(db: sqlite3.Connection, block: Block) -> None:
    """Add what a block adds, inside an open transaction."""
    first = block.first
    _put(db, _PUT_MARKS, [(first, kind, value, offsets, account) for kind, value, offsets, account in block.marks])
    _put(db, _PUT_MARKED, [(mark.kind, mark.value, first) for mark in block.marks])
    _put(db, _PUT_REQUESTS, sorted(block.requests))
    _put(db, _PUT_SPENT, [(*key, *sums) for key, sums in sorted(block.spent.items())])


def _put(db: sqlite3.Connection, statement: str, records: Sequence[tuple[object, ...]]) -> None:
    """Run a statement for records, many at a time: each run gives the interpreter's lock away once."""
    width = len(records[0]) if records else 0
    row = f"({', '.join('?' * width)})"
    for part in portions(records):
        db.execute(statement.format(", ".join([row] * len(part))), [field for record in part for field in record])


def portions(records: Iterable[T]) -> Iterator[Sequence[T]]:
    """Give records in portions for one statement each: of 512 while there are as many, then of up to 64."""
    left = iter(records)
    while part := list(islice(left, _STEP_LARGE)):
        if len(part) <= _STEP or len(part) == _STEP_LARGE:
            yield part
        else:
            for at in range(0, len(part), _STEP):
                yield part[at : at + _STEP]


def _newest(db: sqlite3.Connection, kind: str, value: str, before: int) -> int | None:
    """Give the newest block that has a value and begins before a position."""
    found = db.execute(_NEWEST_BLOCK, (kind, value)).fetchone()
    if found is not None and found[0] >= before:  # far back, so not block after block along the chain
        found = db.execute(_NEWEST_BEFORE, (before, kind, value)).fetchone()
    return None if found is None else int(found[0])


def _mark(db: sqlite3.Connection, block: int, kind: str, value: str) -> Marked | None:
    """Give one mark of a block."""
    found = db.execute(_ONE_MARK, (block, kind, value)).fetchone()
    return None if found is None else Marked(*found)


def _block_of(db: sqlite3.Connection, position: int) -> int | None:
    """Give the first position of the newest block that begins at a position or before."""
    found = db.execute(_BLOCK_AT, (position,)).fetchone()[0]
    return None if found is None else int(found)


def _values(db: sqlite3.Connection, kind: str, prefix: str) -> list[str]:
    """Give the values of a kind that begin with a text."""
    statement = "SELECT value FROM marked WHERE kind = ? AND value >= ? AND substr(value, 1, ?) = ?"
    end = " AND value < ?" if prefix else ""
    bound = (prefix[:-1] + chr(ord(prefix[-1]) + 1),) if prefix else ()
    return [value for (value,) in db.execute(statement + end, (kind, prefix, len(prefix), prefix, *bound))]


def _positions(db: sqlite3.Connection, request: str) -> list[int]:
    """Give the positions of the events of a request, newest first."""
    statement = "SELECT seq FROM requests WHERE request = ? ORDER BY seq DESC"
    return [seq for (seq,) in db.execute(statement, (request,))]


def _spent(db: sqlite3.Connection, query: SpentQuery) -> Iterator[Spent]:
    """Add up what was spent in a range of hours or days."""
    keys = ", ".join(query.by)
    where, arguments = "span = ? AND period >= ?", [query.span, query.start]
    if query.stop:
        where, arguments = where + " AND period < ?", [*arguments, query.stop]
    for column, value, excluded in query.only:
        assert column in ("model", "agent")
        where, arguments = f"{where} AND {column} {'<>' if excluded else '='} ?", [*arguments, value]
    # total() is exact up to what is kept at most, and does not fail beyond it.
    sums = ", ".join(f"CAST(min({MAX_SAFE_INTEGER}, total({name})) AS INTEGER)" for name in FIGURES)
    group = f" GROUP BY {keys}" if keys else ""
    for found in db.execute(f"SELECT {keys}{', ' * bool(keys)}{sums} FROM spent WHERE {where}{group}", arguments):
        if found[len(query.by)]:
            yield Spent(found[: len(query.by)], list(found[len(query.by) :]))


def _all_marks(db: sqlite3.Connection) -> Iterator[tuple[int, int | None, Mark]]:
    """Give every mark with its block and the block before it, block by block."""
    statement = "SELECT block, previous, kind, value, offsets, account FROM marks ORDER BY block, kind, value"
    for block, previous, *fields in db.execute(statement):
        yield block, previous, Mark(*fields)


def _all_newest(db: sqlite3.Connection) -> Iterator[tuple[tuple[str, str], int]]:
    """Give every value and the newest block that has it."""
    for kind, value, block in db.execute("SELECT kind, value, block FROM marked"):
        yield (kind, value), block


def _all_requests(db: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """Give every request with every position of an event of it."""
    yield from db.execute("SELECT request, seq FROM requests")


def _all_spent(db: sqlite3.Connection, span: str) -> Iterator[tuple[SpentKey, list[int]]]:
    """Give every sum of one span, period by period."""
    statement = f"SELECT span, period, day, model, agent, {_SUMS} FROM spent WHERE span = ? ORDER BY period"
    for found in db.execute(statement, (span,)):
        yield found[:5], list(found[5:])


def chosen(seqs: Sequence[int]) -> tuple[str, str]:
    """Give a condition, and its argument, that holds for events at these positions."""
    return "seq IN (SELECT value FROM json_each(?))", json.dumps(list(seqs))
