"""Everything that must hold in a log, recomputed from its stored bytes.

Trusts nothing derived: leaf hashes, positions, the Merkle frontier, subtree hashes, canonical bytes, projection,
snapshots and index are made anew and compared. A pruned log is recomputed from where it begins; what it begins with is
compared with the hashes that are left (`check_pruned`). Reads only, as of one moment, so it may run beside the writer.

The work has two independent halves. For a large log a second process checks the bytes if there is a second CPU for it;
what is checked is the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from reconciler.core.errors import PaiError
from reconciler.core.events import LogAccepted, decode
from reconciler.log import pruned
from reconciler.log.check import beside
from reconciler.log.check.derived import Replay, check_derived
from reconciler.log.check.pruned import check_start
from reconciler.log.check.stored import BytesFindings, check_bytes
from reconciler.log.problems import PROBLEMS_MAX, LogProblem, gather, ranked
from reconciler.log.store import LogHead, Reader, Snapshot
from reconciler.log.tree import Tree
from reconciler.tlog.merkle import EMPTY_ROOT, TILE_WIDTH, Frontier

__all__ = ["PROBLEMS_MAX", "LogProblem", "Marks", "check"]


class Marks:
    """What a check finds besides problems: the roots of the log at certain sizes, and the acceptances on it."""

    def __init__(self, sizes: Iterable[int] = ()) -> None:
        self.sizes = frozenset(sizes)
        self.roots: dict[int, bytes] = {0: EMPTY_ROOT}
        self.accepted: list[LogAccepted] = []

    def take(self, frontiers: Mapping[int, bytes], accepted: Iterable[LogAccepted]) -> None:
        """Note the roots of packed frontiers by size, and acceptances."""
        self.roots |= {size: Frontier.unpack(size, peaks).root() for size, peaks in frontiers.items()}
        self.accepted += accepted

    def take_left_part(self, reader: Reader, first: int) -> None:
        """Note what is known of sizes up to `first`, where a pruned log begins; most of their roots are lost."""
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
    reader: Reader,
    deep: bool = True,
    checked: Callable[[int], None] = lambda _: None,
    marks: Marks | None = None,
    place: str = "",
) -> list[LogProblem]:
    """Recompute everything and give what does not fit, those of events first, by position; at most PROBLEMS_MAX.

    `deep` also lets the database check its own structures; `checked` is told how many more events are done; `marks` is
    filled. With `place`, the log's, a second process may read it. Never raises for what is wrong with the data.
    """
    marks = marks or Marks()
    problems: list[LogProblem] = []
    try:
        with reader.moment():
            problems += _problems(reader, deep, checked, marks, place)
    except PaiError as error:
        problems.append(LogProblem(None, error.message))
    return ranked(problems)


def _problems(
    reader: Reader, deep: bool, checked: Callable[[int], None], marks: Marks, place: str
) -> Iterator[LogProblem]:
    head, stop = reader.head(), reader.size()
    snapshots = reader.snapshots()
    state, begin = pruned.start(reader)
    yield from (LogProblem(None, message) for message in check_start(reader))
    marks.take_left_part(reader, begin.size)
    asked = marks.sizes | {snapshot.position for snapshot in snapshots}
    sizes = [size for size in asked if begin.size <= size <= stop]
    with contextlib.ExitStack() as stack:
        helper = None
        if place and beside.is_worth_it(stop - begin.size):
            helper = stack.enter_context(beside.start(place, begin, stop, sizes, deep))
        replay = Replay(state)
        told = gather(check_derived(reader, head, snapshots, replay, checked))
        found = helper.findings() if helper is not None else None
    if found is None:
        found = check_bytes(reader, begin, stop, sizes, deep)
    marks.take(found.frontiers, replay.accepted)
    yield from found.problems
    yield from _compare_head(head, found)
    for snapshot in snapshots:
        yield from _compare_snapshot(snapshot, found)
    yield from told


def _compare_head(head: LogHead, found: BytesFindings) -> Iterator[LogProblem]:
    if head.size != found.size:
        yield LogProblem(None, f"the log has {found.size} events, its head says {head.size}")
    if head.peaks != found.frontiers.get(found.size):
        yield LogProblem(None, f"the Merkle frontier of {found.size} events is not the one stored")


def _compare_snapshot(snapshot: Snapshot, found: BytesFindings) -> Iterator[LogProblem]:
    where = f"the snapshot at position {snapshot.position}"
    if not snapshot.intact():
        yield LogProblem(None, f"{where} does not match its digest")
    elif snapshot.peaks != found.frontiers.get(snapshot.position, snapshot.peaks):
        yield LogProblem(None, f"{where} has another Merkle frontier than the events")
