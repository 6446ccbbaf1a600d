"""The index of the log: where which values occur, and what was spent, block by block.

A block is a run of some hundred or thousand events. When it is full it is sealed: what it adds to the index is written
at the end of each table and never changes again (sums of the latest hour and day grow). Events after the last sealed
block are in no index; whoever searches reads them. So appending costs little, and a search reads the blocks that have
what it looks for, newest first, each pointing at the one before it.

Everything here is derived from the events: `pai verify` makes it again and compares, and a store whose index is of
another version is indexed anew. Pure: no I/O.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add
from typing import Final, NamedTuple

import msgspec

from reconciler.core import events as ev
from reconciler.core.budget import Account
from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.errors import LogDamaged

INDEX_VERSION: Final = 1
"""To be raised whenever what a block adds changes: older indexes are then made anew."""

BLOCK_EVENTS: Final = 4096
"""Events after which a block is sealed, at the end of the decision that fills it; a very large one fills several."""

_DENSE: Final = frozenset[type[ev.Payload]]({ev.TokensReserved, ev.TokensSettled})
_SPENDING: Final = frozenset[type[ev.Payload]]({ev.TokensSettled, ev.TokensForfeited})
_OF_REQUESTS: Final = frozenset(cls for cls in ev.AnyPayload.__args__ if "request" in cls.__struct_fields__)

DENSE: Final = frozenset(cls.type for cls in _DENSE)
"""Types that so many events have that an index of them would be of no use."""

_HINT: Final = "run `pai verify` to see all that is wrong, and restore the file from a backup"

FIGURES: Final = ("requests", "input", "cached", "output", "reasoning", "charged")
"""What is added up of every outcome that spent tokens."""

SPANS: Final = ("hour", "day")
"""What sums are kept by."""

SpentKey = tuple[str, str, str, str, str]
"""A span ("hour" or "day"), the hour or day that the events are of, the day that the tokens count to, model, agent."""

HourlySums = dict[tuple[str, str, str, str], list[int]]
"""FIGURES by the hour that the events are of, the day that the tokens count to, model and agent."""


class Mark(NamedTuple):
    """Where one value occurs in a block: offsets from its first event, each a little-endian uint32.

    `account` is the binding's account at the end of the block, as JSON, where the value is a model that has one.
    """

    kind: str
    value: str
    offsets: bytes
    account: str | None = None


class Block(NamedTuple):
    """What the events at positions `first` to `stop` - 1 add to the index; marks are sorted as their table is."""

    first: int
    stop: int
    marks: list[Mark]
    requests: list[tuple[str, int]]
    spent: dict[SpentKey, list[int]]


class BlockBuilder:
    """Gathers a block, event by event, of `size` events or, by the end of a decision, some more."""

    def __init__(self, first: int, size: int = BLOCK_EVENTS) -> None:
        self.first = self.stop = first
        self._size = size
        self._offsets: dict[tuple[str, str], array[int]] = {}
        self._dense: dict[tuple[str, str, str], list[Callable[[int], None]]] = {}
        self._requests: list[tuple[str, int]] = []
        self._spent: HourlySums = {}

    def full(self, more: int = 0) -> bool:
        """Tell whether the block may be sealed when `more` events have come."""
        return self.stop + more - self.first >= self._size

    def add(self, event: ev.Event) -> None:
        """Take the event at position `stop`."""
        self.extend((event,))

    def extend(self, events: Iterable[ev.Event | None]) -> None:
        """Take the events from position `stop` on; None for one that cannot be read."""
        first, position = self.first, self.stop
        dense, requests = self._dense, self._requests
        for event in events:
            if event is not None:
                payload = event.payload
                kind = type(payload)
                if kind in _DENSE:
                    key = (event.actor, event.subject, payload.agent)  # type: ignore[union-attr]
                    appends = dense.get(key)
                    if appends is None:
                        appends = dense[key] = [self._marked(mark).append for mark in marks_of(event)]
                    for append in appends:
                        append(position - first)
                else:
                    for mark in marks_of(event):
                        self._marked(mark).append(position - first)
                if kind in _OF_REQUESTS:
                    requests.append((payload.request, position))  # type: ignore[union-attr]
                    if kind in _SPENDING:
                        spend(self._spent, event)
                    elif kind is ev.RequestRefused:
                        requests += [(other, position) for other in payload.others]  # type: ignore[union-attr]
            position += 1
        self.stop = position

    def _marked(self, mark: tuple[str, str]) -> array[int]:
        found = self._offsets.get(mark)
        if found is None:
            found = self._offsets[mark] = array("I")
        return found

    def seal(self, accounts: Mapping[str, Account]) -> Block:
        """Give the block and begin the next; `accounts` are those of the state after its last event."""
        marks = [
            Mark(*key, _packed(offsets), _account(key, accounts)) for key, offsets in sorted(self._offsets.items())
        ]
        block = Block(self.first, self.stop, marks, list(dict.fromkeys(self._requests)), _by_span(self._spent))
        self.first = self.stop
        self._offsets, self._dense, self._requests, self._spent = {}, {}, [], {}
        return block


def spend(spent: HourlySums, event: ev.Event) -> None:
    """Add an outcome to the sums of its hour; other events spend nothing."""
    payload = event.payload
    if not isinstance(payload, (ev.TokensSettled, ev.TokensForfeited)):
        return
    key = (event.time[:13], payload.day, event.subject.partition("/")[2], payload.agent)
    sums = spent.get(key)
    if sums is None:
        sums = spent[key] = [0] * len(FIGURES)
    sums[0] += 1
    if isinstance(payload, ev.TokensSettled):
        sums[1] += payload.input
        sums[2] += payload.cached
        sums[3] += payload.output
        sums[4] += payload.reasoning
        sums[5] += payload.charged
    else:
        sums[5] += payload.tokens


def _by_span(hours: HourlySums) -> dict[SpentKey, list[int]]:
    """Give the sums of a block's hours, and of its days, as they are stored."""
    spent: dict[SpentKey, list[int]] = {}
    nothing = [0] * len(FIGURES)
    for (hour, day, model, agent), sums in hours.items():
        for span, period in (("hour", hour), ("day", hour[:10])):
            key = (span, period, day, model, agent)
            spent[key] = added(spent.get(key, nothing), sums)
    return spent


def added(sums: Sequence[int], figures: Sequence[int]) -> list[int]:
    """Add figures up; the sum is capped at what JSON keeps, as damaged events may hold anything."""
    found = list(map(add, sums, figures))
    return found if max(found) <= MAX_SAFE_INTEGER else [min(MAX_SAFE_INTEGER, figure) for figure in found]


def marks_of(event: ev.Event) -> list[tuple[str, str]]:
    """Give the values that an event is found by, each once: (kind, value)."""
    payload = event.payload
    kind, _, name = event.subject.partition("/")
    if type(payload) in _DENSE:
        agent = payload.agent  # type: ignore[union-attr]
        if event.actor == agent:
            return [("model", name), ("agent", agent)]
        return [("model", name), ("agent", agent), ("actor", event.actor)]
    agent = getattr(payload, "agent", None)
    marks = [("type", event.type)]
    if kind in ("model", "agent"):
        marks.append((kind, name))
    if agent is not None:
        marks.append(("agent", agent))
    if event.actor != agent:
        marks.append(("actor", event.actor))
    if isinstance(payload, ev.ObjectWritten | ev.ObjectDeleted):
        marks += [("version", event.subject), ("revision", payload.revision), ("path", payload.file)]
        marks += [("field", field) for field in payload.changed]
    elif isinstance(payload, ev.Commit):
        marks.append(("revision", payload.commit))
        marks += [("path", path) for path in _paths(payload)]
    elif isinstance(payload, ev.HistoryRewritten | ev.Pushed):
        marks.append(("revision", payload.to))
    elif isinstance(payload, ev.Returned):
        marks.append(("revision", payload.commit))
        marks += [("revision", payload.revision)] if isinstance(payload, ev.RevisionUnpinned) else []
        marks += [("path", moved.file) for moved in payload.moved]
    return list(dict.fromkeys(marks))


def _paths(commit: ev.Commit) -> list[str]:
    if isinstance(commit, ev.RevisionAccepted):
        return [moved.file for moved in commit.moved] + [warning.path for warning in commit.warnings]
    return [problem.path for problem in commit.diagnostics] if isinstance(commit, ev.RevisionRejected) else []


def _packed(offsets: array[int]) -> bytes:
    if sys.byteorder == "big":
        offsets = offsets[:]
        offsets.byteswap()
    return offsets.tobytes()


def unpack(offsets: bytes) -> array[int]:
    """Read the offsets of a mark. Raises LogDamaged if they are none."""
    try:
        found = array("I", offsets)
    except ValueError:
        raise LogDamaged("the index of the log is damaged: a list of positions is cut", _HINT) from None
    if sys.byteorder == "big":
        found.byteswap()
    return found


_encode_account = msgspec.json.Encoder(order="deterministic").encode
_decode_account = msgspec.json.Decoder(Account).decode


def _account(key: tuple[str, str], accounts: Mapping[str, Account]) -> str | None:
    account = accounts.get(key[1]) if key[0] == "model" else None
    return None if account is None else _encode_account(account).decode()


def read_account(text: str) -> Account:
    """Read the account of a mark. Raises LogDamaged if it is none."""
    try:
        return _decode_account(text)
    except ValueError as error:
        raise LogDamaged(f"the index of the log is damaged: {error}", _HINT) from error
