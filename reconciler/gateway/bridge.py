"""From the recorder's tickets, which another thread resolves, to futures of one event loop.

The loop is woken once for all tickets of a batch, not once a ticket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from reconciler.core.errors import LogNotWritable
from reconciler.recorder import Receipt, Ticket


class Bridge:
    """Futures of the loop that it was made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[asyncio.Future[Receipt], Ticket]] = deque()
        self._woken = False

    def outcome(self, ticket: Ticket) -> asyncio.Future[Receipt]:
        """Give a future of the ticket's receipt; it raises what `ticket.wait` raises."""
        future: asyncio.Future[Receipt] = self._loop.create_future()
        ticket.add_done_callback(lambda ticket: self._push(future, ticket))
        return future

    def _push(self, future: asyncio.Future[Receipt], ticket: Ticket) -> None:
        self._done.append((future, ticket))
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._woken = False
        while self._done:
            future, ticket = self._done.popleft()
            if future.done():  # whoever waited was cancelled
                continue
            try:
                future.set_result(ticket.wait(0))
            except LogNotWritable as error:
                future.set_exception(error)
