"""Turns of strangers: a calm moment lets many begin at once, a crowd one after the other, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import pytest

from reconciler.listening.turns import A_SECOND, A_TICK_MAX, AT_ONCE, TICK_S, WAITING_MAX, Full, Turns


class Clock:
    """A loop whose time goes on when it is told so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Give it as a loop."""
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        """Give the time in seconds."""
        return self.now

    def call_later(self, delay: float, called: Callable[..., None], *arguments: Any) -> None:
        """Note a call that is due later; one at most is."""
        assert not self.timers
        self.timers.append((self.now + delay, called, arguments))

    def go_on(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            due, called, arguments = self.timers.pop()
            self.now = max(self.now, due)
            called(*arguments)
        self.now = max(self.now, end)


class Line:
    """Who began, and who comes."""

    def __init__(self) -> None:
        self.clock, self.turns = Clock(), Turns()
        self.begun: list[int] = []

    def come(self, number: int, *, there: bool = True, turns: float = 1) -> None:
        """Come, and begin in turn; `there`: still there then; `turns`: as many are taken."""

        def called() -> bool:
            self.begun.extend([number] * there)
            return there

        if self.turns.take(self.clock.loop, number, called, turns):
            self.begun.append(number)


def test_crowd_begins_one_after_the_other() -> None:
    """As many at once as a calm moment allows, then at the pace, in order; one timer runs at most."""
    line = Line()
    crowd = AT_ONCE + A_SECOND // 2
    for number in range(crowd):
        line.come(number)
    assert line.begun == list(range(AT_ONCE))
    line.clock.go_on(0.25)
    assert len(line.begun) == pytest.approx(AT_ONCE + A_SECOND / 4, abs=A_TICK_MAX)
    line.clock.go_on(0.3)
    assert line.begun == list(range(crowd))
    assert not line.clock.timers


def test_calm_moment_fills_the_bucket_and_no_more() -> None:
    """Hours later as many may begin at once as at first."""
    line = Line()
    for wait_s in (0.0, AT_ONCE / A_SECOND, 3600.0):
        line.clock.go_on(wait_s)
        line.begun.clear()
        for number in range(AT_ONCE):
            line.come(number)
        assert len(line.begun) == AT_ONCE
        line.turns.leave(-1)
        line.come(-1)
        assert -1 not in line.begun
        line.clock.go_on(2 * TICK_S)
        assert line.begun[-1] == -1


def test_late_loop_catches_up_a_little() -> None:
    """Who came late is behind those who wait, and a loop that stood still does not let all of them begin at once."""
    line = Line()
    for number in range(AT_ONCE + 100):
        line.come(number)
    line.clock.now += 1.0
    line.come(1000)
    line.clock.go_on(0)
    assert len(line.begun) == AT_ONCE + A_TICK_MAX
    line.clock.go_on(1)
    assert line.begun[-1] == 1000


def test_who_has_left_takes_no_turn() -> None:
    """Neither those who said so, nor those who are found gone when they are called."""
    line = Line()
    for number in range(AT_ONCE):
        line.come(number)
    for number in range(AT_ONCE, AT_ONCE + 1000):
        line.come(number, there=number % 2 == 0)
    line.come(5000)
    for number in range(AT_ONCE, AT_ONCE + 1000, 2):
        line.turns.leave(number)
    line.clock.go_on(2 * TICK_S)
    assert line.begun == [*range(AT_ONCE), 5000]


def test_line_has_an_end() -> None:
    """Who would wait for more than two seconds is told so at once."""
    line = Line()
    for number in range(AT_ONCE + WAITING_MAX):
        line.come(number)
    with pytest.raises(Full):
        line.come(-1)
    line.clock.go_on(WAITING_MAX / A_SECOND + 0.1)
    assert len(line.begun) == AT_ONCE + WAITING_MAX
    line.come(-1)


def test_who_takes_many_turns_is_paced_by_them() -> None:
    """A head of 60 KiB is as dear as 61 small ones."""
    line = Line()
    for number in range(200):
        line.come(number, turns=20)
        line.clock.go_on(0.001)
    line.clock.go_on(0.8)
    assert len(line.begun) == pytest.approx(A_SECOND / 20 + AT_ONCE / 20, abs=3)


def test_who_takes_few_goes_before_who_takes_many() -> None:
    """A crowd with large heads fills a line of its own, keeps nobody else out, and has its end too."""
    line = Line()
    many = 0
    with contextlib.suppress(Full):
        for many in range(1000):
            line.come(many, turns=61)
    assert many == pytest.approx(WAITING_MAX / 61, abs=3)
    line.begun.clear()
    for number in range(10_000, 10_010):
        line.come(number)
    line.clock.go_on(AT_ONCE / A_SECOND + 0.01)
    assert line.begun[:10] == list(range(10_000, 10_010))
    line.clock.go_on(10)
    assert set(range(2, many)) <= set(line.begun)
