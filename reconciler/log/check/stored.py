"""The first half of a check: the stored bytes themselves. Positions, leaf hashes, tree; readable, canonical, in order.

Many events are looked at at a time, which is quick; where anything is wrong with some of them, they are looked at one
by one, which tells what and where. The other half (`check_derived`) checks what follows from the events; neither needs
the other, so they may run in two processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from operator import lt
from typing import Final

import msgspec

from reconciler.core.events import Event, are_canonical, decode, decode_all, encode
from reconciler.log.problems import LogProblem, cut, gather
from reconciler.log.stamp import ULID_LETTERS, parse_time, parse_ulid
from reconciler.log.store import Reader
from reconciler.tlog.merkle import TILE_WIDTH, Frontier, Tiers

Hashes = Callable[[int, int, int], list[bytes]]
Entry = tuple[int, bytes, bytes]
"""A stored event: position, bytes, leaf hash."""

_DIGITS: Final = str.maketrans("123456789", "0" * 9)
_TIME: Final = "0000-00-00T00:00:00.000000Z"


class BytesFindings(msgspec.Struct):
    """What the bytes give: the number of events; packed frontiers by size, of the whole log and each size asked for."""

    problems: list[LogProblem]
    size: int
    frontiers: dict[int, bytes]


def check_bytes(reader: Reader, start: Frontier, stop: int, sizes: Iterable[int], deep: bool) -> BytesFindings:
    """Check the events from the frontier `start` on, where the log begins, to before position `stop`.

    `deep` lets the database check its own structures.
    """
    check = BytesCheck(reader.hashes, start, sizes)

    def problems() -> Iterator[LogProblem]:
        for chunk in reader.chunks(start.size, stop):
            yield from check.take(chunk)

    def faults() -> Iterator[LogProblem]:
        yield from (LogProblem(None, f"database: {fault}") for fault in reader.faults())

    found = gather(problems())
    frontiers = check.frontiers | {check.frontier.size: check.frontier.pack()}
    return BytesFindings(found + gather(faults()) if deep else found, check.frontier.size, frontiers)


class BytesCheck:
    """The events checked so far, and their tree. Positions are counted here, whatever the stored ones say.

    `frontiers` has the packed frontier of each size that was asked for and has been reached.
    """

    def __init__(self, hashes: Hashes, start: Frontier, sizes: Iterable[int] = ()) -> None:
        """`hashes` gives stored subtree hashes, as `Reader.hashes` does; the tree goes on from the frontier `start`."""
        self._hashes = hashes
        self.frontier = Frontier(start.size, start.peaks)
        self.frontiers: dict[int, bytes] = {}
        self._sizes = sorted((size for size in set(sizes) if size >= start.size), reverse=True)
        self._note()
        self._time = 0
        self._id = -1
        self._newest = 0
        self._shift = 0

    def take(self, entries: Sequence[Entry]) -> Iterator[LogProblem]:
        """Take the next events, and give what is wrong with them and with the subtrees that they complete."""
        at = 0
        while at < len(entries):
            part = entries[at : at + cut(self.frontier.size, self._sizes[-1:], len(entries))]
            at += len(part)
            yield from self._many(part)
            self._note()

    def _note(self) -> None:
        while self._sizes and self._sizes[-1] <= self.frontier.size:
            self.frontiers[self._sizes.pop()] = self.frontier.pack()

    def _many(self, entries: Sequence[Entry]) -> Iterator[LogProblem]:
        sha256 = hashlib.sha256
        first = self.frontier.size
        leaves = [sha256(b"\x00" + body).digest() for _, body, _ in entries]
        placed = [seq for seq, _, _ in entries] == list(range(first, first + len(entries)))
        if not (placed and leaves == [leaf for _, _, leaf in entries] and self._all_right(entries)):
            for position, (entry, leaf) in enumerate(zip(entries, leaves, strict=True), first):
                yield from self._one(position, entry, leaf)
        tiers: Tiers = {}
        self.frontier.extend(leaves, tiers)
        yield from (LogProblem(None, message) for message in compare(self._hashes, tiers))

    def _all_right(self, entries: Sequence[Entry]) -> bool:
        """Tell whether the events' contents, times and ids are all right; if so, count them as checked."""
        bodies = [body for _, body, _ in entries]
        try:
            events = decode_all(bodies)
            if not are_canonical(bodies, events) or not _in_order(events):
                return False
            if parse_time(events[0].time) < self._time or parse_ulid(events[0].id) <= self._id:
                return False
        except ValueError:
            return False
        self._time, self._id = parse_time(events[-1].time), parse_ulid(events[-1].id)
        self._newest = self.frontier.size + len(events) - 1
        return True

    def _one(self, position: int, entry: Entry, leaf: bytes) -> Iterator[LogProblem]:
        seq, body, stored = entry
        if seq - position != self._shift:  # all later ones are off by the same amount, and are not reported
            self._shift = seq - position
            yield LogProblem(position, f"position {position} is missing, {seq} stands there")
        if leaf != stored:
            yield LogProblem(position, "the stored bytes do not match the stored hash")
        try:
            event = decode(body)
            if encode(event) != body:
                yield LogProblem(position, "the stored bytes are not canonical JSON")
            time, ulid = parse_time(event.time), parse_ulid(event.id)
        except ValueError as error:
            yield LogProblem(position, f"the event cannot be read: {error}")
            return
        if ulid < self._id:  # the one that came too early is the first that stands at a wrong place
            yield LogProblem(self._newest, f"the events from here to position {position} are not in order")
        elif time < self._time or ulid == self._id:
            yield LogProblem(position, "the event's time or id goes back")
        if ulid >= self._id:
            self._newest, self._id = position, ulid
        self._time = time


def compare(hashes: Hashes, tiers: Tiers, below: int = 0) -> Iterator[str]:
    """Say which stored hashes differ from those just computed; `below` tiers are under the lowest of `tiers`."""
    for tier, (first, made) in tiers.items():
        stored = hashes(tier + below, first, first + len(made))
        if stored != list(made):
            same = next(
                (n for n, pair in enumerate(zip(stored, made, strict=False)) if pair[0] != pair[1]), len(stored)
            )
            span = TILE_WIDTH ** (tier + below)
            start = (first + same) * span
            yield f"the stored hash of the subtree of positions {start} to {start + span - 1} is not theirs"


def _in_order(events: Sequence[Event]) -> bool:
    """Tell whether times and ids have the recorder's form and none goes back. Raises ValueError.

    In that form they can be compared as text.
    """
    ids, times = [event.id for event in events], [event.time for event in events]
    if set(map(len, ids)) != {26} or not all(map(lt, ids, islice(ids, 1, None))) or ids[-1][0] > "7":
        return False
    if "".join(ids).encode().translate(None, ULID_LETTERS):
        return False
    if "".join(times).translate(_DIGITS) != _TIME * len(times) or times != sorted(times):
        return False
    return all(map(datetime.fromisoformat, times))  # raises for a date that does not exist
