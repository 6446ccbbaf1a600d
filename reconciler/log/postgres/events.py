"""Reading the events of a log in Postgres, some thousand positions at a time, so that no cursor has to stay open.

Of a pruned log those before its beginning are in a table of their own, `kept`.
"""
# ruff: noqa: S608 (only names of our own tables and columns are put into statements)

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reconciler.core.errors import TooLong
from reconciler.log.postgres.asking import Asking
from reconciler.log.store import Base, Kept, Stored

_CHUNK: Final = 4096
_FEW: Final = 64
_BYTES_MAX: Final = 4 * 1024 * 1024
"""What one answer of the server should hold at most; one that holds more makes the next smaller."""
_PAUSE_S: Final = 0.0002
_POSITION_MAX: Final = 2**63 - 1


class PostgresEventsReader(Asking):
    """Reading events; the part of a reader that knows these tables."""

    def size(self) -> int:
        """Give the number of events, which is the next position."""
        return int(self._one("SELECT coalesce((SELECT max(seq) + 1 FROM {s}.events), 0)")[0])

    def first(self) -> int:
        """Give the position that events stand from without gaps: 0 unless the log was pruned."""
        return int(self._one("SELECT coalesce((SELECT position FROM {s}.base), 0)")[0])

    def base(self) -> Base | None:
        """Give what a pruned log begins with."""
        found = self._ask("SELECT position, peaks, data, digest, event, fold FROM {s}.base")
        return Base(*found[0]) if found else None

    def kept(self, start: int = 0, stop: int | None = None) -> list[Kept]:
        """Give the kept events before `first`, at positions `start` to `stop` - 1, oldest first."""
        query = "SELECT seq, body, leaf, path FROM {s}.kept WHERE seq >= %s AND seq < %s ORDER BY seq"
        return list(map(Kept._make, self._ask(query, (start, _end(stop)))))

    def read(self, start: int = 0, stop: int | None = None, contains: Sequence[bytes] = ()) -> Iterator[Stored]:
        """Give the events at positions `start` to `stop` - 1 (or the end), oldest first, that hold all `contains`."""
        yield from self._gently(self._kept_with(start, stop, contains))
        yield from self._gently(self._with(start, stop, contains, back=False))

    def read_back(self, before: int | None = None, contains: Sequence[bytes] = (), start: int = 0) -> Iterator[Stored]:
        """Give the events at positions `start` to `before` - 1 (or the end), newest first, that hold all `contains`."""
        yield from self._gently(self._with(start, before, contains, back=True))
        yield from self._gently(reversed(self._kept_with(start, before, contains)))

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """Give the same as `read`, some thousand events at a time, as plain tuples, but no kept ones."""
        return self._ranges("", (), start, stop, _CHUNK)

    def bodies(self, start: int = 0, stop: int | None = None) -> Iterator[list[bytes]]:
        """Give the stored bytes alone, in the order of their positions, some thousand events at a time."""
        return ([body for _, body, _ in chunk] for chunk in self.chunks(start, stop))

    def read_at(self, positions: Sequence[int]) -> Iterator[Stored]:
        """Give the events at these positions, newest first."""
        for table in ("events", "kept"):
            query = f"SELECT seq, body, leaf FROM {{s}}.{table} WHERE seq = ANY(%s) ORDER BY seq DESC"
            yield from map(Stored._make, self._ask(query, (list(positions),)))

    def hashes(self, tier: int, start: int, stop: int) -> list[bytes]:
        """Give the stored roots of the subtrees `start` to `stop` - 1 of 256**tier leaves, up to the first missing."""
        if tier:
            query = "SELECT n, hash FROM {s}.subtrees WHERE tier = %s AND n >= %s AND n < %s ORDER BY n"
            rows = self._ask(query, (tier, start, stop))
        else:
            rows = self._ask(
                "SELECT seq, leaf FROM {s}.events WHERE seq >= %s AND seq < %s ORDER BY seq", (start, stop)
            )
        found: list[bytes] = []
        for n, value in rows:
            if n != start + len(found):
                break
            found.append(value)
        return found

    def _with(self, start: int, stop: int | None, contains: Sequence[bytes], *, back: bool) -> Iterator[Stored]:
        wanted = " AND position(%s IN body) > 0" * len(contains)
        for chunk in self._ranges(wanted, contains, start, stop, _FEW, back=back):
            yield from map(Stored._make, chunk)

    def _kept_with(self, start: int, stop: int | None, contains: Sequence[bytes]) -> list[Stored]:
        if start >= self.first():
            return []
        found = (Stored(each.seq, each.body, each.leaf) for each in self.kept(start, stop))
        return [event for event in found if all(part in event.body for part in contains)]

    def _ranges(
        self, wanted: str, arguments: Sequence[bytes], start: int, stop: int | None, step: int, *, back: bool = False
    ) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """Give the events of a range of positions, first `step` positions of it, then more at a time."""
        query = f"SELECT seq, body, leaf FROM {{s}}.events WHERE seq >= %s AND seq < %s{wanted} ORDER BY seq"
        query += " DESC" * back
        start, stop = max(start, self.first()), min(_end(stop), self.size())
        while start < stop:
            low, high = (max(start, stop - step), stop) if back else (start, min(stop, start + step))
            found = self._ask(query, (low, high, *arguments))
            if found:
                yield found
            start, stop = (start, low) if back else (high, stop)
            heavy = sum(len(body) for _, body, _ in found) >= _BYTES_MAX
            step = max(1, step // 4) if heavy else min(_CHUNK, step * 4)

    def _gently(self, events: Iterable[Stored]) -> Iterator[Stored]:
        """Pause between events, and end with CouldNotRun at the deadline, if there is one."""
        if self._deadline is None:
            yield from events
            return
        for number, event in enumerate(events, 1):
            yield event
            if not number % _FEW:
                if time.monotonic() >= self._deadline:
                    raise TooLong
                time.sleep(_PAUSE_S)


def _end(stop: int | None) -> int:
    return _POSITION_MAX if stop is None else stop
