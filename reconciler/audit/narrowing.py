"""Where a query's events may be: positions that the log's index gives for its terms, block by block.

A term that the index knows names marks of which a matching event has at least one; all such terms must meet. What the
positions hold is still decided on the events. Terms that the index cannot help with narrow nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from reconciler.audit.terms import Query, Term
from reconciler.core.events import AnyPayload
from reconciler.log.index import DENSE, unpack
from reconciler.log.store import Reader

TYPES: Final = tuple(payload.type for payload in AnyPayload.__args__)
_VERSIONS: Final = {"model": "binding.", "agent": "agent."}

_RARE: Final = frozenset({"version", "revision", "path"})
"""Kinds whose values occur in few blocks: where there is one, meeting with others would only cost."""

_Marks = list[tuple[str, str]]
_InBlock = tuple[int, set[int]]


def positions_back(log: Reader, query: Query, low: int, high: int) -> Iterator[list[int]] | None:
    """Give the positions in [low, high) that may match, newest first, in lists; None if the index does not narrow.

    `high` must not be beyond what is indexed.
    """
    wanted = [term.value for term in query.terms if term.field == "request" and not term.excluded]
    if wanted:
        return iter([[seq for seq in log.requests(wanted[0]) if low <= seq < high]] if _is_text(wanted[0]) else [])
    terms = list(_terms(log, query))
    if any(not marks for _, marks in terms):
        return iter([])
    rare = [marks for kind, marks in terms if kind in _RARE]
    return _positions(log, rare or [marks for _, marks in terms], low, high) if terms else None


def _terms(log: Reader, query: Query) -> Iterator[tuple[str, _Marks]]:
    """Give what the terms that narrow are of, and their marks, of which a matching event has at least one."""
    versions = _versions(query.terms)
    if versions is not None:
        yield "version", [versions]
    for term in query.terms:
        if not _is_text(term.value):
            if not term.excluded:
                yield term.field, []
        elif term.field == "type":
            types = [each for each in TYPES if each.startswith(term.value) != term.excluded]
            if not DENSE.intersection(types):
                yield "type", [("type", each) for each in types]
        elif not term.excluded:
            yield term.field, _marks(log, term)


def _versions(terms: Sequence[Term]) -> tuple[str, str] | None:
    """Recognise the versions of one object, which have a mark of their own."""
    for term in terms:
        family = _VERSIONS.get(term.field)
        if family is not None and not term.excluded:
            for other in terms:
                types = [each for each in TYPES if each.startswith(other.value)]
                if other.field == "type" and not other.excluded and all(each.startswith(family) for each in types):
                    return ("version", f"{term.field}/{term.value}")
    return None


def _marks(log: Reader, term: Term) -> _Marks:
    match term.field:
        case "revision":
            return [("revision", each) for each in log.marked("revision", term.value) if _is_text(each)]
        case "actor":  # who asks for tokens is marked as the agent alone
            return [("actor", term.value), ("agent", term.value)]
        case _:
            return [(term.field, term.value)]


def _is_text(value: str) -> bool:
    """Tell whether a value can be on the log at all: what a shell passes may be no Unicode."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _positions(log: Reader, terms: list[_Marks], low: int, high: int) -> Iterator[list[int]]:
    for block, offsets in _meeting([_any_of(log, marks, high) for marks in terms]):
        found = sorted((block + offset for offset in offsets), reverse=True)
        yield [seq for seq in found if low <= seq < high]
        if block <= low:
            return


def _any_of(log: Reader, marks: _Marks, high: int) -> Iterator[_InBlock]:
    """Give the blocks that have any of the marks, newest first, with the offsets of all of them."""
    streams = [log.marks_back(*mark, high) for mark in marks]
    for block, found in groupby(heapq.merge(*streams, key=lambda each: -each.block), lambda each: each.block):
        yield block, set().union(*(unpack(each.offsets) for each in found))


def _meeting(streams: list[Iterator[_InBlock]]) -> Iterator[_InBlock]:
    """Give the blocks that all streams have, with the offsets that all have in them."""
    heads = [next(stream, None) for stream in streams]
    while True:
        there = [head for head in heads if head is not None]
        if len(there) < len(heads):
            return
        oldest = min(block for block, _ in there)
        if all(block == oldest for block, _ in there):
            yield oldest, set.intersection(*(offsets for _, offsets in there))
            heads = [next(stream, None) for stream in streams]
        else:
            heads = [
                next(stream, None) if head[0] > oldest else head for stream, head in zip(streams, there, strict=True)
            ]
