"""Turns that strangers take: whoever has shown no key lately, or sent a request before its turn, shares one pace.

Without it a few connections that ask as fast as they can keep the event loop busy, and everybody else waits with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Final

AT_ONCE: Final = 64
"""As many may begin together after a calm moment."""
A_SECOND: Final = 2000
TICK_S: Final = 0.001
A_TICK_MAX: Final = 8
"""As many may begin together while others wait, if the loop was late."""
WAITING_MAX: Final = 2 * A_SECOND
"""Who would wait longer than two seconds is refused."""


class Full(Exception):
    """Too many wait already."""


class Turns:
    """A bucket of turns; who finds none waits, first come first served."""

    def __init__(self) -> None:
        self._left = float(AT_ONCE)
        self._filled = 0.0
        self._waiting: dict[Hashable, Callable[[], bool]] = {}
        self._ticking = False

    def take(self, loop: asyncio.AbstractEventLoop, who: Hashable, called: Callable[[], bool]) -> bool:
        """Take a turn now, or be called when it has come, and tell then whether it was used. Raises Full."""
        if not self._waiting:
            self._fill(loop, AT_ONCE)
            if self._left >= 1:
                self._left -= 1
                return True
        elif len(self._waiting) >= WAITING_MAX:
            raise Full
        self._waiting[who] = called
        self._tick(loop)
        return False

    def leave(self, who: Hashable) -> None:
        """Wait no longer."""
        self._waiting.pop(who, None)

    def _fill(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        now = loop.time()
        self._left = min(most, self._left + (now - self._filled) * A_SECOND)
        self._filled = now

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._ticking:
            self._ticking = True
            loop.call_later(TICK_S, self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticking = False
        self._fill(loop, A_TICK_MAX)
        while self._waiting and self._left >= 1:
            self._left -= self._waiting.pop(next(iter(self._waiting)))()
        if self._waiting:
            self._tick(loop)
