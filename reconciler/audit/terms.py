"""The terms of a query (SPEC section 6.2): `model:NAME`, `-type:tokens`, `since:7d`, all of which must hold.

From text to values and to tests on rows; nothing here reads a log. An error points into the query: its text, and where
in it the part stands that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from reconciler.core.errors import QueryError, UsageError
from reconciler.core.events import TokensVoided


class EventRow(msgspec.Struct, frozen=True):
    """One event as a query gives it. `data` is the payload as JSON values, `leaf_hash` hex."""

    seq: int
    time: str
    type: str
    actor: str
    subject: str
    data: dict[str, Any]
    id: str
    leaf_hash: str = msgspec.field(name="leafHash")

    def charged(self) -> int:
        """Give the tokens that an outcome charged."""
        charged = self.data["charged"] if "charged" in self.data else self.data["tokens"]
        return 0 if self.type == TokensVoided.type else int(charged)


class Term(NamedTuple):
    """One term that is no time: rows match whose `field` is `value`, or is not, if `excluded`."""

    field: str
    value: str
    excluded: bool = False


class Query(msgspec.Struct, frozen=True):
    """A parsed query: `since` (included) and `until` (not included) are times as events have them, "" for none."""

    terms: tuple[Term, ...] = ()
    since: str = ""
    until: str = ""

    def finds(self, row: EventRow) -> bool:
        """Tell whether a row is what the terms describe, whatever its time."""
        return all(_TESTS[term.field](row, term.value) is not term.excluded for term in self.terms)


class _Word(NamedTuple):
    """One term as it was typed: its text without quotes, and where it stands in the whole query."""

    text: str
    start: int
    length: int


def parse_terms(terms: Sequence[str], now: datetime) -> Query:
    """Parse terms that are apart already, as a shell gives them. Raises QueryError.

    One argument may hold several, as in a query that is one text: `"type:binding model:a"`. What has blanks is one term
    only where that may be meant: `path:my file.yaml`.
    """
    words, query = [], " ".join(terms)
    at = 0
    for term in terms:
        whole = term.split(maxsplit=1)[1:] and '"' not in term and _may_have_blanks(term)
        found = [_Word(term, 0, len(term))] if whole or not term.strip() else _words(term, query, at)
        words += [_Word(word.text, at + word.start, word.length) for word in found]
        at += len(term) + 1
    return _parse(words, query, now)


def parse_query(text: str, now: datetime) -> Query:
    """Parse a query that is one text: terms with blanks between them; quotes keep blanks: `path:"my file.yaml"`.

    Raises QueryError.
    """
    return _parse(_words(text, text, 0), text, now)


def _may_have_blanks(term: str) -> bool:
    """Tell whether an argument with blanks is one term: of a field whose values may have some, and not all terms."""
    first, *others = term.split()
    return first.removeprefix("-").startswith(_WITH_BLANKS) and not all(map(_TERM.match, others))


def _words(text: str, query: str, at: int) -> Iterator[_Word]:
    """Yield the words of a part of a query, which begins there `at`."""
    for found in re.finditer(r'(?:"[^"]*"?|[^\s"])+', text):
        if found[0].count('"') % 2:
            hint = 'write path:"my file.yaml"'
            raise QueryError("a quote is not closed", hint, query, at + found.start(), len(found[0]))
        yield _Word(found[0].replace('"', ""), found.start(), len(found[0]))


def _parse(words: Iterable[_Word], query: str, now: datetime) -> Query:
    terms: list[Term] = []
    since, until = "", ""
    for number, word in enumerate(words):
        if number == TERMS_MAX:
            raise QueryError(f"a query has {TERMS_MAX} terms at most", "ask twice", query, word.start, word.length)
        excluded = word.text.startswith("-")
        field, colon, value = word.text.removeprefix("-").partition(":")
        at, size = word.start + excluded, len(field)
        if not colon or not value:
            hint = f"terms look like FIELD:VALUE; fields: {', '.join(FIELDS)}"
            raise QueryError(f"cannot read the term {word.text!r}", hint, query, word.start, word.length)
        if field in ("since", "until"):
            if excluded:
                hint = "use until: for the other side" if field == "since" else "use since: for the other side"
                raise QueryError(f"{word.text!r}: a time cannot be excluded", hint, query, word.start, 1)
            try:
                when = parse_when(value, now)
            except UsageError as error:
                place = (at + size + 1, word.length - size - 1)
                raise QueryError(error.message, error.hint, query, *place) from None
            since, until = (max(since, when), until) if field == "since" else (since, min(until or when, when))
            continue
        if field not in _TESTS:
            message = f"unknown field {field!r} in the term {word.text!r}"
            raise QueryError(message, _nearest(field), query, at, max(1, size))
        terms.append(Term(field, value.lower() if field == "revision" else value, excluded))
    return Query(tuple(terms), since, until)


def _nearest(field: str) -> str:
    import difflib

    near = difflib.get_close_matches(field, FIELDS, 1)
    return f"did you mean {near[0]}:?" if near else f"fields: {', '.join(FIELDS)}"


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_when(text: str, now: datetime) -> str:
    """Turn `7d`, `2026-11-01` or an RFC 3339 time into a time as events have it. Raises UsageError."""
    try:
        if text[-1:] in _UNITS and text[:-1].isascii() and text[:-1].isdecimal() and len(text) < 12:
            return event_time(now - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]]))
        when = datetime.fromisoformat(text)
        return event_time(when if when.tzinfo else when.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        hint = "write 30m, 7d, 2026-11-01 or 2026-11-01T10:00:00Z"
        raise UsageError(f"cannot read the time {text!r}", hint) from None


def event_time(when: datetime) -> str:
    """Write a time as events have it: UTC with microseconds and a Z."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _subject(row: EventRow, kind: str, value: str) -> bool:
    return row.subject == f"{kind}/{value}" or row.data.get(kind) == value


def _revision(row: EventRow, value: str) -> bool:
    return any(str(row.data.get(field, "")).startswith(value) for field in ("revision", "commit", "to"))


def _request(row: EventRow, value: str) -> bool:
    return row.data.get("request") == value or value in row.data.get("others", ())


def _path(row: EventRow, value: str) -> bool:
    paths = [row.data.get("file")]
    for field in ("diagnostics", "moved", "warnings"):
        paths += [item.get("path", item.get("file")) for item in row.data.get(field, [])]
    return value in paths


_TESTS: Final[dict[str, Callable[[EventRow, str], bool]]] = {
    "type": lambda row, value: row.type.startswith(value),
    "model": lambda row, value: _subject(row, "model", value),
    "agent": lambda row, value: _subject(row, "agent", value),
    "actor": lambda row, value: row.actor == value,
    "revision": _revision,
    "request": _request,
    "path": _path,
    "field": lambda row, value: value in row.data.get("changed", ()),
}
FIELDS: Final = (*_TESTS, "since", "until")
TERMS_MAX: Final = 100
"""Each is looked for in each event, and SQLite takes no more than a thousand."""
_TERM: Final = re.compile(r"-?[A-Za-z]+:.")
"""What looks like a term, whether or not there is such a field."""
_WITH_BLANKS: Final = ("path:", "actor:", "field:")
