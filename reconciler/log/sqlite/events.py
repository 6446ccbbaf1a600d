"""Reading the events of a log in its SQLite file: one after the other, or thousands at a time.

Of a pruned log those before its beginning are in a table of their own, `kept` (see `pruned`).
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.core.errors import TooLong
from reconciler.log.sqlite import index
from reconciler.log.sqlite.pruned import PrunedReader
from reconciler.log.store import Stored

_CHUNK = 4096
_PAUSE_S = 0.0002
_GENTLE = 64
"""Events between two pauses: half a millisecond of work."""
_GENTLE_BYTES = 1024 * 1024
"""The same in bytes, since one event may have megabytes."""

# Damaged values may have another type than their column's; whoever checks them gets the right type all the same.
_EVENTS = "SELECT seq, coalesce(CAST(body AS BLOB), x''), coalesce(CAST(leaf AS BLOB), x'') FROM events"
_KEPT = _EVENTS.replace("FROM events", "FROM kept")
_BODIES = "SELECT coalesce(CAST(body AS BLOB), x'') FROM events"


class EventsReader(PrunedReader):
    """Reading events; the part of a reader that knows these tables."""

    _deadline: float | None

    def read(self, start: int = 0, stop: int | None = None, contains: Sequence[bytes] = ()) -> Iterator[Stored]:
        """Give the events at positions `start` to `stop` - 1 (or the end), oldest first, that hold all `contains`."""
        return self._between(start, stop, contains, "ASC")

    def read_back(self, before: int | None = None, contains: Sequence[bytes] = (), start: int = 0) -> Iterator[Stored]:
        """Give the events at positions `start` to `before` - 1 (or the end), newest first, that hold all `contains`."""
        return self._between(start, before, contains, "DESC")

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """Give the same as `read`, some thousand events at a time, as plain tuples, but no kept ones."""
        return self._chunks(f"{_EVENTS} WHERE seq >= ? AND seq < ? ORDER BY seq", start, stop)

    def bodies(self, start: int = 0, stop: int | None = None) -> Iterator[list[bytes]]:
        """Give the stored bytes alone, in the order of their positions, some thousand events at a time."""
        found = self._chunks(f"{_BODIES} WHERE seq >= ? AND seq < ? ORDER BY seq", start, stop)
        return ([body for (body,) in chunk] for chunk in found)

    def read_at(self, positions: Sequence[int]) -> Iterator[Stored]:
        """Give the events at these positions, newest first."""
        condition, argument = index.chosen(positions)
        yield from self._stream(f"{_EVENTS} WHERE {condition} ORDER BY seq DESC", (argument,))
        if min(positions, default=0) < self.first():
            yield from self._stream(f"{_KEPT} WHERE {condition} ORDER BY seq DESC", (argument,))

    def _between(self, start: int, stop: int | None, contains: Sequence[bytes], order: str) -> Iterator[Stored]:
        wanted = "".join(" AND instr(body, ?) > 0" for _ in contains)
        bound = 2**63 - 1 if stop is None else stop
        tables = [_EVENTS] if start >= self.first() else [_EVENTS, _KEPT] if order == "DESC" else [_KEPT, _EVENTS]
        for table in tables:
            query = f"{table} WHERE seq >= ? AND seq < ?{wanted} ORDER BY seq {order}"
            yield from self._stream(query, (start, bound, *contains))

    def _chunks(self, query: str, start: int, stop: int | None) -> Iterator[list[Any]]:
        with self._mapped():
            cursor = self._db.execute(query, (start, 2**63 - 1 if stop is None else stop))
            try:
                while found := cursor.fetchmany(_CHUNK):
                    yield found
            finally:
                with contextlib.suppress(sqlite3.ProgrammingError):  # whoever stopped reading has closed the log
                    cursor.close()

    def _stream(self, query: str, arguments: tuple[object, ...]) -> Iterator[Stored]:
        with self._mapped():
            cursor = self._db.execute(query, arguments)
            try:
                yield from map(Stored._make, cursor if self._deadline is None else self._gently(cursor, self._deadline))
            finally:
                with contextlib.suppress(sqlite3.ProgrammingError):  # whoever stopped reading has closed the log
                    cursor.close()

    def _gently(self, cursor: sqlite3.Cursor, deadline: float) -> Iterator[tuple[int, bytes, bytes]]:
        count = size = 0
        for event in cursor:
            yield event
            count, size = count + 1, size + len(event[1])
            if count >= _GENTLE or size >= _GENTLE_BYTES:
                count = size = 0
                if time.monotonic() >= deadline:
                    raise TooLong
                time.sleep(_PAUSE_S)
