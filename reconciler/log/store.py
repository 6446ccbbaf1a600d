"""What a log store promises, whatever database is behind it.

- Events have positions 0, 1, 2, ... without gaps and are never changed, and removed by `prune` alone.
- `append` is one durable transaction: when it returns, events, Merkle frontier, the hashes of subtrees that became
  complete and projection rows are all on disk;
  when it raises, the outcome is unknown until the store was opened again and read.
- Subtree hashes, projection rows, snapshots and the index are derived: they can be thrown away and made again from the
  events.

Errors are those of core/errors.py: LogDamaged (the data contradict themselves), LogBusy, LogNotWritable (the machine
does not let us), CouldNotRun (a reader that the machine does not let read).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, NamedTuple, Protocol

from reconciler.core.state import RowKey
from reconciler.log.index import Block, Mark, SpentKey

FREE: Final = "free space or repair the disk; a running daemon goes on by itself"
"""What to do about a log that cannot be written."""

SNAPSHOTS_KEPT: Final = 2
SNAPSHOT_SPAN: Final = 1_000_000
"""Events; the state after any of them is told from the first snapshot among those before, of some 50 kB each."""

Rows = Mapping[RowKey, bytes | None]
"""New values of projection rows; None removes the row."""


class Stored(NamedTuple):
    """One event as it lies in the log; `leaf` is SHA-256(0x00 || body)."""

    seq: int
    body: bytes
    leaf: bytes


class LogHead(NamedTuple):
    """Where the log ends: `size` events with the Merkle frontier `peaks`.

    The projection holds the state after `projected` events as fold version `fold` makes it, the index the events
    before position `indexed`, as `index_version` makes it.
    """

    size: int
    peaks: bytes
    projected: int
    fold: int
    indexed: int
    index_version: int


class Marked(NamedTuple):
    """Where a value occurs in the block that begins at `block`; `previous` is the one before it that has the value."""

    block: int
    previous: int | None
    offsets: bytes
    account: str | None


class SpentQuery(NamedTuple):
    """Which sums are wanted: of the hours or days from `start` to before `stop` ("" for no end), in groups of `by`.

    `only` are (model | agent, name, whether it is excluded), all of which must hold. `most` groups are enough.
    """

    span: Literal["hour", "day"]
    start: str
    stop: str
    by: Sequence[Literal["day", "model", "agent"]]
    only: Sequence[tuple[str, str, bool]] = ()
    most: int | None = None


class Spent(NamedTuple):
    """The sums of one group: FIGURES of the index."""

    key: tuple[str, ...]
    sums: list[int]


class Snapshot(NamedTuple):
    """The state after `position` events (`data`) and the Merkle frontier there; `digest` guards all of it."""

    position: int
    fold: int
    peaks: bytes
    data: bytes
    digest: bytes

    @classmethod
    def of(cls, position: int, fold: int, peaks: bytes, data: bytes) -> Snapshot:
        """Make a snapshot with its digest."""
        return cls(position, fold, peaks, data, cls._digest(position, fold, peaks, data))

    def intact(self) -> bool:
        """Tell whether the parts still match the digest."""
        return self.digest == self._digest(self.position, self.fold, self.peaks, self.data)

    @staticmethod
    def _digest(position: int, fold: int, peaks: bytes, data: bytes) -> bytes:
        frame = b"pai snapshot\n%d %d %d\n" % (position, fold, len(peaks))
        return hashlib.sha256(frame + peaks + data).digest()


class Base(NamedTuple):
    """What a pruned log begins with: the state after `position` dropped events (`data`) and the frontier there.

    `fold` is the version of `data`, `digest` its SHA-256 in hex, `event` the position of the event that says so.
    """

    position: int
    peaks: bytes
    data: bytes
    digest: str
    event: int
    fold: int


class Kept(NamedTuple):
    """An event that stayed when those around it were dropped; `path` leads to its tile's root, 8 hashes of 32 bytes."""

    seq: int
    body: bytes
    leaf: bytes
    path: bytes


class Index(NamedTuple):
    """All that is in the index: marks block by block, then by kind and value; sums by span, period by period."""

    marks: Iterator[tuple[int, int | None, Mark]]
    newest: Iterator[tuple[tuple[str, str], int]]
    requests: Iterator[tuple[str, int]]
    spent: Mapping[str, Iterator[tuple[SpentKey, list[int]]]]


class Reader(Protocol):
    """Reading a log, also while another process writes it."""

    def size(self) -> int:
        """Give the number of events, which is the next position."""

    def head(self) -> LogHead:
        """Give what the last transaction said about the whole log."""

    def first(self) -> int:
        """Give the position that events stand from without gaps: 0 unless the log was pruned."""

    def base(self) -> Base | None:
        """Give what a pruned log begins with."""

    def kept(self, start: int = 0, stop: int | None = None) -> list[Kept]:
        """Give the kept events before `first`, at positions `start` to `stop` - 1, oldest first."""

    def read(self, start: int = 0, stop: int | None = None, contains: Sequence[bytes] = ()) -> Iterator[Stored]:
        """Give the events at positions `start` to `stop` - 1 (or the end), oldest first, that hold all `contains`.

        Of a pruned log, those before `first` are the kept ones; so it is with `read_back` and `read_at`.
        """

    def read_back(self, before: int | None = None, contains: Sequence[bytes] = (), start: int = 0) -> Iterator[Stored]:
        """Give the events at positions `start` to `before` - 1 (or the end), newest first, that hold all `contains`."""

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """Give the same as `read`, some thousand events at a time, as plain tuples: for whoever reads everything.

        Kept events are not among them, nor among `bodies`: a pruned log is read from `first` on.
        """

    def bodies(self, start: int = 0, stop: int | None = None) -> Iterator[list[bytes]]:
        """Give the stored bytes alone, in the order of their positions, some thousand events at a time."""

    def read_at(self, positions: Sequence[int]) -> Iterator[Stored]:
        """Give the events at these positions, newest first."""

    def marks_back(self, kind: str, value: str, before: int) -> Iterator[Marked]:
        """Give the blocks of the index that have a value and begin before a position, newest first."""

    def mark(self, block: int, kind: str, value: str) -> Marked | None:
        """Give where a value occurs in one block of the index."""

    def block_of(self, position: int) -> int | None:
        """Give the newest block of the index that begins at a position or before."""

    def changes(self, start: int, stop: int, without: Collection[str]) -> Iterator[tuple[int, str, str, bytes]]:
        """Give the marks of paths, of event types but some and of objects' versions: (block, kind, value, offsets).

        Blocks come oldest first, from that of `start` to before `stop`.
        """

    def accounts_back(self, block: int) -> Iterator[tuple[str, str]]:
        """Give the models that have an account at the end of a block before `block`, with it, newest first."""

    def marked(self, kind: str, prefix: str = "") -> list[str]:
        """Give the values of a kind that the index has and that begin with a text."""

    def requests(self, request: str) -> list[int]:
        """Give the positions of a request's events that the index has, newest first."""

    def spent(self, query: SpentQuery) -> list[Spent]:
        """Add up what the index has of tokens spent."""

    def whole_index(self) -> Index:
        """Give everything that is in the index, to be checked."""

    def hashes(self, tier: int, start: int, stop: int) -> list[bytes]:
        """Give the stored roots of the subtrees `start` to `stop` - 1 of 256**tier leaves; tier 0 is the leaf hashes.

        The list ends before the first that is not there. Nothing is recomputed: a caller that has to trust them
        compares them itself.
        """

    def rows(self) -> dict[RowKey, bytes]:
        """Give all projection rows."""

    def row(self, key: RowKey) -> bytes | None:
        """Give one projection row."""

    def snapshots(self) -> list[Snapshot]:
        """Give the kept snapshots, newest first, whether intact or not."""

    def moment(self) -> AbstractContextManager[None]:
        """Let everything read inside the `with` see the log as of one moment."""

    def faults(self) -> list[str]:
        """Let the database check its own structures; give what it complains about."""

    def amiss(self) -> list[str]:
        """Say which settings of the database are not a log's; the next writer puts them right."""

    def is_current(self) -> bool:
        """Tell whether this still reads what the log's place names: another one may have been put there."""

    def be_gentle(self, deadline: float) -> None:
        """Pause between events, and end with CouldNotRun at a time of the monotonic clock.

        For a reader in a process that has more urgent work: other threads get their turn.
        """

    def keep_little(self) -> None:
        """Keep next to nothing of what was read in memory: for a reader that stays open beside many others."""

    def close(self) -> None:
        """Let go of the store; safe to call twice."""


class Store(Reader, Protocol):
    """Reading and writing a log, for a recorder alone. One exists at a time, or several if the log is `shared`."""

    shared: bool
    """Whether others may append between two turns of this store; without it, the log is one turn while it is open."""

    def turn(self, position: int) -> AbstractContextManager[Sequence[Stored]]:
        """Let nobody else append inside the `with`; gives what others have appended from a position on.

        On a shared log one `append` ends it; what else is written in it is durable at its end. Raises LogNotWritable,
        LogDamaged.
        """

    def append(self, events: Sequence[Stored], rows: Rows) -> None:
        """Add events whose positions continue the log, and put `rows`, in one durable transaction."""

    def look(self) -> None:
        """Make sure that nobody else has changed the log meanwhile; it takes no time. Raises LogDamaged."""

    def project(self, rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Replace the whole projection by `rows`, made by fold version `fold` from all events, durably."""

    def plant(self) -> None:
        """Make the subtree hashes from tier 1 on anew, durably, unless there are as many as the log has subtrees."""

    def save_block(self, block: Block) -> None:
        """Add the next block to the index, durably."""

    def clear_index(self, version: int) -> None:
        """Forget the index, which is to be made anew by an index version, durably."""

    def prune(self, base: Base, kept: Sequence[Kept]) -> None:
        """Drop all events before the base but `kept`, and let the log begin there, in one durable transaction.

        Whoever calls has made sure that nothing is lost: see operations/pruning.
        """

    def shrink(self) -> None:
        """Give the space of dropped events back to the disk."""

    def gather(self) -> bool:
        """Bring everything into the one file, so that a copy of it alone is the log; False if a reader prevents it."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot durably.

        The SNAPSHOTS_KEPT newest stay, and of each further SNAPSHOT_SPAN events the first one of the same fold.
        """

    def settle(self) -> None:
        """After a failed commit: make durable what reading shows, and prove that a write works."""


class Log(Protocol):
    """A log by its place, which need not exist yet; as text, what is shown of that. Nothing is opened unasked."""

    def place(self) -> str:
        """Give what names it in other processes too (see `log.open.again`), "" if nothing does; it may be secret."""

    def exists(self) -> bool:
        """Tell whether it was made. Raises LogDamaged if it has no place to be made in, CouldNotRun."""

    def reader(self) -> Reader:
        """Open it for reading, whether or not a process writes it. Raises LogDamaged, LogBusy, CouldNotRun."""

    def writer(self, wait_s: float = 0.0) -> Backend:
        """Take the right to write it, waiting for so long. Raises LogBusy, LogDamaged if there is no log."""

    def create(self, events: Sequence[Stored], rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Make it, of events from position 0 on: after a crash there is either none or a whole one.

        Raises LogDamaged if there is one already, LogBusy, LogNotWritable.
        """

    def leave(self, to: str) -> None:
        """Close it for good, by its writer, since all of it is in another place now. Raises LogNotWritable."""


class Backend(Protocol):
    """The right to write one log; held from construction to `release`, also while no store is open.

    `mended` says which settings of the database were put right.
    """

    mended: list[str]

    def is_lost(self) -> bool:
        """Tell whether another program has the right by now, so that this one never gets it back."""

    def open(self) -> Store:
        """Open the store for writing. The former one must be closed."""

    def release(self) -> None:
        """Give the right back; safe to call twice."""
