"""The event loop's time that large pieces of answers may take: one share of all of it, in turns by agent.

A provider may send thousands of tiny events in a moment, to many at once. Working on them keeps the loop busy, and
everybody else waits. So whoever has more than a few usual events at hand waits for a turn before they are looked at,
and while all of them together take more than the share, turns go round among agents, one by one. Small pieces, as
nearly all are, take none; where the loop is slow they come together and are large. While pieces that were as dear as
many use more than the share, an agent that has one takes turns for all of its pieces for a while: a single one may only
have been kept waiting for the interpreter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Final

LARGE_BYTES: Final = 2048
SHARE: Final = 1 / 3
AHEAD_S: Final = 0.004
"""What may be worked at once after a calm moment."""
GUESS_S: Final = 0.001
"""What a turn is taken for until it is over."""
WORK_MAX_S: Final = 0.02
"""Of one turn: no piece takes more, and what was awaited in between is no work."""
TICK_S: Final = 0.001
DEAR_S: Final = 0.0005
"""Of a small piece: what usual events of that size take ten times over."""
DEAR_FROM_S: Final = 0.02
"""What such pieces may take at once, of all agents."""
DEAR_FOR_S: Final = 10.0
"""How long the agent of such a piece takes turns for small ones, too."""


class AnswerPace:
    """What all answers of a gateway share. For one loop."""

    def __init__(self) -> None:
        self._level = 0.0  # seconds of work that the share does not cover yet
        self._drained = 0.0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._dear: dict[str, float] = {}  # agents that take turns for all pieces, and until when

    def due(self, agent: str, size: int) -> bool:
        """Tell whether a piece of so many bytes takes a turn."""
        return size > LARGE_BYTES or (agent in self._dear and self._is_dear(agent))

    def small(self, agent: str, worked_s: float) -> None:
        """Note the work on a piece that took no turn."""
        if worked_s > DEAR_S:
            self._drain()
            self._level += min(worked_s, WORK_MAX_S)
            if self._level > DEAR_FROM_S:
                self._dear[agent] = monotonic() + DEAR_FOR_S

    def _is_dear(self, agent: str) -> bool:
        if self._dear[agent] > monotonic():
            return True
        del self._dear[agent]
        return False

    async def turn(self, agent: str) -> None:
        """Wait for a turn; `took` says what it took."""
        self._drain()
        if not self._waiting and self._level < AHEAD_S:
            self._level += GUESS_S
            return
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(TICK_S, self._next, loop)
        turn = loop.create_future()
        self._waiting.setdefault(agent, deque()).append(turn)
        await turn

    def took(self, worked_s: float) -> None:
        """Note the work of a turn."""
        self._level += min(worked_s, WORK_MAX_S) - GUESS_S

    def _drain(self) -> None:
        now = monotonic()
        self._level = max(0.0, self._level - (now - self._drained) * SHARE)
        self._drained = now

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._drain()
        while self._waiting and self._level < AHEAD_S:
            agent, turns = next(iter(self._waiting.items()))
            del self._waiting[agent]
            turn = turns.popleft()
            if turns:  # behind all others
                self._waiting[agent] = turns
            if not turn.done():
                self._level += GUESS_S
                turn.set_result(None)
        if self._waiting:
            loop.call_later(TICK_S, self._next, loop)
