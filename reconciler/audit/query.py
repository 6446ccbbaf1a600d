"""Searching the log: the events that a query describes, newest first.

A query narrows what is read where it can: times by halving, terms by the log's index, and after the index's end, or
where it cannot help, by texts that the stored bytes must contain. What then matches is decided on the decoded event.
Queries read the log and write nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from reconciler.audit.narrowing import positions_back
from reconciler.audit.terms import EventRow, Query
from reconciler.core.text import cut
from reconciler.log.index import INDEX_VERSION
from reconciler.log.replay import event_at, read_event
from reconciler.log.store import Reader, Stored

_STEP: Final = 256
"""Events that are looked up at a time."""


class _Body(msgspec.Struct, frozen=True):
    actor: str
    data: dict[str, Any]
    id: str
    subject: str
    time: str
    type: str


_decode = msgspec.json.Decoder(_Body).decode


def search(
    log: Reader,
    query: Query,
    limit: int | None = None,
    oldest_first: bool = False,
    before: int | None = None,
    start: int = 0,
) -> Iterator[EventRow]:
    """Give the events at positions `start` to `before` - 1 (or the end) that match, newest first or `oldest_first`.

    `limit` counts matches. Raises LogDamaged at the first event that is read and is not what its hash says.
    """
    return islice(filter(query.finds, map(read_row, candidates(log, query, oldest_first, before, start))), limit)


def candidates(log: Reader, query: Query, oldest_first: bool, before: int | None, start: int) -> Iterator[Stored]:
    """Give the events in the query's time that may match, as the index and the query's texts narrow them."""
    head, begin = log.head(), log.first()
    low, high = bounds(log, query, head.size if before is None else min(before, head.size))
    low = max(low, start)
    kept = (low, min(high, begin))  # of a pruned log a few events before its beginning, which are in no index
    low = max(low, begin)
    indexed = min(head.indexed, high) if head.index_version == INDEX_VERSION else 0
    old = positions_back(log, query, low, indexed) if low < indexed else iter(())
    first_read = low if old is None else max(low, indexed)
    if oldest_first:
        yield from log.read(*kept, _needles(query)) if kept[0] < kept[1] else ()
        if old is not None:
            yield from _oldest_first(log, list(old))
        yield from log.read(first_read, high, _needles(query))
        return
    yield from log.read_back(high, _needles(query), first_read)
    for positions in old or ():
        for at in range(0, len(positions), _STEP):
            yield from log.read_at(positions[at : at + _STEP])
    yield from log.read_back(kept[1], _needles(query), kept[0]) if kept[0] < kept[1] else ()


def _oldest_first(log: Reader, found: list[list[int]]) -> Iterator[Stored]:
    for positions in reversed(found):
        for at in range(len(positions), 0, -_STEP):
            yield from list(log.read_at(positions[max(0, at - _STEP) : at]))[::-1]


def bounds(log: Reader, query: Query, high: int) -> tuple[int, int]:
    """Give the positions, up to `high`, that the query's times begin and end at."""
    low = count_before(log, query.since, high) if query.since else 0
    return low, count_before(log, query.until, high) if query.until else high


def count_before(log: Reader, time: str, high: int, *, inclusive: bool = False) -> int:
    """Count the events, `high` at most, before a time (or up to it): times never go back, so halving finds it.

    Before the beginning of a pruned log only kept events count: it is the position after the last of them.
    """
    begin = low = min(log.first(), high)
    while low < high:
        middle = (low + high) // 2
        event = event_at(log, middle)
        if event.time < time or (inclusive and event.time == time):
            low = middle + 1
        else:
            high = middle
    if low > begin or not begin:
        return low
    for stored in log.read_back(begin):
        event = read_event(stored)
        if event.time < time or (inclusive and event.time == time):
            return stored.seq + 1
    return 0


def matches(query: Query, row: EventRow) -> bool:
    """Tell whether one row is what the query describes, its times included."""
    if row.time < query.since or (query.until and row.time >= query.until):
        return False
    return query.finds(row)


def read_row(event: Stored) -> EventRow:
    """Read a stored event as a query gives it. Raises LogDamaged if it is not what its hash says."""
    read_event(event)  # whoever shows a row relies on the fields of its type
    body = _decode(event.body)
    return EventRow(event.seq, body.time, body.type, body.actor, body.subject, body.data, body.id, event.leaf.hex())


def unknown(log: Reader, query: Query, *, found: int) -> list[str]:
    """Say which names of a query the log does not know: of one that is excluded always, else if nothing was `found`.

    Each is looked for by itself, so a name that is merely elsewhere in time is known.
    """
    return [
        f"the log knows no {term.field} {cut(term.value)}"
        for term in query.terms
        if (term.excluded or not found)
        and next(iter(search(log, Query((term._replace(excluded=False),)), 1)), None) is None
    ]


def _needles(query: Query) -> list[bytes]:
    """Give texts that the stored bytes of whatever matches hold as they are."""
    values = [term.value for term in query.terms if not term.excluded]
    return [v.encode() for v in values if v.isascii() and v.isprintable() and not set(v) & set('"\\')]
