"""Searching the log: the events that a query describes, newest first.

A term narrows what is read where it can (a text that the stored bytes must contain, the first position of a time); what
then matches is decided on the decoded event. Queries read the log and write nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from reconciler.audit.terms import Query, Row, parse_terms
from reconciler.log.replay import read_event
from reconciler.log.store import Reader, Stored


class _Body(msgspec.Struct, frozen=True):
    actor: str
    data: dict[str, Any]
    id: str
    subject: str
    time: str
    type: str


_decode = msgspec.json.Decoder(_Body).decode


def search(
    log: Reader, query: Query, limit: int | None = None, oldest_first: bool = False, before: int | None = None
) -> Iterator[Row]:
    """Give the events below position `before` (or all) that match, newest first unless `oldest_first`.

    `limit` counts matches.

    Raises LogDamaged at the first event that is read and is not what its hash says.
    """
    found = 0
    tests = query.tests()
    stored: Iterable[Stored] = log.read(0, before) if oldest_first else log.read_back(before, _needles(query))
    for event in stored:
        if limit is not None and found >= limit:
            return
        row = read_row(event)
        if query.since and row.time < query.since:
            if oldest_first:
                continue
            return
        if query.until and row.time >= query.until:
            if oldest_first:
                return
            continue
        if all(test(row) for test in tests):
            found += 1
            yield row


def matches(query: Query, row: Row) -> bool:
    """Tell whether one row is what the query describes, its times included."""
    if row.time < query.since or (query.until and row.time >= query.until):
        return False
    return all(test(row) for test in query.tests())


def read_row(event: Stored) -> Row:
    """Read a stored event as a query gives it. Raises LogDamaged if it is not what its hash says."""
    read_event(event)  # whoever shows a row relies on the fields of its type
    body = _decode(event.body)
    return Row(event.seq, body.time, body.type, body.actor, body.subject, body.data, body.id, event.leaf.hex())


def about_request(request: str) -> Query:
    """Match everything about one request, also where it is one of several. Raises QueryError if it is empty."""
    return parse_terms([f"request:{request}"], datetime.now(UTC))


def _needles(query: Query) -> list[bytes]:
    """Give texts that the stored bytes of whatever matches hold as they are."""
    values = [term.value for term in query.terms if not term.excluded]
    return [v.encode() for v in values if v.isascii() and v.isprintable() and not set(v) & set('"\\')]
