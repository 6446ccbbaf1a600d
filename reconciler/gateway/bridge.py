"""From the recorder's tickets to futures of an event loop, cheaply: the loop is woken once for all that are done.

The recorder answers from its writer thread, a batch at a time; a wake-up for each answer would cost more than the
answers. Nothing here decides or writes.

Invariants
- A future ends as its ticket does: with the receipt, with what the decision raised, or with LogNotWritable.
- A future that was cancelled takes nothing back: what was decided is recorded, or not, all the same. Whoever cancels
  has to see to that.
- A loop that is closed is not woken, and nobody waits on it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, TypeVar

from reconciler.recorder import Receipt, Ticket

T = TypeVar("T")


class Bridge:
    """Tickets as futures of the loop that it was made in; to be used from that loop's thread."""

    def __init__(self) -> None:
        """Belong to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[asyncio.Future[Any], Ticket[Any]]] = deque()
        self._woken = False

    def outcome(self, ticket: Ticket[T]) -> asyncio.Future[Receipt[T]]:
        """Give a future of the ticket's receipt; it raises what `Ticket.wait` does."""
        future: asyncio.Future[Receipt[T]] = self._loop.create_future()
        if ticket.done:
            _end(future, ticket)
        else:
            ticket.add_done_callback(lambda ticket: self._push(future, ticket))
        return future

    def _push(self, future: asyncio.Future[Any], ticket: Ticket[Any]) -> None:
        """Note an outcome and see that the loop gets it; from the writer thread, or from the loop's own."""
        self._done.append((future, ticket))
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._woken = False  # before looking, so that what comes from now on wakes the loop again
        while self._done:
            future, ticket = self._done.popleft()
            if not future.done():  # cancelled
                _end(future, ticket)


def _end(future: asyncio.Future[Receipt[T]], ticket: Ticket[T]) -> None:
    if isinstance(found := ticket.taken(), Exception):
        future.set_exception(found)
    else:
        future.set_result(found)
