"""What a caller of the recorder gets: a ticket for each decision, and a receipt once it is durable."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from reconciler.core.errors import LogNotWritable
from reconciler.core.events import Event

T = TypeVar("T")
log = logging.getLogger(__name__)


class Receipt(NamedTuple, Generic[T]):
    """What was recorded: `events` stand at positions `first`, `first` + 1, ...; `result` is what the decision gave."""

    first: int
    events: tuple[Event, ...]
    result: T

    @property
    def positions(self) -> range:
        """The positions of the events."""
        return range(self.first, self.first + len(self.events))


class Ticket(Generic[T]):
    """One decision on its way to the disk."""

    __slots__ = ("_callbacks", "_done", "_error", "_outcome", "gate")

    def __init__(self) -> None:
        """Begin open and undecided."""
        self.gate: threading.Lock | None = None
        """What the waiting threads of a batch pass through once its outcome is known; for whoever commits."""
        self._outcome: Receipt[T] | Exception | None = None
        self._error: LogNotWritable | None = None
        self._done = False
        self._callbacks: deque[Callable[[Ticket[T]], object]] | None = None

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._done

    def wait(self, timeout_s: float | None = None) -> Receipt[T]:
        """Wait until the decision, and all that it could see, is durable.

        Raises what the decision raised, LogNotWritable, TimeoutError (the outcome is still open then).
        """
        if not self._done:
            assert self.gate is not None
            if not self.gate.acquire(timeout=-1 if timeout_s is None else timeout_s):
                raise TimeoutError("the log has not answered yet")
            self.gate.release()  # for the next thread: all at once would only fight for the interpreter
        if isinstance(found := self._found(), Exception):
            raise found
        return found

    def taken(self) -> Receipt[T] | Exception:
        """Give what `wait` gives or raises, once it is known, and let go of it: nobody can wait any more.

        An error keeps the frames that it came through, and these this ticket: with it, it would stay until cycles are
        looked for, and so would what its caller holds.
        """
        found, self._outcome = self._found(), None
        return found

    def _found(self) -> Receipt[T] | Exception:
        if self._error is not None:
            again = type(self._error)(self._error.message, self._error.hint)
            again.internal, again.__cause__ = self._error.internal, self._error
            return again
        assert self._outcome is not None
        return self._outcome

    def add_done_callback(self, callback: Callable[[Ticket[T]], object]) -> None:
        """Call `callback` with this ticket once the outcome is known, from the writer thread, or at once if it is."""
        if self._callbacks is None:
            self._callbacks = deque()
        self._callbacks.append(callback)
        if self._done:
            self._call()

    def decided(self, outcome: Receipt[T] | Exception) -> None:
        """Note what the decision gives, or raised; it holds once `resolve` says so. For whoever decides."""
        self._outcome = outcome

    def resolve(self, error: LogNotWritable | None) -> None:
        """Tell that what was decided is durable, or why it is not; for whoever commits."""
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
            except Exception:  # a caller's mistake must not stop the one writer
                log.exception("a callback of the recorder failed")
