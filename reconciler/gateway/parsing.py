"""The event loop's time that parsing of answers takes: a share of it, and what comes beyond that in turns by agent.

A provider may send thousands of tiny chunks to each of thousands of connections in the same moment. They would all be
parsed before anybody else is served, and no turn was waited for: what a piece holds shows when it is parsed. So what
comes while the share is used up waits, and is parsed a few pieces a moment, one of each agent in turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

SHARE: Final = 1 / 3
AHEAD_S: Final = 0.002
"""What may be parsed at once after a calm moment."""
TICK_S: Final = 0.001


class Parsing:
    """What all connections of a loop share."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._level = 0.0  # seconds of work that the share does not cover yet
        self._drained = perf_counter()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def full(self) -> bool:
        """Tell whether the share is used up."""
        now = perf_counter()
        self._level = max(0.0, self._level - (now - self._drained) * SHARE)
        self._drained = now
        return self._level > AHEAD_S

    def took(self, worked_s: float) -> None:
        """Note what a piece took."""
        self._level += worked_s

    def later(self, agent: str, work: Callable[[], None]) -> None:
        """Have a piece parsed when it is the agent's turn."""
        if not self._waiting:
            self._loop.call_later(TICK_S, self._next)
        self._waiting.setdefault(agent, deque()).append(work)

    def _next(self) -> None:
        while self._waiting and not self.full():
            agent, works = next(iter(self._waiting.items()))
            del self._waiting[agent]
            work = works.popleft()
            if works:  # behind all others
                self._waiting[agent] = works
            work()
        if self._waiting:
            self._loop.call_later(TICK_S, self._next)
