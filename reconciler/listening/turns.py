"""Turns that strangers take: whoever has shown no key lately, or sent a request before its turn, shares one pace.

Without it a few connections that ask as fast as they can keep the event loop busy, and everybody else waits with them.
Who takes several turns at once begins when there is one, and all wait until the others are there too; who takes many
lets all go before that take few.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

AT_ONCE: Final = 64
A_SECOND: Final = 2000
TICK_S: Final = 0.001
A_TICK_MAX: Final = 8
MANY: Final = 4
WAITING_MAX: Final = 2 * A_SECOND


class Pace(NamedTuple):
    """How many turns there are: `at_once` after a calm moment, and `a_tick` while others wait, if the loop was late.

    Who had to wait for more than `waiting` of them is refused; who takes more than `many` waits in a second line.
    """

    at_once: float = AT_ONCE
    a_second: float = A_SECOND
    a_tick: float = A_TICK_MAX
    many: float = MANY
    waiting: float = WAITING_MAX


STRANGERS: Final = Pace()
"""A turn is a request; who would wait longer than two seconds is refused."""
THROWN: Final = Pace(at_once=512, a_second=64 * 1024, a_tick=128, many=math.inf, waiting=math.inf)
"""A turn is a KiB that is thrown away, or a chunk; a little piece takes some."""


class Full(Exception):
    """Too many wait already."""


class _Line:
    def __init__(self) -> None:
        self.waiting: dict[Hashable, tuple[Callable[[], bool], float]] = {}
        self.due = 0.0

    def leave(self, who: Hashable) -> tuple[Callable[[], bool], float] | None:
        found = self.waiting.pop(who, None)
        self.due -= found[1] if found else 0
        return found


class Turns:
    """A bucket of turns; who finds none waits, first come first served."""

    def __init__(self, pace: Pace = STRANGERS) -> None:
        self._pace = pace
        self._left = float(pace.at_once)
        self._filled = 0.0
        self._few, self._many = _Line(), _Line()
        self._ticking = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._few.waiting) + len(self._many.waiting)

    def take(
        self, loop: asyncio.AbstractEventLoop, who: Hashable, called: Callable[[], bool], number: float = 1
    ) -> bool:
        """Take so many turns now, or be called when they come, and tell then whether they were used. Raises Full."""
        line = self._few if number <= self._pace.many else self._many
        if not self._few.waiting and (line is self._few or not line.waiting):
            self._fill(loop, self._pace.at_once)
            if self._left >= 1:
                self._left -= number
                return True
        elif line.due >= self._pace.waiting:
            raise Full
        line.waiting[who] = called, number
        line.due += number
        self._tick(loop)
        return False

    def leave(self, who: Hashable) -> None:
        """Wait no longer."""
        self._few.leave(who)
        self._many.leave(who)

    def _fill(self, loop: asyncio.AbstractEventLoop, most: float) -> None:
        now = loop.time()
        self._left = min(most, self._left + (now - self._filled) * self._pace.a_second)
        self._filled = now

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._ticking:
            self._ticking = True
            loop.call_later(TICK_S, self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticking = False
        self._fill(loop, self._pace.a_tick)
        while self._left >= 1 and (line := next((each for each in (self._few, self._many) if each.waiting), None)):
            first = line.leave(next(iter(line.waiting)))
            assert first is not None
            called, number = first
            if called():
                self._left -= number
        if self.waiting:
            self._tick(loop)
