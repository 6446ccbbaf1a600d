"""The event loop's time that answers may take: one share of all of it for each kind of work, in turns by agent.

A provider may send thousands of tiny chunks or events to each of thousands of connections in the same moment. They
would all be worked on before anybody else is served. So what comes while the share is used up waits, and its turn comes
a few pieces a moment, one of each agent.

What a piece holds shows when it is parsed, so the parsing of all pieces has a share of its own. Of what is worked on
then, small pieces, as nearly all are, take no turn; where the loop is slow they come together and are large. While
pieces that were as dear as many use more than the share, an agent that has one takes turns for all of its pieces for a
while: a single one may only have been kept waiting for the interpreter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

LARGE_BYTES: Final = 2048
SHARE: Final = 1 / 3
AHEAD_S: Final = 0.004
"""What may be worked at once after a calm moment."""
PARSED_AHEAD_S: Final = 0.002
"""The same of what may be parsed, and deciphered."""
GUESS_S: Final = 0.001
"""What a turn is taken for until it is over."""
WORK_MAX_S: Final = 1.0
"""Of one piece: far above what any takes. What is more is a process that was stopped for a while."""
TICK_S: Final = 0.001
DEAR_S: Final = 0.0005
"""Of a small piece: what usual events of that size take ten times over."""
DEAR_FROM_S: Final = 0.02
"""What such pieces may take at once, of all agents."""
DEAR_FOR_S: Final = 10.0
"""How long the agent of such a piece takes turns for small ones, too."""


class LoopShare:
    """A share of one loop's time."""

    def __init__(self, ahead_s: float = PARSED_AHEAD_S) -> None:
        """`ahead_s` may be worked at once after a calm moment."""
        self._ahead_s = ahead_s
        self._level = 0.0  # seconds of work that the share does not cover yet
        self._drained = monotonic()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def full(self) -> bool:
        """Tell whether the share is used up."""
        now = monotonic()
        self._level = max(0.0, self._level - (now - self._drained) * SHARE)
        self._drained = now
        return self._level >= self._ahead_s

    def took(self, worked_s: float) -> None:
        """Note what a piece took."""
        self._level += worked_s

    def later(self, agent: str, work: Callable[[], None]) -> None:
        """Have `work` called when it is the agent's turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(TICK_S, self._next)
        self._waiting.setdefault(agent, deque()).append(work)

    def _next(self) -> None:
        while self._waiting and not self.full():
            agent, turns = next(iter(self._waiting.items()))
            del self._waiting[agent]
            work = turns.popleft()
            if turns:  # behind all others
                self._waiting[agent] = turns
            work()
        if self._waiting:
            asyncio.get_running_loop().call_later(TICK_S, self._next)


class AnswerPace(LoopShare):
    """The share of what all answers of a gateway are worked on with."""

    def __init__(self) -> None:
        super().__init__(AHEAD_S)
        self._dear: dict[str, float] = {}  # agents that take turns for all pieces, and until when

    def due(self, agent: str, size: int) -> bool:
        """Tell whether a piece of so many bytes takes a turn."""
        return size > LARGE_BYTES or (agent in self._dear and self._is_dear(agent))

    def small(self, agent: str, worked_s: float) -> None:
        """Note the work on a piece that took no turn."""
        if worked_s > DEAR_S:
            self.full()
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
        if not self.full() and not self._waiting:
            self._level += GUESS_S
            return
        turn = asyncio.get_running_loop().create_future()
        self.later(agent, lambda: self._call(turn))
        await turn

    def _call(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._level += GUESS_S
            turn.set_result(None)

    def took(self, worked_s: float) -> None:
        """Note the work of a turn."""
        super().took(min(worked_s, WORK_MAX_S) - GUESS_S)
