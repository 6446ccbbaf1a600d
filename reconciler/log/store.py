"""What a log store promises, whatever database is behind it.

- Events have positions 0, 1, 2, ... without gaps and are never changed or removed.
- `append` is one durable transaction: when it returns, events, Merkle frontier, the hashes of subtrees that became
  complete and projection rows are all on disk;
  when it raises, the outcome is unknown until the store was opened again and read.
- Subtree hashes, projection rows and snapshots are derived: they can be thrown away and made again from the events.

Errors are those of core/errors.py: LogDamaged (the data contradict themselves), LogBusy, LogNotWritable (the machine
does not let us), CouldNotRun (a reader that the machine does not let read).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from reconciler.core.state import RowKey

Rows = Mapping[RowKey, bytes | None]
"""New values of projection rows; None removes the row."""


class Stored(NamedTuple):
    """One event as it lies in the log; `leaf` is SHA-256(0x00 || body)."""

    seq: int
    body: bytes
    leaf: bytes


class Head(NamedTuple):
    """Where the log ends: `size` events with the Merkle frontier `peaks`.

    The projection holds the state after `projected` events as fold version `fold` makes it.
    """

    size: int
    peaks: bytes
    projected: int
    fold: int


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


class Reader(Protocol):
    """Reading a log, also while another process writes it."""

    def size(self) -> int:
        """Give the number of events, which is the next position."""

    def head(self) -> Head:
        """Give what the last transaction said about the whole log."""

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Stored]:
        """Give the events at positions `start` to `stop` - 1 (or the end), oldest first."""

    def read_back(self, before: int | None = None, contains: Sequence[bytes] = ()) -> Iterator[Stored]:
        """Give the events below position `before` (or all), newest first, whose body contains each of `contains`."""

    def hashes(self, tier: int, start: int, stop: int) -> list[bytes]:
        """Give the stored roots of the subtrees `start` to `stop` - 1 of 256**tier leaves; tier 0 is the leaf hashes.

        The list ends before the first that is not there. Nothing is recomputed: who needs to trust them, compares.
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

    def close(self) -> None:
        """Let go of the store; safe to call twice."""


class Store(Reader, Protocol):
    """Reading and writing a log; only one of these exists at a time, and only the recorder writes."""

    def append(self, events: Sequence[Stored], rows: Rows) -> None:
        """Add events whose positions continue the log, and put `rows`, in one durable transaction."""

    def project(self, rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Replace the whole projection by `rows`, made by fold version `fold` from all events, durably."""

    def plant(self) -> None:
        """Make the subtree hashes from tier 1 on anew, durably, unless there are as many as the log has subtrees."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot durably; the two newest stay."""

    def settle(self) -> None:
        """After a failed commit: make durable what reading shows, and prove that a write works."""


class Backend(Protocol):
    """The right to write one log; held from construction to `release`, also while no store is open."""

    def open(self) -> Store:
        """Open the store for writing. The former one must be closed."""

    def release(self) -> None:
        """Give the right back; safe to call twice."""
