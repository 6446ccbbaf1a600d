"""The share of the event loop's time that answers have together, by a clock of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from reconciler.gateway.pace import OWN_S, SHARE, TICK_S, Own, Pace


class Clock:
    """A loop's time, which goes on with work and with sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        """Give the time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds >= TICK_S
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock that is used instead of the loop's."""
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    return clock


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run what never waits for anything but the clock."""
    with pytest.raises(StopIteration):
        work.send(None)


def test_answer_that_takes_little_never_rests(clock: Clock) -> None:
    """Up to its own time in each second."""
    own = Own(Pace())
    for second in range(5):
        for part in range(1, 11):
            clock.now = 200 + second + part / 20
            before = clock.now
            finish(own.took(OWN_S / 11, wanted=True))
            assert clock.now == before


@pytest.mark.parametrize("answers", [1, 4, 30])
def test_many_that_take_much_have_one_share(clock: Clock, answers: int) -> None:
    """However many there are, the loop has the rest of the time for others."""
    pace = Pace()
    each = [Own(pace) for _ in range(answers)]
    began, worked = clock.now, 0.0
    while clock.now < began + 2:
        for own in each:
            clock.now += 0.002
            worked += 0.002
            finish(own.took(0.002, wanted=True))
    free = answers * OWN_S * 3
    assert worked - free <= (clock.now - began) * SHARE * 1.01
    assert worked >= (clock.now - began) * SHARE * 0.9


def test_small_work_is_put_together(clock: Clock) -> None:
    """Ten thousand events that come one by one rest as long as one piece of all of them, in ticks."""
    own = Own(Pace())
    began = clock.now
    for _ in range(10_000):
        clock.now += 0.000_01
        finish(own.took(0.000_01, wanted=True))
    assert (clock.now - began) * SHARE == pytest.approx(0.1, rel=0.1)


def test_answer_that_nobody_wants_has_nothing_of_its_own(clock: Clock) -> None:
    """From the first millisecond on."""
    pace = Pace()
    began = clock.now
    for _ in range(100):
        clock.now += 0.001
        finish(Own(pace).took(0.001, wanted=False))
    assert (clock.now - began) * SHARE == pytest.approx(0.1, rel=0.1)
