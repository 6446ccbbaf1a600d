"""Tokens spent, added up from the log: what was settled, and what was forfeited because nobody knows.

Reserved and voided tokens are not spent. Days are those of the reservations, which budgets count by; the times of a
query apply to the events.

Where a query asks for models and agents only, the index's sums count for the whole hours and days of its time, and
events are read for the rest: before the first whole hour, after the last, and after the end of the index. Any other
term is decided event by event. Both ways give the same figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from reconciler.audit.query import bounds, count_before, search
from reconciler.audit.terms import EventRow, Query, Term
from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.errors import UsageError
from reconciler.core.events import TokensForfeited, TokensSettled
from reconciler.log.index import FIGURES, INDEX_VERSION, HourlySums, spend
from reconciler.log.replay import checked
from reconciler.log.store import Reader, SpentQuery

Key = Literal["day", "model", "agent"]
KEYS: Final[tuple[Key, ...]] = ("day", "model", "agent")
"""What can be grouped by."""

_SPENT = (TokensSettled.type, TokensForfeited.type)


class Spending(msgspec.Struct):
    """The tokens of one group; `key` has its values in the order asked for.

    `cached` is a part of `input`, `reasoning` of `output`. What was forfeited is in `charged` alone: nobody knows its
    parts.
    """

    key: tuple[str, ...]
    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    charged: int = 0

    def add(self, sums: Sequence[int]) -> None:
        """Add FIGURES; what nonsense may add up to stays a number that JSON keeps."""
        for name, figure in zip(FIGURES, sums, strict=True):
            setattr(self, name, min(MAX_SAFE_INTEGER, getattr(self, name) + figure))

    def figures(self) -> dict[str, int]:
        """Give FIGURES by name."""
        return {name: getattr(self, name) for name in FIGURES}

    def told(self, by: Sequence[Key]) -> dict[str, object]:
        """Give the group as JSON has it: the values of the keys `by`, then the figures."""
        return {**dict(zip(by, self.key, strict=True)), **self.figures()}


class _Groups(dict[tuple[str, ...], Spending]):
    """The groups so far, by the values of the keys `by`; `most` at most, if that is given. Raises UsageError."""

    def __init__(self, by: Sequence[Key], most: int | None) -> None:
        super().__init__()
        self._by = by
        self._most = most

    def __missing__(self, key: tuple[str, ...]) -> Spending:
        if len(self) == self._most:
            hint = "narrow q by since:, model: or agent:, or group by less"
            raise UsageError(f"there are more than {self._most:,} groups", hint)
        group = self[key] = Spending(key)
        return group

    def add_rows(self, rows: Iterator[EventRow]) -> None:
        for row in rows:
            if row.type in _SPENT:
                values = {"model": row.subject.partition("/")[2], "day": row.data["day"], "agent": row.data["agent"]}
                figures = (row.data.get(name, 0) for name in ("input", "cached", "output", "reasoning"))
                self[tuple(values[name] for name in self._by)].add((1, *figures, row.charged()))

    def add_events(self, log: Reader, start: int, stop: int) -> None:
        """Add up all events at positions `start` to `stop` - 1."""
        spent: HourlySums = {}
        start = max(start, log.first())  # of what was before, nothing that was spent is kept
        for chunk in log.chunks(start, stop):
            for event in checked(chunk, start):
                spend(spent, event)
            start += len(chunk)
        for (_, day, model, agent), sums in spent.items():
            values = {"day": day, "model": model, "agent": agent}
            self[tuple(values[name] for name in self._by)].add(sums)

    def sorted(self) -> list[Spending]:
        found = list(self.values())
        for place, name in reversed(list(enumerate(self._by))):  # sorting keeps the order of equals
            found.sort(key=lambda group: group.key[place], reverse=name == "day")
        return found


def spending(log: Reader, query: Query, by: Sequence[Key], groups_max: int | None = None) -> list[Spending]:
    """Add up what the query finds, in groups of the KEYS `by`, sorted by them: newest day first, names from a to z.

    Raises UsageError for more groups than `groups_max`.
    """
    groups = _Groups(by, groups_max)
    most = None if groups_max is None else groups_max + 1
    outcomes = msgspec.structs.replace(query, terms=(Term("type", "tokens."), *query.terms))
    with log.moment():
        head = log.head()
        indexed = head.indexed if head.index_version == INDEX_VERSION else 0
        if any(term.field not in ("model", "agent") for term in query.terms) or not indexed:
            groups.add_rows(search(log, outcomes))
            return groups.sorted()
        start, stop = _whole_hours(query)
        low, high = bounds(log, query, head.size)
        if start < stop:
            only = [(term.field, term.value, term.excluded) for term in query.terms]
            for span, first, last in _spans(start, stop):
                for found in log.spent(SpentQuery(span, first, last, by, only, most)):
                    groups[tuple(found.key)].add(found.sums)
            edges = [(low, _position(log, start, indexed)), (_position(log, stop, indexed), min(high, indexed))]
        else:
            edges = [(low, min(high, indexed))]
        for first_read, end in [*edges, (max(low, indexed), high)]:
            if first_read < end and query.terms:  # which narrow what is read
                groups.add_rows(search(log, outcomes, before=end, start=first_read))
            elif first_read < end:
                groups.add_events(log, first_read, end)
    return groups.sorted()


def _position(log: Reader, hour: str, indexed: int) -> int:
    """Give the position that an hour begins at, the index's end at most."""
    return 0 if hour == _FIRST else indexed if hour == _LAST else count_before(log, f"{hour}:00:00.000000Z", indexed)


_FIRST, _LAST = "", "~"
"""Before every hour, and after: how `2026-11-01T10` is written, both compare so."""


def _whole_hours(query: Query) -> tuple[str, str]:
    """Give the first whole hour of a query's time, and the one that begins after the last."""
    start = _FIRST
    if query.since:
        since = datetime.fromisoformat(query.since)
        hour = since.replace(minute=0, second=0, microsecond=0)
        start = _hour(hour if hour == since else hour + timedelta(hours=1))
    return start, query.until[:13] if query.until else _LAST


def _spans(start: str, stop: str) -> Iterator[tuple[Literal["hour", "day"], str, str]]:
    """Part a time of whole hours into days and the hours around them: (span, first period, period after the last)."""
    first = start if start == _FIRST else _day_from(start)
    last = stop if stop == _LAST else stop[:10]
    if first >= last:
        yield "hour", start, stop
        return
    if start != _FIRST:
        yield "hour", start, f"{first}T00"
    yield "day", first, last
    if stop != _LAST:
        yield "hour", f"{last}T00", stop


def _day_from(hour: str) -> str:
    """Give the first day that begins at an hour or after it."""
    day = datetime.fromisoformat(hour[:10])
    return hour[:10] if hour[11:] == "00" else f"{day + timedelta(days=1):%Y-%m-%d}"


def _hour(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H}"
