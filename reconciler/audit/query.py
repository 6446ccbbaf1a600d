"""The query language of `pai log` (SPEC section 6.2): terms that must all hold, newest event first.

A term narrows what is read where it can (a text that the stored bytes must contain, the first position of a time); what
then matches is decided on the decoded event. Queries read the log and write nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from reconciler.core.errors import UsageError
from reconciler.log.replay import read_event
from reconciler.log.store import Reader, Stored


class Row(msgspec.Struct, frozen=True):
    """One event as a query gives it. `data` is the payload as JSON values, `leaf_hash` hex."""

    seq: int
    time: str
    type: str
    actor: str
    subject: str
    data: dict[str, Any]
    id: str
    leaf_hash: str = msgspec.field(name="leafHash")


Test = Callable[[Row], bool]


class Query(msgspec.Struct, frozen=True):
    """A parsed query: `since` and `until` are times as events have them ("" for none)."""

    tests: tuple[Test, ...] = ()
    needles: tuple[bytes, ...] = ()
    since: str = ""
    until: str = ""


class _Body(msgspec.Struct, frozen=True):
    actor: str
    data: dict[str, Any]
    id: str
    subject: str
    time: str
    type: str


_decode = msgspec.json.Decoder(_Body).decode


def search(log: Reader, query: Query, limit: int | None = None, oldest_first: bool = False) -> Iterator[Row]:
    """Give the events that match, newest first unless `oldest_first`; `limit` counts matches.

    Raises LogDamaged at the first event that is read and is not what its hash says.
    """
    found = 0
    stored: Iterable[Stored] = log.read(0) if oldest_first else log.read_back(contains=query.needles)
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
        if all(test(row) for test in query.tests):
            found += 1
            yield row


def read_row(event: Stored) -> Row:
    """Read a stored event as a query gives it. Raises LogDamaged if it is not what its hash says."""
    read_event(event)  # whoever shows a row relies on the fields of its type
    body = _decode(event.body)
    return Row(event.seq, body.time, body.type, body.actor, body.subject, body.data, body.id, event.leaf.hex())


def parse_terms(terms: Sequence[str], now: datetime) -> Query:
    """Parse terms such as `type:binding`, `model:NAME`, `since:7d`, `-actor:bot`. Raises UsageError."""
    tests: list[Test] = []
    needles: list[bytes] = []
    since = until = ""
    for term in terms:
        excluded = term.startswith("-")
        field, colon, value = term.removeprefix("-").partition(":")
        if not colon or not value:
            raise UsageError(
                f"cannot read the term {term!r}", f"terms look like FIELD:VALUE; fields: {', '.join(_FIELDS)}"
            )
        if field in ("since", "until"):
            if excluded:
                raise UsageError(f"{term!r}: a time cannot be excluded", "use until: for the other side")
            when = parse_when(value, now)
            since, until = (when, until) if field == "since" else (since, when)
            continue
        if field not in _TESTS:
            near = difflib.get_close_matches(field, _FIELDS, 1)
            hint = f"did you mean {near[0]}:?" if near else f"fields: {', '.join(_FIELDS)}"
            raise UsageError(f"unknown field {field!r} in the term {term!r}", hint)
        if field == "revision":
            value = value.lower()
        test = _TESTS[field](value)
        tests.append(_negated(test) if excluded else test)
        if not excluded and value.isascii() and value.isprintable() and not set(value) & set('"\\'):
            needles.append(value.encode())
    return Query(tuple(tests), tuple(needles), since, until)


def _negated(test: Test) -> Test:
    return lambda row: not test(row)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_when(text: str, now: datetime) -> str:
    """Turn `7d`, `2026-11-01` or an RFC 3339 time into a time as events have it. Raises UsageError."""
    try:
        if text[-1:] in _UNITS and text[:-1].isdecimal() and len(text) < 12:
            return event_time(now - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]]))
        when = datetime.fromisoformat(text)
        return event_time(when if when.tzinfo else when.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        hint = "write 30m, 7d, 2026-11-01 or 2026-11-01T10:00:00Z"
        raise UsageError(f"cannot read the time {text!r}", hint) from None


def event_time(when: datetime) -> str:
    """Write a time as events have it: UTC with microseconds and a Z."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def about_request(request: str) -> Query:
    """Match everything about one request, also where it is one of several. Raises UsageError if it is empty."""
    return parse_terms([f"request:{request}"], datetime.now(UTC))


def _subject(kind: str) -> Callable[[str], Test]:
    return lambda value: lambda row: row.subject == f"{kind}/{value}" or row.data.get(kind) == value


def subject_test(subject: str) -> Test:
    """Match the events about exactly this subject, such as `model/NAME`."""
    return lambda row: row.subject == subject


def _revision(value: str) -> Test:
    return lambda row: any(str(row.data.get(field, "")).startswith(value) for field in ("revision", "commit", "to"))


def _request(value: str) -> Test:
    return lambda row: row.data.get("request") == value or value in row.data.get("others", ())


def _path(value: str) -> Test:
    def test(row: Row) -> bool:
        paths = [row.data.get("file")]
        for field in ("diagnostics", "moved", "warnings"):
            paths += [item.get("path", item.get("file")) for item in row.data.get(field, [])]
        return value in paths

    return test


_TESTS: dict[str, Callable[[str], Test]] = {
    "type": lambda value: lambda row: row.type.startswith(value),
    "model": _subject("model"),
    "agent": _subject("agent"),
    "actor": lambda value: lambda row: row.actor == value,
    "revision": _revision,
    "request": _request,
    "path": _path,
    "field": lambda value: lambda row: value in row.data.get("changed", ()),
}
_FIELDS = (*_TESTS, "since", "until")
