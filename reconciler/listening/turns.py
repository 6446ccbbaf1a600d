"""Turns that strangers take: whoever has shown no key lately, or sent a request before its turn, shares one pace.

Without it a few connections that ask as fast as they can keep the event loop busy, and everybody else waits with them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 64
"""As many may begin together after a calm moment."""
A_TURN: Final = 2
TURN_S: Final = 0.001
"""While others wait, so many begin each time."""


class Turns:
    """A bucket of turns; who finds none waits, first come first served."""

    def __init__(self) -> None:
        self._left = float(AT_ONCE)
        self._filled = 0.0
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, loop: asyncio.AbstractEventLoop, called: Callable[[], None]) -> bool:
        """Take a turn now, or be called when it has come."""
        if not self._waiting:
            now = loop.time()
            self._left = min(AT_ONCE, self._left + (now - self._filled) / TURN_S * A_TURN)
            self._filled = now
            if self._left >= 1:
                self._left -= 1
                return True
            loop.call_later(TURN_S, self._next, loop)
        self._waiting.append(called)
        return False

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(A_TURN, len(self._waiting))):
            self._waiting.popleft()()
        self._left, self._filled = 0.0, loop.time()
        if self._waiting:
            loop.call_later(TURN_S, self._next, loop)
