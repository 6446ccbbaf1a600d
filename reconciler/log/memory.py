"""A log in memory: what `store` promises, without a disk, for as long as the process lives.

It is there to show that the promises are the port's and not SQLite's, and for whoever needs a log that leaves nothing
behind. Threads may share it; a reader inside `moment` sees a copy. Invariant: `_Data` changes whole or not at all.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, field
from typing import Final

from reconciler.core.errors import LogBusy, LogDamaged, TooLong
from reconciler.core.state import RowKey
from reconciler.log.index import FIGURES, INDEX_VERSION, SPANS, Block, Mark, SpentKey, added
from reconciler.log.store import (
    SNAPSHOT_SPAN,
    SNAPSHOTS_KEPT,
    Base,
    Index,
    Kept,
    LogHead,
    Marked,
    Rows,
    Snapshot,
    Spent,
    SpentQuery,
    Stored,
)
from reconciler.tlog.merkle import Frontier, Tiers

CHUNK_EVENTS: Final = 4096


@dataclass
class _Data:
    """All that a log holds. `copied` shares nothing that changes in place."""

    events: list[Stored] = field(default_factory=list)
    rows: dict[RowKey, bytes] = field(default_factory=dict)
    peaks: bytes = b""
    size: int = 0
    projected: int = 0
    fold: int = 0
    indexed: int = 0
    index_version: int = INDEX_VERSION
    snapshots: list[Snapshot] = field(default_factory=list)
    base: Base | None = None
    kept: list[Kept] = field(default_factory=list)
    subtrees: dict[tuple[int, int], bytes] = field(default_factory=dict)
    marks: dict[tuple[int, str, str], Marked] = field(default_factory=dict)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    requests: set[tuple[str, int]] = field(default_factory=set)
    spent: dict[SpentKey, list[int]] = field(default_factory=dict)

    def copied(self) -> _Data:
        """Give a copy that later changes do not reach."""
        return _Data(**{name: copy(value) for name, value in vars(self).items()})

    @property
    def first(self) -> int:
        """The position that events stand from without gaps."""
        return 0 if self.base is None else self.base.position

    def blocks(self) -> list[int]:
        """Give where the blocks of the index begin."""
        return sorted({block for block, _, _ in self.marks})

    def clear_index(self) -> None:
        """Forget the index."""
        self.marks, self.newest, self.requests, self.spent = {}, {}, set(), {}


class MemoryLog:
    """A log by its place, which is this object. With `shared`, several may write it, a turn each."""

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self._data: _Data | None = None
        self._changing = threading.RLock()
        self._writing = threading.Lock()

    def __str__(self) -> str:
        return "the log in memory"

    def place(self) -> str:
        """Give nothing: no other process reaches it."""
        return ""

    def exists(self) -> bool:
        """Tell whether it was made."""
        return self._data is not None

    def reader(self) -> MemoryReader:
        """Open it for reading. Raises LogDamaged if it was not made."""
        self.data()
        return MemoryReader(self)

    def writer(self, wait_s: float = 0.0) -> MemoryBackend:
        """Take the right to write it, waiting for so long. Raises LogBusy, LogDamaged if it was not made."""
        self.data()
        if self.shared:
            return MemoryBackend(self, None)
        if not self._writing.acquire(timeout=wait_s) if wait_s else not self._writing.acquire(blocking=False):
            raise LogBusy(f"{self} is being written by another one", "wait until that one ends")
        return MemoryBackend(self, self._writing)

    def create(self, events: Sequence[Stored], rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Make it, of events from position 0 on. Raises LogDamaged if it was made already."""
        with self._changing:
            if self._data is not None:
                raise LogDamaged(f"{self} exists already; a log is never made over another")
            made = _Data(fold=fold)
            _append(made, events, rows)
            self._data = made

    def leave(self, to: str) -> None:  # noqa: ARG002 (the port's)
        """Forget what it holds."""
        self._data = None

    def turn(self) -> AbstractContextManager[object]:
        """Give a turn to one writer of a shared log; whoever writes one that is not has it all the time."""
        return self._writing if self.shared else contextlib.nullcontext()

    def copied(self) -> MemoryLog:
        """Give another log that holds the same, and that nobody writes. Raises LogDamaged if this one was not made."""
        made = MemoryLog()
        made._data = self.data().copied()
        return made

    def data(self) -> _Data:
        """Give what it holds. Raises LogDamaged if it was not made."""
        if self._data is None:
            raise LogDamaged(f"{self} was not made", "make it first")
        return self._data

    def change(self, change: Callable[[_Data], None]) -> None:
        """Put what `change` makes of a copy in place of what is there, unless it raises."""
        with self._changing:
            made = self.data().copied()
            change(made)
            self._data = made


class MemoryReader:
    """A read-only view; each call sees the newest state, or that of the enclosing `moment`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._moment: _Data | None = None
        self._deadline: float | None = None

    def _now(self) -> _Data:
        return self._log.data() if self._moment is None else self._moment

    def size(self) -> int:
        """Give the number of events, which is the next position."""
        return self._now().size

    def head(self) -> LogHead:
        """Give what the last transaction said about the whole log."""
        data = self._now()
        return LogHead(data.size, data.peaks, data.projected, data.fold, data.indexed, data.index_version)

    def first(self) -> int:
        """Give the position that events stand from without gaps."""
        return self._now().first

    def base(self) -> Base | None:
        """Give what a pruned log begins with."""
        return self._now().base

    def kept(self, start: int = 0, stop: int | None = None) -> list[Kept]:
        """Give the kept events before `first`, at positions `start` to `stop` - 1, oldest first."""
        return [each for each in self._now().kept if start <= each.seq and (stop is None or each.seq < stop)]

    def read(self, start: int = 0, stop: int | None = None, contains: Sequence[bytes] = ()) -> Iterator[Stored]:
        """Give the events at positions `start` to `stop` - 1 (or the end), oldest first, that hold all `contains`."""
        return self._gently(_between(self._now(), start, stop, contains))

    def read_back(self, before: int | None = None, contains: Sequence[bytes] = (), start: int = 0) -> Iterator[Stored]:
        """Give the same from `start` to `before` - 1, newest first."""
        return self._gently(reversed(_between(self._now(), start, before, contains)))

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """Give the same as `read`, some thousand events at a time, as plain tuples, but no kept ones."""
        found = _between(self._now(), max(start, self.first()), stop, ())
        for at in range(0, len(found), CHUNK_EVENTS):
            yield [(seq, body, leaf) for seq, body, leaf in found[at : at + CHUNK_EVENTS]]

    def bodies(self, start: int = 0, stop: int | None = None) -> Iterator[list[bytes]]:
        """Give the stored bytes alone, in the order of their positions, some thousand events at a time."""
        return ([body for _, body, _ in chunk] for chunk in self.chunks(start, stop))

    def read_at(self, positions: Sequence[int]) -> Iterator[Stored]:
        """Give the events at these positions, newest first."""
        wanted = set(positions)
        return (event for event in self.read_back() if event.seq in wanted)

    def marks_back(self, kind: str, value: str, before: int) -> Iterator[Marked]:
        """Give the blocks of the index that have a value and begin before a position, newest first."""
        data = self._now()
        found = (data.marks.get((block, kind, value)) for block in reversed(data.blocks()) if block < before)
        return (mark for mark in found if mark is not None)

    def mark(self, block: int, kind: str, value: str) -> Marked | None:
        """Give where a value occurs in one block of the index."""
        return self._now().marks.get((block, kind, value))

    def block_of(self, position: int) -> int | None:
        """Give the newest block of the index that begins at a position or before."""
        return max((block for block in self._now().blocks() if block <= position), default=None)

    def changes(self, start: int, stop: int, without: Collection[str]) -> Iterator[tuple[int, str, str, bytes]]:
        """Give the marks of paths, of event types but some and of objects' versions, as in the port."""
        begin = self.block_of(start)
        for (block, kind, value), found in sorted(self._now().marks.items()):
            wanted = value not in without if kind == "type" else kind in ("path", "version")
            if begin is not None and begin <= block < stop and wanted:
                yield block, kind, value, found.offsets

    def accounts_back(self, block: int) -> Iterator[tuple[str, str]]:
        """Give the models that have an account at the end of a block before `block`, with it, newest first."""
        found = sorted(self._now().marks.items(), key=lambda item: (-item[0][0], *item[0][1:]))
        for (at, kind, value), mark in found:
            if at < block and kind == "model" and mark.account is not None:
                yield value, mark.account

    def marked(self, kind: str, prefix: str = "") -> list[str]:
        """Give the values of a kind that the index has and that begin with a text."""
        return sorted(value for of, value in self._now().newest if of == kind and value.startswith(prefix))

    def requests(self, request: str) -> list[int]:
        """Give the positions of a request's events that the index has, newest first."""
        return sorted((seq for name, seq in self._now().requests if name == request), reverse=True)

    def spent(self, query: SpentQuery) -> list[Spent]:
        """Add up what the index has of tokens spent."""
        found: dict[tuple[str, ...], list[int]] = {}
        for (span, period, day, model, agent), sums in sorted(self._now().spent.items()):
            row = {"day": day, "model": model, "agent": agent}
            counts = span == query.span and query.start <= period and (not query.stop or period < query.stop)
            if counts and all((row[column] != value) == excluded for column, value, excluded in query.only):
                key = tuple(row[column] for column in query.by)
                found[key] = added(found.get(key, [0] * len(FIGURES)), sums)
        return [Spent(key, sums) for key, sums in sorted(found.items())][: query.most]

    def whole_index(self) -> Index:
        """Give everything that is in the index, to be checked."""
        data = self._now()
        marks = (
            (block, mark.previous, Mark(kind, value, mark.offsets, mark.account))
            for (block, kind, value), mark in sorted(data.marks.items())
        )
        by_span = {
            span: iter(sorted((key, list(sums)) for key, sums in data.spent.items() if key[0] == span))
            for span in SPANS
        }
        return Index(marks, iter(sorted(data.newest.items())), iter(sorted(data.requests)), by_span)

    def hashes(self, tier: int, start: int, stop: int) -> list[bytes]:
        """Give the stored roots of the subtrees `start` to `stop` - 1 of 256**tier leaves, up to the first missing."""
        data, found = self._now(), list[bytes]()
        leaves = {event.seq: event.leaf for event in data.events} if not tier else {}
        for number in range(start, stop):
            value = leaves.get(number) if not tier else data.subtrees.get((tier, number))
            if value is None:
                break
            found.append(value)
        return found

    def rows(self) -> dict[RowKey, bytes]:
        """Give all projection rows."""
        return dict(self._now().rows)

    def row(self, key: RowKey) -> bytes | None:
        """Give one projection row."""
        return self._now().rows.get(key)

    def snapshots(self) -> list[Snapshot]:
        """Give the kept snapshots, newest first."""
        return list(self._now().snapshots)

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """Let everything read inside the `with` see the log as of one moment, that of the outermost `with`."""
        outermost = self._moment is None
        self._moment = self._now()
        try:
            yield
        finally:
            if outermost:
                self._moment = None

    def faults(self) -> list[str]:
        """Complain about nothing: there is no database that could be broken."""
        return []

    def amiss(self) -> list[str]:
        """Name no settings: there are none."""
        return []

    def is_current(self) -> bool:
        """Tell that no other log was put in this one's place: that cannot be."""
        return True

    def be_gentle(self, deadline: float) -> None:
        """End with CouldNotRun at a time of the monotonic clock."""
        self._deadline = deadline

    def keep_little(self) -> None:
        """Do nothing: all of it is in memory anyway."""

    def close(self) -> None:
        """Let go of the log; safe to call twice."""

    def _gently(self, events: Iterable[Stored]) -> Iterator[Stored]:
        for event in events:
            yield event
            if self._deadline is not None and time.monotonic() >= self._deadline:
                raise TooLong


class MemoryStore(MemoryReader):
    """Reading and writing; made by MemoryBackend."""

    @property
    def shared(self) -> bool:
        """Whether others may append between two turns."""
        return self._log.shared

    @contextlib.contextmanager
    def turn(self, position: int) -> Iterator[Sequence[Stored]]:
        """Let nobody else append inside the `with`; gives what others have appended from a position on."""
        with self._log.turn():
            yield list(self.read(position)) if self.shared else ()

    def look(self) -> None:
        """Do nothing: nobody but those who have a turn can change the log."""

    def append(self, events: Sequence[Stored], rows: Rows) -> None:
        """Add events whose positions continue the log, and put `rows`, all or nothing."""
        self._log.change(lambda data: _append(data, events, rows))

    def project(self, rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Replace the whole projection by `rows`, made by fold version `fold` from all events."""

        def change(data: _Data) -> None:
            data.rows, data.projected, data.fold = dict(rows), data.size, fold

        self._log.change(change)

    def plant(self) -> None:
        """Make the subtree hashes anew; those that end before the log begins stay."""

        def change(data: _Data) -> None:
            base = data.base
            begin = Frontier() if base is None else Frontier.unpack(base.position, base.peaks)
            tiers: Tiers = {}
            begin.extend([event.leaf for event in data.events], tiers)
            _plant(data, tiers)

        self._log.change(change)

    def save_block(self, block: Block) -> None:
        """Add the next block to the index."""
        self._log.change(lambda data: _save_block(data, block))

    def clear_index(self, version: int) -> None:
        """Forget the index, which is to be made anew by an index version."""

        def change(data: _Data) -> None:
            data.clear_index()
            data.indexed, data.index_version = data.first, version

        self._log.change(change)

    def prune(self, base: Base, kept: Sequence[Kept]) -> None:
        """Drop all events before the base but `kept`; the index goes too."""

        def change(data: _Data) -> None:
            data.events = [event for event in data.events if event.seq >= base.position]
            data.snapshots = [each for each in data.snapshots if each.position >= base.position]
            data.base, data.kept = base, sorted(kept)
            data.clear_index()
            data.indexed = base.position

        self._log.change(change)

    def shrink(self) -> None:
        """Do nothing: what was dropped takes no space."""

    def gather(self) -> bool:
        """Tell that everything is in one place."""
        return True

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and those that the port says."""

        def change(data: _Data) -> None:
            others = [each for each in data.snapshots if each.position != snapshot.position]
            newest_first = sorted([*others, snapshot], key=lambda each: -each.position)
            firsts = {each.position // SNAPSHOT_SPAN: each for each in newest_first if each.fold == snapshot.fold}
            kept = [each for span, each in firsts.items() if span and each not in newest_first[:SNAPSHOTS_KEPT]]
            data.snapshots = newest_first[:SNAPSHOTS_KEPT] + kept

        self._log.change(change)

    def settle(self) -> None:
        """Do nothing: no write is ever half done."""


class MemoryBackend:
    """The right to write a log in memory, until `release`. `mended` is empty: there are no settings."""

    def __init__(self, log: MemoryLog, right: threading.Lock | None) -> None:
        self.mended: list[str] = []
        self._log = log
        self._right = right

    def open(self) -> MemoryStore:
        """Open the store for writing."""
        return MemoryStore(self._log)

    def is_lost(self) -> bool:
        """Tell that it never is."""
        return False

    def release(self) -> None:
        """Give the right back; safe to call twice."""
        right, self._right = self._right, None
        if right is not None:
            right.release()


def _between(data: _Data, start: int, stop: int | None, contains: Sequence[bytes]) -> list[Stored]:
    kept = [Stored(each.seq, each.body, each.leaf) for each in data.kept]
    return [
        event
        for event in (*kept, *data.events)
        if start <= event.seq and (stop is None or event.seq < stop) and all(part in event.body for part in contains)
    ]


def _append(data: _Data, events: Sequence[Stored], rows: Rows) -> None:
    if [event.seq for event in events] != list(range(data.size, data.size + len(events))):
        raise LogDamaged(f"the log has {data.size} events, position {events[0].seq} does not continue it")
    frontier, tiers = Frontier.unpack(data.size, data.peaks), Tiers()
    frontier.extend([event.leaf for event in events], tiers)
    _plant(data, tiers)
    data.events += events
    data.size, data.peaks, data.projected = frontier.size, frontier.pack(), frontier.size
    for key, body in rows.items():
        if body is None:
            data.rows.pop(key, None)
        else:
            data.rows[key] = body


def _plant(data: _Data, tiers: Tiers) -> None:
    for tier, (first, found) in tiers.items():
        data.subtrees |= {(tier, number): value for number, value in enumerate(found, first)}


def _save_block(data: _Data, block: Block) -> None:
    assert data.indexed == block.first
    for kind, value, offsets, account in block.marks:
        previous = data.newest.get((kind, value))
        data.marks[block.first, kind, value] = Marked(block.first, previous, offsets, account)
        data.newest[kind, value] = block.first
    data.requests |= set(block.requests)
    for key, sums in block.spent.items():
        data.spent[key] = added(data.spent.get(key, [0] * len(FIGURES)), sums)
    data.indexed = block.stop
