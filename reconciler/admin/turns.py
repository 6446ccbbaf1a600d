"""Whose git, or whose question, is next: so many at a time, first come, first served, and of one token half at most.

What was answered counts until its client has taken it, too: beyond so many bytes nobody begins.

Who holds nothing but idle connections thereby keeps nobody else out. Used from the event loop alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

from starlette.types import Message, Receive

AHEAD_BYTES: Final = 65_536
"""Of a body that is read while its client waits; one that sends more is not heard when it leaves."""


class Busy(Exception):
    """Too many wait already, or nothing may begin any more."""


class Left(Exception):
    """The client left while it waited."""


class OwnerTurns:
    """Who runs and who waits, by owner; `running_max` and `waiting_max` are for all together.

    `untaken_max` is for the bytes that were kept for clients: once it is reached, nobody begins until some are taken.
    """

    def __init__(self, running_max: int, waiting_max: int, untaken_max: int = sys.maxsize) -> None:
        self._running_max = running_max
        self._waiting_max = waiting_max
        self._untaken_max = untaken_max
        self._untaken: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._closed = False
        self._empty = asyncio.Event()

    @contextlib.asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn of `owner`, and have it inside. Raises Busy."""
        if self._closed:
            raise Busy
        if self._may_run(owner):
            self._running[owner] += 1
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._release(owner)

    def keep(self, owner: str, size: int) -> None:
        """Count bytes that a client of `owner` has not taken yet."""
        self._untaken[owner] += size

    def let_go(self, owner: str, size: int) -> None:
        """Count them no more, and let those begin who waited for that."""
        self._untaken[owner] -= size
        self._untaken += Counter()  # forgets who keeps nothing
        self._call()

    def refuse(self) -> None:
        """Let nobody begin any more."""
        self._closed = True
        for _, waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(Busy())

    async def close(self) -> None:
        """Let nobody begin any more, and wait until nobody runs."""
        self.refuse()
        while self._running.total():
            self._empty.clear()
            await self._empty.wait()

    async def _wait(self, owner: str) -> None:
        mine = sum(each == owner for each, _ in self._waiting)
        if len(self._waiting) >= self._waiting_max or mine >= self._waiting_max // 2:
            raise Busy
        place = owner, asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place[1]
        except asyncio.CancelledError:
            if place[1].done() and not place[1].cancelled() and place[1].exception() is None:
                self._release(owner)  # the turn came as the client left
            raise
        finally:
            if place in self._waiting:
                self._waiting.remove(place)

    def _may_run(self, owner: str) -> bool:
        return all(
            counts.total() < most and counts[owner] < most // 2
            for counts, most in ((self._running, self._running_max), (self._untaken, self._untaken_max))
        )

    def _release(self, owner: str) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        self._call()
        self._empty.set()

    def _call(self) -> None:
        for place in list(self._waiting):
            if not place[1].done() and self._may_run(place[0]):
                self._running[place[0]] += 1
                self._waiting.remove(place)
                place[1].set_result(None)


class Waiting:
    """A request whose client may leave while it waits. What it sends meanwhile comes from `receive` afterwards."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Message] = []

    async def receive(self) -> Message:
        """Give the next message of the request."""
        return self._kept.pop(0) if self._kept else await self._receive()

    async def until(self, turn: Coroutine[Any, Any, None]) -> None:
        """Wait for a turn; it is given up if the client leaves first. Raises Left, and what `turn` raises."""
        coming = asyncio.create_task(turn)
        leaving = asyncio.create_task(self._left())
        try:
            await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise Left
            coming.result()
        finally:
            for task in (coming, leaving):
                task.cancel()
            await asyncio.gather(coming, leaving, return_exceptions=True)

    async def _left(self) -> None:
        """Read ahead until the client leaves."""
        size, whole = 0, False
        while size < AHEAD_BYTES or whole:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            self._kept.append(message)
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
        await asyncio.get_running_loop().create_future()
