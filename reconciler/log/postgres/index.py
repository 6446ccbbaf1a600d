"""The tables of the index (see `log/index`) in a log's Postgres schema: sealing a block, looking things up.

A text with a NUL, which Postgres cannot hold, is kept and asked for without it; no name of Pai's has one.
"""
# ruff: noqa: S608 (only names of our own tables and columns are put into statements)

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.errors import LogDamaged
from reconciler.log.index import FIGURES, SPANS, Block, Mark, SpentKey
from reconciler.log.postgres.asking import Asking
from reconciler.log.postgres.errors import RESTORE
from reconciler.log.store import Index, Marked, Spent, SpentQuery

_SUMS: Final = ", ".join(FIGURES)
_PAGE: Final = 8192
_TABLES: Final = ("marks", "marked", "requests", "spent")
_NEWEST: Final = "SELECT max(block) FROM {s}.marks WHERE kind = %s AND value = %s AND block < %s"
_MARK: Final = "SELECT block, previous, offsets, account FROM {s}.marks WHERE block = %s AND kind = %s AND value = %s"
_CHANGES: Final = (
    "SELECT block, kind, value, offsets FROM {s}.marks WHERE block >= %s AND block < %s"
    " AND (kind IN ('path', 'version') OR kind = 'type' AND NOT value = ANY(%s)) ORDER BY block, kind, value"
)
_ACCOUNTS_BACK: Final = (
    "SELECT value, account FROM {s}.marks WHERE block < %s AND kind = 'model' AND account IS NOT NULL"
    " ORDER BY block DESC, value"
)
_SUM: Final = f"(CASE WHEN sum({{name}}) > {MAX_SAFE_INTEGER} THEN {MAX_SAFE_INTEGER} ELSE sum({{name}}) END)::bigint"
"""A sum up to what is kept at most; of no rows it is NULL, as `least` would not be."""
_PUT_MARKS: Final = (
    "INSERT INTO {s}.marks (block, kind, value, previous, offsets, account)"
    " SELECT %s, new.kind, new.value, marked.block, new.offsets, new.account"
    " FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::text[]) AS new (kind, value, offsets, account)"
    " LEFT JOIN {s}.marked ON marked.kind = new.kind AND marked.value = new.value"
)
_PUT_MARKED: Final = (
    "INSERT INTO {s}.marked (kind, value, block) SELECT kind, value, %s FROM unnest(%s::text[], %s::text[])"
    " AS new (kind, value) ON CONFLICT (kind, value) DO UPDATE SET block = excluded.block"
)
_PUT_REQUESTS: Final = "INSERT INTO {s}.requests (request, seq) SELECT * FROM unnest(%s::text[], %s::bigint[])"
_PUT_SPENT: Final = (
    f"INSERT INTO {{s}}.spent AS old (span, period, day, model, agent, {_SUMS}) SELECT * FROM unnest("
    + ", ".join(["%s::text[]"] * 5 + ["%s::bigint[]"] * len(FIGURES))
    + ") ON CONFLICT (span, period, day, model, agent) DO UPDATE SET "
    + ", ".join(f"{name} = least({MAX_SAFE_INTEGER}, old.{name} + excluded.{name})" for name in FIGURES)
)


class PostgresIndexReader(Asking):
    """Looking things up in the index; the part of a reader that knows its tables."""

    def marks_back(self, kind: str, value: str, before: int) -> Iterator[Marked]:
        """Give the blocks of the index that have a value and begin before a position, newest first."""
        block = self._newest(kind, value, before)
        while block is not None:
            found = self.mark(block, kind, value)
            if found is None or (found.previous is not None and found.previous >= block):
                raise LogDamaged(f"{self._shown}: the index of {kind} {value} is broken at block {block}", RESTORE)
            yield found
            block = found.previous

    def mark(self, block: int, kind: str, value: str) -> Marked | None:
        """Give where a value occurs in one block of the index."""
        found = self._ask(_MARK, (block, _plain(kind), _plain(value)))
        return Marked(*found[0]) if found else None

    def block_of(self, position: int) -> int | None:
        """Give the newest block of the index that begins at a position or before."""
        found: int | None = self._one("SELECT max(block) FROM {s}.marks WHERE block <= %s", (position,))[0]
        return found

    def changes(self, start: int, stop: int, without: Collection[str]) -> Iterator[tuple[int, str, str, bytes]]:
        """Give the marks of paths, of event types but some and of objects' versions, as in the port."""
        begin = self.block_of(start)
        if begin is not None:
            rows = self._ask(_CHANGES, (begin, stop, list(without)))
            yield from ((block, kind, value, offsets) for block, kind, value, offsets in rows)

    def accounts_back(self, block: int) -> Iterator[tuple[str, str]]:
        """Give the models that have an account at the end of a block before `block`, with it, newest first."""
        return ((model, account) for model, account in self._ask(_ACCOUNTS_BACK, (block,)))

    def marked(self, kind: str, prefix: str = "") -> list[str]:
        """Give the values of a kind that the index has and that begin with a text."""
        query = "SELECT value FROM {s}.marked WHERE kind = %s AND starts_with(value, %s) ORDER BY value"
        return [value for (value,) in self._ask(query, (_plain(kind), _plain(prefix)))]

    def requests(self, request: str) -> list[int]:
        """Give the positions of a request's events that the index has, newest first."""
        query = "SELECT seq FROM {s}.requests WHERE request = %s ORDER BY seq DESC"
        return [seq for (seq,) in self._ask(query, (_plain(request),))]

    def spent(self, query: SpentQuery) -> list[Spent]:
        """Add up what the index has of tokens spent."""
        keys = ", ".join(query.by)
        where, arguments = "span = %s AND period >= %s", [query.span, query.start]
        if query.stop:
            where, arguments = where + " AND period < %s", [*arguments, query.stop]
        for column, value, excluded in query.only:
            assert column in ("model", "agent")
            where, arguments = f"{where} AND {column} {'<>' if excluded else '='} %s", [*arguments, _plain(value)]
        sums = ", ".join(_SUM.format(name=name) for name in FIGURES)
        group = f" GROUP BY {keys}" if keys else ""
        group += "" if query.most is None else f" LIMIT {query.most}"
        found = self._ask(f"SELECT {keys}{', ' * bool(keys)}{sums} FROM {{s}}.spent WHERE {where}{group}", arguments)
        width = len(query.by)
        return [Spent(row[:width], list(row[width:])) for row in found if row[width]]

    def whole_index(self) -> Index:
        """Give everything that is in the index, to be checked."""
        marks = (
            (block, previous, Mark(kind, value, offsets, account))
            for block, kind, value, previous, offsets, account in self._pages(
                "marks", "block, kind, value", "previous, offsets, account", (-1, "", "")
            )
        )
        newest = (
            ((kind, value), block) for kind, value, block in self._pages("marked", "kind, value", "block", ("", ""))
        )
        requests = ((request, seq) for request, seq in self._pages("requests", "request, seq", "", ("", -1)))
        return Index(marks, newest, requests, {span: self._all_spent(span) for span in SPANS})

    def _all_spent(self, span: str) -> Iterator[tuple[SpentKey, list[int]]]:
        query = f"SELECT span, period, day, model, agent, {_SUMS} FROM {{s}}.spent WHERE span = %s"
        for row in self._ask(query + " ORDER BY period, day, model, agent", (span,)):
            span, period, day, model, agent, *sums = row
            yield (span, period, day, model, agent), sums

    def _pages(self, table: str, keys: str, rest: str, after: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
        """Give the rows of a table by its key, a page at a time."""
        columns = f"{keys}, {rest}" if rest else keys
        query = f"SELECT {columns} FROM {{s}}.{table} WHERE ({keys}) > ({', '.join(['%s'] * len(after))})"
        query += f" ORDER BY {keys} LIMIT {_PAGE}"
        while page := self._ask(query, after):
            yield from page
            after = page[-1][: len(after)]

    def _newest(self, kind: str, value: str, before: int) -> int | None:
        """Give the newest block that has a value and begins before a position."""
        key = (_plain(kind), _plain(value))
        found = self._ask("SELECT block FROM {s}.marked WHERE kind = %s AND value = %s", key)
        if found and found[0][0] >= before:
            found = self._ask(_NEWEST, (*key, before))
        return found[0][0] if found else None

    # Writing: inside the caller's transaction.

    def _clear_index(self) -> None:
        for table in _TABLES:
            self._tell(f"DELETE FROM {{s}}.{table}")

    def _save_index(self, block: Block) -> None:
        kinds, values, offsets, accounts = _columns(block.marks, 4)
        self._tell(_PUT_MARKS, (block.first, kinds, values, offsets, accounts))
        self._tell(_PUT_MARKED, (block.first, kinds, values))
        self._tell(_PUT_REQUESTS, _columns(block.requests, 2))
        self._tell(_PUT_SPENT, _columns([(*key, *sums) for key, sums in sorted(block.spent.items())], 5 + len(FIGURES)))


def _columns(rows: Collection[tuple[object, ...]], width: int) -> list[list[object]]:
    """Turn rows into columns."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
    return [[_plain(each) if isinstance(each, str) else each for each in column] for column in columns]


def _plain(text: str) -> str:
    return text.replace("\0", "") if "\0" in text else text
