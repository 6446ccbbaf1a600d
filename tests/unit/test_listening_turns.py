"""Turns of strangers: a calm moment lets many begin at once, a crowd one after the other, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from reconciler.listening.turns import A_TURN, AT_ONCE, TURN_S, Turns


class Clock:
    """A loop whose time goes on when it is told so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        """Give the time in seconds."""
        return self.now

    def call_later(self, delay: float, called: Callable[..., None], *arguments: Any) -> None:
        """Note a call that is due later."""
        self.timers.append((self.now + delay, called, arguments))

    def go_on(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        end = self.now + seconds
        while self.timers and min(self.timers)[0] <= end:
            timer = min(self.timers, key=lambda each: each[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1](*timer[2])
        self.now = end


def test_crowd_begins_one_after_the_other() -> None:
    """As many at once as a calm moment allows, then a few each time, in order; one timer runs at most."""
    clock, turns = Clock(), Turns()
    loop = cast("asyncio.AbstractEventLoop", clock)
    begun: list[int] = []
    for number in range(AT_ONCE + 100):
        if turns.take(loop, lambda number=number: begun.append(number)):  # type: ignore[misc]
            begun.append(number)
        assert len(clock.timers) <= 1
    assert begun == list(range(AT_ONCE))
    for turn in range(1, 51):
        clock.go_on(TURN_S)
        assert begun == list(range(AT_ONCE + turn * A_TURN))
    assert not clock.timers
    assert not turns.take(loop, lambda: None)
    clock.go_on(TURN_S * AT_ONCE)
    taken = [turns.take(loop, lambda: None) for _ in range(2 * AT_ONCE)]
    assert AT_ONCE - A_TURN <= taken.count(True) <= AT_ONCE


def test_who_comes_while_others_wait_is_behind_them() -> None:
    """Also where time has passed that would have filled the bucket."""
    clock, turns = Clock(), Turns()
    loop = cast("asyncio.AbstractEventLoop", clock)
    begun: list[str] = []
    for _ in range(AT_ONCE):
        assert turns.take(loop, lambda: None)
    for number in range(A_TURN + 1):
        assert not turns.take(loop, lambda number=number: begun.append(f"early {number}"))  # type: ignore[misc]
    clock.now += 10 * TURN_S  # the loop was busy with something else
    assert not turns.take(loop, lambda: begun.append("late"))
    clock.go_on(0)
    clock.go_on(TURN_S)
    assert begun == [*(f"early {number}" for number in range(A_TURN + 1)), "late"]
