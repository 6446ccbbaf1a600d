"""Room for large bodies, of requests and of answers: how many bytes are held at once, in all and for one agent.

A request's body is in memory twice, and what it says beside it, until it has been sent, so a few agents with many large
requests could take all there is. Who finds no room waits, and its connection with it. Answers have a room of their own;
what finds none there is not held.

Invariants
- Held are never more than `total` bytes, and never more than `each` of one agent.
- Who waits for its own agent keeps nobody else waiting; all others come in turn.
- What was taken is given back exactly once, also by those who gave up waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple

SMALL_BYTES_MAX = 64 * 1024
"""What is no larger than this need not be counted."""
TOTAL_BYTES_MAX = 256 * 1024 * 1024
EACH_BYTES_MAX = 32 * 1024 * 1024
"""One of the largest, or several that are no larger together: an agent waits for itself."""


class _Waiting(NamedTuple):
    agent: str
    size: int
    turn: asyncio.Future[None]


class Room:
    """Counts what is held. For one loop."""

    def __init__(self, total: int = TOTAL_BYTES_MAX, each: int = EACH_BYTES_MAX) -> None:
        """Hold at most `total` bytes, and `each` of one agent; no single body may be larger than `each`."""
        self._total = total
        self._each = each
        self._held: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []

    def take_now(self, agent: str, size: int) -> bool:
        """Take room if there is some, and tell whether there was."""
        if self._held[agent] + size > self._each or self._held.total() + size > self._total:
            return False
        self._held[agent] += size
        return True

    def waiting(self, agent: str) -> int:
        """Say how many of an agent's bodies wait."""
        return sum(waiting.agent == agent for waiting in self._waiting)

    async def take(self, agent: str, size: int) -> None:
        """Take room for a body of an agent, or wait for it."""
        assert size <= self._each <= self._total
        waiting = _Waiting(agent, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._let_in()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.cancelled():
                self._waiting.remove(waiting)
                self._let_in()
            else:
                self.give(agent, size)
            raise

    def give(self, agent: str, size: int) -> None:
        """Give back what was taken."""
        self._held[agent] -= size
        if not self._held[agent]:
            del self._held[agent]
        self._let_in()

    def _let_in(self) -> None:
        """Let in who has room now, in turn."""
        for waiting in list(self._waiting):
            if waiting.turn.done():
                continue  # it gave up, and is about to say so
            if self._held[waiting.agent] + waiting.size > self._each:
                continue
            if self._held.total() + waiting.size > self._total:
                return
            self._held[waiting.agent] += waiting.size
            self._waiting.remove(waiting)
            waiting.turn.set_result(None)


UNCOUNTED_BYTES = 16 * 1024


class Share:
    """What one answer of an agent holds of a room: `taken`, of which UNCOUNTED_BYTES are not counted."""

    def __init__(self, room: Room, agent: str, most: int) -> None:
        """No answer holds more than `most` bytes."""
        self._room = room
        self._agent = agent
        self._most = most
        self.taken = UNCOUNTED_BYTES

    def holds(self, size: int) -> bool:
        """Have room for so many bytes in all, and tell whether there is; a share grows in steps."""
        if size <= self.taken:
            return True
        step = UNCOUNTED_BYTES * (size // UNCOUNTED_BYTES + 1) - self.taken
        if size > self._most or not self._room.take_now(self._agent, step):
            return False
        self.taken += step
        return True

    def give_back(self) -> None:
        """Hold only a little again."""
        if self.taken > UNCOUNTED_BYTES:
            self._room.give(self._agent, self.taken - UNCOUNTED_BYTES)
            self.taken = UNCOUNTED_BYTES
