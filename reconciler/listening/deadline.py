"""What a connection waits for, and until when: one timer at most, which is not set anew for every request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """The last thing that is awaited counts. A timer that is due earlier than needed looks at the clock and goes on."""

    __slots__ = ("_at", "_late", "_loop", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._at = math.inf
        self._late: Callable[[], None] | None = None

    def within(self, seconds: float, late: Callable[[], None]) -> None:
        """Call `late` after so many seconds, unless something else is awaited by then, or nothing."""
        self._late = late
        self._at = self._loop.time() + seconds
        if self._at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._set_timer()

    def forget(self) -> None:
        """Await nothing."""
        self._at = math.inf

    def end(self) -> None:
        """Await nothing any more."""
        self._at, self._late = math.inf, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        self._timer_at = self._at
        self._timer = self._loop.call_at(self._at, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._at > self._loop.time():
            if self._at < math.inf:
                self._set_timer()
            return
        self._at = math.inf
        if self._late is not None:
            self._late()
