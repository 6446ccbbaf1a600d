"""Decisions on their way to the disk: what was recorded, the ticket of one decision, the batch of those together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from reconciler.core.budget import Account
from reconciler.core.errors import LogDamaged, LogNotWritable, PaiError
from reconciler.core.events import Event
from reconciler.core.state import RowKey, State
from reconciler.log.store import FREE, Reader


class Receipt(NamedTuple):
    """What was recorded: `events` stand at positions `first`, `first` + 1, ..."""

    first: int
    events: tuple[Event, ...]

    @property
    def positions(self) -> range:
        """The positions of the events."""
        return range(self.first, self.first + len(self.events))


class Ticket:
    """One decision on its way to the disk."""

    __slots__ = ("_callbacks", "_done", "_error", "_gate", "_receipt")

    def __init__(self, receipt: Receipt, gate: threading.Lock | None = None) -> None:
        """Begin open; `gate` is what the waiting threads of a batch pass through once its outcome is known."""
        self._receipt = receipt
        self._error: LogNotWritable | None = None
        self._done = False
        self._callbacks: deque[Callable[[Ticket], object]] | None = None
        self._gate = gate

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._done

    def wait(self, timeout_s: float | None = None) -> Receipt:
        """Wait until the decision is durable. Raises LogNotWritable, TimeoutError (the outcome is still open then)."""
        if not self._done:
            assert self._gate is not None
            if not self._gate.acquire(timeout=-1 if timeout_s is None else timeout_s):
                raise TimeoutError("the log has not answered yet")
            self._gate.release()  # for the next thread: all at once would only fight for the interpreter
        if self._error is not None:
            again = LogNotWritable(self._error.message, self._error.hint)
            again.internal = self._error.internal
            raise again from self._error
        return self._receipt

    def add_done_callback(self, callback: Callable[[Ticket], object]) -> None:
        """Call `callback` with this ticket once the outcome is known, from the writer thread, or at once if it is."""
        if self._callbacks is None:
            self._callbacks = deque()
        self._callbacks.append(callback)
        if self._done:
            self._call()

    def resolve(self, error: LogNotWritable | None) -> None:
        """Tell how it ended; for whoever commits."""
        self._error = error
        self._done = True
        if self._callbacks is not None:
            self._call()

    def _call(self) -> None:
        """Call what was added. Each is taken out once, whichever of the two threads that may be here gets it."""
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:
                return
            try:
                callback(self)
            except Exception as problem:  # a caller's mistake must not stop the one writer
                report("a callback of the recorder failed", problem)


class Batch:
    """Decisions that are committed together."""

    __slots__ = ("bodies", "events", "first", "gate", "keys", "tickets")

    def __init__(self, first: int) -> None:
        self.first = first
        self.bodies: list[bytes] = []
        self.events: list[Event] = []
        self.keys: Sequence[RowKey] | None = None  # of the rows that the events change, if it is known
        self.tickets: list[Ticket] = []
        self.gate = threading.Lock()
        self.gate.acquire()

    def answer(self, error: LogNotWritable | None) -> None:
        """Tell everybody who waits how it ended."""
        for ticket in self.tickets:
            ticket.resolve(error)
        self.gate.release()

    def is_in(self, log: Reader) -> bool:
        """Tell whether a log, as it is on disk, has the events (their bytes carry their ids)."""
        try:
            found = [stored.body for stored in log.read(self.first, self.first + len(self.bodies))]
        except PaiError:
            return False
        return found == self.bodies


class Cut(NamedTuple):
    """A batch with what has to be taken from the state at the moment it is closed."""

    batch: Batch
    rows: dict[RowKey, object]
    """Values, which the writer encodes (`encode_row`)."""
    frozen: State | None
    accounts: dict[str, Account] | None
    """Of the state after the batch, if it fills a block of the index."""


def report(what: str, problem: BaseException) -> None:
    """Log a bug of this program, with where it is."""
    import logging

    logging.getLogger(__name__).error(what, exc_info=problem)


def message(error: BaseException) -> str:
    """Word an error of whatever kind for callers: of a bug its name alone."""
    if isinstance(error, PaiError):
        return error.message
    return (
        f"{type(error).__name__}: {error}"
        if isinstance(error, OSError)
        else f"an internal error, {type(error).__name__}"
    )


def hint(error: BaseException) -> str:
    """Give the way out of an error for callers: what is wrong with the file itself says more than the disk's."""
    return error.hint if isinstance(error, LogDamaged) and error.hint else FREE
