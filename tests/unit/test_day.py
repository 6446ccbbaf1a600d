"""The trusted day against clocks that drift, jump forward, jump back and come back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.day import DRIFT, TOLERANCE_S, Days, steady_clock
from reconciler.log.stamp import parse_time

MIDNIGHT = parse_time("2026-11-24T00:00:00Z")
DAY = 86_400


class Clocks:
    """Both clocks of a machine; `seconds` before (or after) midnight at first."""

    def __init__(self, seconds: float) -> None:
        self.us = MIDNIGHT + round(seconds * 1_000_000)
        self.steady_s = 1000.0
        self.days = Days(lambda: self.us, lambda: self.steady_s)

    def pass_by(self, seconds: float) -> str:
        """Let time pass, on both clocks, and give the day."""
        self.steady_s += seconds
        return self.jump(seconds)

    def jump(self, seconds: float) -> str:
        """Set the wall clock, and give the day."""
        self.us += round(seconds * 1_000_000)
        return self.days.today()


@pytest.fixture(params=["UTC0", "XXX-14", "YYY+12"])
def time_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Live in a time zone of its own."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("time_zone")
@pytest.mark.parametrize("second", [59, 60, 61, 3600, 43_200, 86_398, 86_399])
def test_day_is_the_utc_day_wherever_the_machine_is(second: int) -> None:
    """From its first to its last second a day is the UTC one, whatever the time zone."""
    assert Clocks(second).days.today() == "2026-11-24"
    assert Clocks(second).pass_by(86_399 - second) == "2026-11-24"
    assert Clocks(second).pass_by(86_400 - second) == "2026-11-25"


@pytest.mark.parametrize(
    ("jump", "day"),
    [
        (59, "2026-11-23"),
        (60, "2026-11-24"),
        (61, "2026-11-24"),
        (299, "2026-11-24"),
        (300, "2026-11-24"),
        (301, "2026-11-23"),
        (3600, "2026-11-23"),
        (86_399, "2026-11-23"),
        (86_400, "2026-11-23"),
        (10 * 365 * DAY, "2026-11-23"),
    ],
)
def test_only_a_small_jump_opens_a_day(jump: int, day: str) -> None:
    """A minute before midnight the wall clock is believed up to five minutes, and not a second more."""
    clocks = Clocks(-60)

    assert clocks.jump(jump) == day
    assert (clocks.days.problem() == "") == (jump <= TOLERANCE_S)


def test_small_jumps_count_as_their_sum() -> None:
    """A day cannot be reached by many jumps each of which would be believed."""
    clocks = Clocks(-3600)
    for _ in range(100):
        assert clocks.jump(299) == "2026-11-23"
        assert clocks.pass_by(1) == "2026-11-23"


@pytest.mark.parametrize("jump", [301, 86_400, -301, -86_400, -10 * 365 * DAY])
def test_day_held_after_a_jump_goes_on_with_the_steady_clock(jump: int) -> None:
    """After a jump, forward or back, the next day begins when the steady clock reaches its midnight."""
    clocks = Clocks(-600)
    clocks.jump(jump)
    assert clocks.pass_by(599) == "2026-11-23"
    assert clocks.pass_by(1) == "2026-11-24"
    assert clocks.pass_by(86_399) == "2026-11-24"
    assert clocks.pass_by(1) == "2026-11-25"
    assert clocks.days.problem() != ""


@pytest.mark.parametrize("jump", [-1, -60, -299, -300, -301, -86_399, -86_400, -10 * 365 * DAY])
def test_jump_back_never_opens_a_day_again(jump: int) -> None:
    """A day that has begun stays."""
    clocks = Clocks(-1)
    assert clocks.pass_by(1) == "2026-11-24"
    assert clocks.jump(jump) == "2026-11-24"
    assert clocks.pass_by(60) == "2026-11-24"


@pytest.mark.parametrize(("off", "day"), [(-300, "2026-11-23"), (0, "2026-11-24"), (300, "2026-11-24")])
def test_clock_that_comes_back_is_followed_again(off: int, day: str) -> None:
    """Once the wall clock is within five minutes of the trusted time it says the day again, and all is well."""
    clocks = Clocks(-7200)
    clocks.jump(10_000)
    assert clocks.pass_by(3600) == "2026-11-23"
    assert clocks.days.problem() != ""

    clocks.jump(-10_000 + off)
    assert clocks.days.problem() == ""
    assert clocks.pass_by(3600 - 300) == ("2026-11-24" if off == 300 else "2026-11-23")
    assert clocks.pass_by(0) == clocks.days.today()
    assert clocks.pass_by(300) == day


def test_clock_that_comes_back_not_far_enough_is_not_followed() -> None:
    """A second beyond five minutes is too far on either side."""
    for off in (-301, 301):
        clocks = Clocks(-7200)
        clocks.jump(10_000)
        clocks.jump(-10_000 + off)
        assert clocks.days.problem() != ""


@pytest.mark.parametrize("rate", [0.9995, 1.0005])
@pytest.mark.parametrize("looks_a_day", [1, 24, 5000])
def test_drift_is_followed_for_ever(rate: float, looks_a_day: int) -> None:
    """A wall clock that is 43 s a day slow or fast is the true one, however often anybody looks."""
    clocks = Clocks(1)
    for _ in range(looks_a_day * (1 if looks_a_day > 24 else 60)):
        seconds = DAY / looks_a_day
        clocks.steady_s += seconds
        clocks.us += round(seconds * rate * 1_000_000)
        assert clocks.days.problem() == ""
    assert clocks.days.today() == Clocks((clocks.us - MIDNIGHT) / 1_000_000).days.today()


def test_drift_is_followed_by_those_who_look_all_the_time() -> None:
    """A hundred looks a second do not keep the trusted time from following."""
    clocks = Clocks(0)
    clocks.jump(1)
    for _ in range(100_000):
        clocks.pass_by(0.01)
    clocks.jump(300)
    assert clocks.days.problem() == ""


def test_restart_confirms_a_jump() -> None:
    """A new start believes the clock."""
    clocks = Clocks(-60)
    clocks.jump(DAY)
    assert clocks.days.today() == "2026-11-23"
    assert Days(lambda: clocks.us, lambda: clocks.steady_s).today() == "2026-11-24"


@pytest.mark.parametrize(
    ("jump", "told"),
    [
        (301, "forward by 5 min"),
        (3 * 3600, "forward by 3 h"),
        (-7199, "back by 120 min"),
        (3 * DAY + 5, "forward by 3 d"),
    ],
)
def test_problem_says_what_happened_and_which_day_counts(jump: int, told: str) -> None:
    """Readiness gets one sentence with the jump and the day that budgets are on."""
    clocks = Clocks(-10)
    clocks.jump(jump)
    assert clocks.days.problem() == (
        f"the clock jumped {told}; budgets are on 2026-11-23, counted without the jump, until a restart confirms it"
    )
    clocks.pass_by(10)
    assert "budgets are on 2026-11-24," in clocks.days.problem()


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 59, 60, 61, 299, 300, 301, 3600, 86_399, 86_400]),
        st.sampled_from([0, 0, 59, 60, 299, 300, 301, -299, -300, -301, 86_400, -86_400]),
    ),
    max_size=30,
)


@given(start=st.sampled_from([-86_400, -301, -300, -60, -59, 0, 43_200]), steps=STEPS)
def test_day_is_never_far_from_the_steady_clock(start: int, steps: list[tuple[int, int]]) -> None:
    """Whatever the wall clock does: days never go back, and begin neither before nor after the steady clock's but by
    five minutes and the drift."""
    clocks = Clocks(start)
    passed, day = 0, clocks.days.today()
    for seconds, jump in steps:
        passed += seconds
        clocks.pass_by(seconds)
        now = clocks.jump(jump)
        slack = TOLERANCE_S + passed / DRIFT
        assert Clocks(start + passed - slack).days.today() <= now <= Clocks(start + passed + slack).days.today()
        assert now >= day
        day = now


def test_real_clocks_agree() -> None:
    """On this machine the day is today's, and the steady clock is one that counts seconds."""
    before = time.strftime("%Y-%m-%d", time.gmtime())
    days = Days()
    assert before <= days.today() <= time.strftime("%Y-%m-%d", time.gmtime())
    assert days.problem() == ""
    first = steady_clock()
    time.sleep(0.01)
    assert 0.005 < steady_clock() - first < 10
