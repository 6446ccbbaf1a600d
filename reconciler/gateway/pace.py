"""Time of the event loop that answers may take: each a little of its own, and what is more from one share of them all.

A provider may send thousands of tiny events in a moment. Working on them keeps the loop busy, and everybody else waits.
"""

from __future__ import annotations

import asyncio
from typing import Final

OWN_S: Final = 0.002
"""What one answer may take in a second beside everybody's share."""
SHARE: Final = 1 / 3
TICK_S: Final = 0.001
"""Rests shorter than that are put together."""


class Pace:
    """What all answers of a gateway share."""

    def __init__(self) -> None:
        self._free = 0.0

    async def rest(self, worked_s: float) -> None:
        """Wait until so much work fits into the share."""
        now = asyncio.get_running_loop().time()
        self._free = max(self._free, now - worked_s) + worked_s / SHARE
        if self._free - now >= TICK_S:
            await asyncio.sleep(self._free - now)


class Own:
    """What one answer takes."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._since = self._worked = 0.0

    async def took(self, worked_s: float, *, wanted: bool) -> None:
        """Note work, and rest if it is more than this answer's own, which one that nobody wants does not have."""
        if not wanted:
            await self._pace.rest(worked_s)
            return
        self._worked += worked_s
        if self._worked <= OWN_S:
            return
        now = asyncio.get_running_loop().time()
        if now - self._since >= 1.0:
            self._since, self._worked = now, worked_s
        if (more := self._worked - OWN_S) > 0:
            self._worked = OWN_S
            await self._pace.rest(more)
