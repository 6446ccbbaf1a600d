"""The trusted day: which UTC day a request counts to, whatever becomes of the machine's clock.

A day's budget begins with the day, so a clock that jumps forward would hand out a new budget. The day is therefore
taken from two clocks: the wall clock counts while it stays within five minutes of a second, steady one, which nobody
can set; while it does not, the steady one alone counts on from where both last agreed.

Invariants
- Days never go back.
- No day begins more than `TOLERANCE_S` before the steady clock says so, but for a drift of 1 in `DRIFT` that is taken
  as real. Several small jumps count as their sum.
- A wall clock that comes back to within `TOLERANCE_S` is followed again.

What the wall clock says at the start is believed: a restart is how a jump is confirmed. The ledger's own day, which a
restart does not forget, keeps an old clock from opening a day again (`Ledger.today`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from reconciler.log.stamp import Clock, format_time, wall_clock

TOLERANCE_S: Final = 300
"""How far the wall clock may be from the steady one and still be followed."""

DRIFT: Final = 1000
"""The steady time that passes for each unit by which it is set after a wall clock that runs faster or slower."""

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND

Steady = Callable[[], float]
"""Gives seconds since some moment, by a clock that cannot be set."""


def steady_clock() -> float:
    """Give seconds of a clock that nobody sets, and that runs while the machine sleeps where the system has one."""
    return time.clock_gettime(_STEADY)


_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Days:
    """Keeps the trusted day. Safe to use from any thread."""

    def __init__(self, wall: Clock = wall_clock, steady: Steady = steady_clock) -> None:
        """Believe what `wall` says now, in microseconds since 1970."""
        self._wall = wall
        self._steady = steady
        self._lock = threading.Lock()
        self._base = wall()
        """The trusted time in microseconds at the moment when `steady` gave `_since`."""
        self._since = steady()
        self._day = self._base // _DAY
        self._text = _spell(self._day)

    def today(self) -> str:
        """Give the day that counts now, `YYYY-MM-DD`, UTC."""
        self._look()
        return self._text

    def problem(self) -> str:
        """Say that the wall clock is not followed, and what counts instead; "" while it is."""
        gap = self._look()
        if abs(gap) <= TOLERANCE_S * _SECOND:
            return ""
        return (
            f"the clock jumped {'forward' if gap > 0 else 'back'} by {_span(abs(gap) // _SECOND)}; budgets are on"
            f" {self._text}, counted without the jump, until a restart confirms it"
        )

    def _look(self) -> int:
        """Bring the day up to now, and give how far the wall clock is before the trusted time, in microseconds."""
        with self._lock:
            wall, steady = self._wall(), self._steady()
            passed = round((steady - self._since) * _SECOND)
            trusted = self._base + passed
            gap = wall - trusted
            if abs(gap) <= TOLERANCE_S * _SECOND:
                day = wall // _DAY
                if passed >= _SECOND:
                    most = passed // DRIFT
                    self._base, self._since = trusted + max(-most, min(most, gap)), steady
            else:
                day = trusted // _DAY
            if day > self._day:
                self._day, self._text = day, _spell(day)
            return gap


def _spell(day: int) -> str:
    return format_time(day * _DAY)[:10]


def _span(seconds: int) -> str:
    """Write a duration in the largest unit of which there are two."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{round(seconds / unit)} {name}"
    return f"{seconds} s"
