"""Everything that must hold in a log, recomputed from its stored bytes.

Trusts nothing derived: leaf hashes, positions, the Merkle frontier, subtree hashes, canonical bytes, projection,
snapshots and index are made anew and compared. Reads only, in one moment, so it may run beside the writer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from reconciler.core.errors import PaiError
from reconciler.core.events import Event, LogAccepted, decode, encode
from reconciler.core.state import State, dump, row, row_keys
from reconciler.log import pruned
from reconciler.log.check_index import IndexCheck
from reconciler.log.check_pruned import check_start
from reconciler.log.merkle import EMPTY_ROOT, TILE_WIDTH, Frontier, Tiers, leaf_hash
from reconciler.log.replay import FOLD_VERSION
from reconciler.log.stamp import parse_time, parse_ulid
from reconciler.log.store import Head, Reader, Snapshot, Stored
from reconciler.log.tree import Tree

Hashes = Callable[[int, int, int], list[bytes]]

PROBLEMS_MAX = 100
_CHUNK = 4096


class Problem(NamedTuple):
    """Something that does not fit; `position` is the event's, None if it concerns no single one."""

    position: int | None
    message: str


class Marks:
    """What else a check brings home: the roots of the first so many events, and the acceptances it met."""

    def __init__(self, sizes: Iterable[int] = ()) -> None:
        self.sizes = frozenset(sizes)
        self.roots: dict[int, bytes] = {0: EMPTY_ROOT}
        self.accepted: list[LogAccepted] = []

    def take_left_part(self, reader: Reader, first: int) -> None:
        """Note what is known of sizes up to `first`, where a pruned log begins; most of their roots nobody can tell."""
        tree = Tree(reader)
        for size in self.sizes:
            if 0 < size <= first and size % TILE_WIDTH == 0:
                self.roots[size] = tree.root(size)
        for stored in reader.kept():
            with contextlib.suppress(ValueError):
                payload = decode(stored.body).payload
                if isinstance(payload, LogAccepted):
                    self.accepted.append(payload)


def check(
    reader: Reader, deep: bool = True, checked: Callable[[int], None] = lambda _: None, marks: Marks | None = None
) -> list[Problem]:
    """Recompute everything and give what does not fit, events first, by position; at most PROBLEMS_MAX.

    `deep` also lets the database check its own structures; `checked` is told how many more events are done; `marks` is
    filled. Never raises for what is wrong with the data.
    """
    problems: list[Problem] = []
    try:
        with reader.moment():
            problems += islice(_problems(reader, deep, checked, marks or Marks()), PROBLEMS_MAX)
    except PaiError as error:
        problems.append(Problem(None, error.message))
    return problems


def _problems(reader: Reader, deep: bool, checked: Callable[[int], None], marks: Marks) -> Iterator[Problem]:
    head = reader.head()
    snapshots = {snapshot.position: snapshot for snapshot in reader.snapshots()}
    begin, first = pruned.start(reader), reader.first()
    yield from (Problem(None, message) for message in check_start(reader))
    marks.take_left_part(reader, first)
    replay, index = Replay(reader.hashes, marks, *begin), IndexCheck(reader, head)
    stream = reader.read(first)
    while chunk := list(islice(stream, _CHUNK)):
        for stored in chunk:
            event = yield from replay.step(stored)
            yield from (Problem(None, message) for message in index.step(event, replay.state))
            if replay.state.position in marks.sizes:
                yield from replay.grow()
                marks.roots[replay.frontier.size] = replay.frontier.root()
            if (snapshot := snapshots.pop(replay.state.position, None)) is not None:
                yield from replay.grow()
                yield from _compare_snapshot(snapshot, replay)
        yield from replay.grow()
        checked(len(chunk))
    yield from _compare_head(head, replay)
    for snapshot in snapshots.values():
        yield Problem(None, f"the snapshot at {snapshot.position} lies at no position of the log")
    yield from _compare_rows(reader, head, replay.state)
    yield from (Problem(None, message) for message in index.end())
    if deep:
        for fault in reader.faults():
            yield Problem(None, f"database: {fault}")


class Replay:
    """The log as its bytes tell it, so far. Positions are counted, whatever the stored ones say."""

    def __init__(
        self, hashes: Hashes, marks: Marks, state: State | None = None, frontier: Frontier | None = None
    ) -> None:
        """`hashes` gives stored subtree hashes, as `Reader.hashes` does; the replay goes on from state and frontier."""
        self._hashes = hashes
        self.marks = marks
        self.state = State() if state is None else state
        self.frontier = Frontier() if frontier is None else frontier
        self._leaves: list[bytes] = []
        self._time = 0
        self._id = -1
        self._newest = 0

    def step(self, stored: Stored) -> Generator[Problem, None, Event | None]:
        """Take the next event, give what is wrong with it, and return it; None if it cannot be read."""
        position = self.state.position
        if stored.seq != position:
            yield Problem(position, f"position {position} is missing, {stored.seq} stands there")
        leaf = leaf_hash(stored.body)
        self._leaves.append(leaf)
        if leaf != stored.leaf:
            yield Problem(position, "the stored bytes do not match the stored hash")
        try:
            event = decode(stored.body)
            if encode(event) != stored.body:
                yield Problem(position, "the stored bytes are not canonical JSON")
            time, ulid = parse_time(event.time), parse_ulid(event.id)
        except ValueError as error:
            yield Problem(position, f"the event cannot be read: {error}")
            self.state.position += 1
            return None
        if ulid < self._id:  # the one that came too early is the first that stands at a wrong place
            yield Problem(self._newest, f"the events from here to position {position} are not in order")
        elif time < self._time or ulid == self._id:
            yield Problem(position, "the event's time or id goes back")
        if ulid >= self._id:
            self._newest, self._id = position, ulid
        self._time = time
        self.state.apply(event)
        if isinstance(event.payload, LogAccepted):
            self.marks.accepted.append(event.payload)
        return event

    def grow(self) -> Iterator[Problem]:
        """Let the tree grow by the events taken, and give what is wrong with the stored hashes of subtrees."""
        tiers: Tiers = {}
        self.frontier.extend(self._leaves, tiers)
        self._leaves.clear()
        for tier, (first, hashes) in tiers.items():
            stored = self._hashes(tier, first, first + len(hashes))
            if stored != list(hashes):
                same = next(
                    (n for n, pair in enumerate(zip(stored, hashes, strict=False)) if pair[0] != pair[1]), len(stored)
                )
                span = TILE_WIDTH**tier
                start = (first + same) * span
                yield Problem(
                    None, f"the stored hash of the subtree of positions {start} to {start + span - 1} is not theirs"
                )


def _compare_head(head: Head, replay: Replay) -> Iterator[Problem]:
    size = replay.frontier.size
    if head.size != size:
        yield Problem(None, f"the log has {size} events, its head says {head.size}")
    if head.peaks != replay.frontier.pack():
        yield Problem(None, f"the Merkle frontier of {size} events is not the one stored")


def _compare_snapshot(snapshot: Snapshot, replay: Replay) -> Iterator[Problem]:
    where = f"the snapshot at position {snapshot.position}"
    if not snapshot.intact():
        yield Problem(None, f"{where} does not match its digest")
    elif snapshot.fold == FOLD_VERSION and snapshot.data != dump(replay.state):
        yield Problem(None, f"{where} is not the state that the events give")
    elif snapshot.peaks != replay.frontier.pack():
        yield Problem(None, f"{where} has another Merkle frontier than the events")


def _compare_rows(reader: Reader, head: Head, state: State) -> Iterator[Problem]:
    if (head.projected, head.fold) != (head.size, FOLD_VERSION):
        yield Problem(
            None,
            f"the projection stands at position {head.projected}, version {head.fold}, the log at {head.size}, "
            f"version {FOLD_VERSION}; the next start makes it anew",
        )
        return
    stored = reader.rows()
    wanted = {key: row(state, key) for key in row_keys(state)}
    for kind, name in sorted(stored.keys() | wanted.keys()):
        if stored.get((kind, name)) != wanted.get((kind, name)):
            yield Problem(None, f"the projection row {kind}/{name} is not what the events give")
