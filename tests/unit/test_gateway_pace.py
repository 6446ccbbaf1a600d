"""The share of the event loop's time that large pieces of answers have together, by a clock of the test's."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler.gateway import pace as module
from reconciler.gateway.pace import AHEAD_S, DEAR_FOR_S, DEAR_FROM_S, DEAR_S, LARGE_BYTES, SHARE, TICK_S, AnswerPace


class Loop:
    """A loop whose time goes on with the work that is done on it, and to the next timer if there is none."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        self._real = asyncio.new_event_loop()

    def create_future(self) -> asyncio.Future[None]:
        """Make a future."""
        return self._real.create_future()

    def call_later(self, delay: float, called: Callable[..., None], *arguments: Any) -> None:
        """Note a call that is due later."""
        self._timers.append((self.now + delay, called, arguments))

    def tick(self) -> None:
        """Go on to the next timer."""
        due, called, arguments = timer = min(self._timers, key=lambda each: each[0])
        self._timers.remove(timer)
        self.now = max(self.now, due)
        called(*arguments)

    def run_due(self) -> None:
        """Call what is due."""
        while self._timers and min(self._timers, key=lambda each: each[0])[0] <= self.now:
            self.tick()

    def close(self) -> None:
        """End it."""
        self._real.close()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """Give a loop that is used instead of the real one."""
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(module, "monotonic", lambda: loop.now)
    yield loop
    loop.close()


class Worker:
    """An answer of an agent, with a piece at hand that costs so much, again and again."""

    def __init__(self, pace: AnswerPace, agent: str, cost_s: float) -> None:
        self.agent = agent
        self.cost_s = cost_s
        self._pace = pace
        self._turn: Any = None
        self._future: Any = None

    def step(self, loop: Loop) -> bool:
        """Work on a piece if it is its turn, and tell whether it was."""
        if self._turn is None:
            self._turn = self._pace.turn(self.agent)
        elif not self._future.done():
            return False
        try:
            self._future = self._turn.send(None)
        except StopIteration:
            self._turn = None
            loop.now += self.cost_s
            self._pace.took(self.cost_s)
            return True
        return False


def worked(loop: Loop, workers: list[Worker], seconds: float) -> tuple[Counter[str], dict[str, float]]:
    """Let them work for some time; give each agent's work, and the longest pause between two pieces."""
    began, done = loop.now, Counter[str]()
    last = {worker.agent: began for worker in workers}
    longest = dict.fromkeys(last, 0.0)
    while loop.now < began + seconds:
        loop.run_due()
        busy = False
        for worker in workers:
            before = loop.now
            if worker.step(loop):
                busy = True
                done[worker.agent] += worker.cost_s
                longest[worker.agent] = max(longest[worker.agent], before - last[worker.agent])
                last[worker.agent] = loop.now
        if not busy:
            loop.tick()
    return done, longest


@pytest.mark.parametrize("answers", [1, 4, 400])
@pytest.mark.parametrize("cost_s", [0.0002, 0.003, 0.02, 0.2])
def test_many_that_take_much_have_one_share(loop: Loop, answers: int, cost_s: float) -> None:
    """However many there are, the loop has the rest of the time for others."""
    pace = AnswerPace()
    done, _ = worked(loop, [Worker(pace, "a", cost_s) for _ in range(answers)], 20)
    assert 0.8 * SHARE * 20 <= done["a"] <= SHARE * 20 + AHEAD_S + 5 * cost_s


def test_agent_waits_for_one_piece_of_each_other_agent(loop: Loop) -> None:
    """However many answers another one has."""
    pace = AnswerPace()
    workers = [Worker(pace, "many", 0.003) for _ in range(1500)] + [Worker(pace, "one", 0.0005)]
    done, longest = worked(loop, workers, 60)
    assert longest["one"] <= 0.15
    assert done["one"] >= 60 * SHARE * 0.0005 / 0.0035 * 0.5


def test_calm_answers_never_wait(loop: Loop) -> None:
    """A turn is there at once as long as the share is not used up."""
    pace = AnswerPace()
    worker = Worker(pace, "a", 0.001)
    for _ in range(1000):
        loop.now += 0.005
        assert worker.step(loop)


def test_who_leaves_does_not_keep_its_turn(loop: Loop) -> None:
    """One that gave up waiting is passed over."""
    pace = AnswerPace()
    for _ in range(10):
        with pytest.raises(StopIteration):
            pace.turn("a").send(None)
        if pace._level >= AHEAD_S:
            break
    first, second = pace.turn("a"), pace.turn("b")
    left, waits = first.send(None), second.send(None)
    left.cancel()
    for _ in range(100):
        if waits.done():
            break
        loop.now += TICK_S
        loop.run_due()
    assert waits.done()
    assert not waits.cancelled()
    assert not pace._waiting


def test_small_pieces_take_turns_while_dear_ones_take_much(loop: Loop) -> None:
    """A provider may put work for a millisecond into two kilobytes, to many at once; its agent's pieces then wait."""
    pace = AnswerPace()
    assert not pace.due("a", LARGE_BYTES)
    assert pace.due("a", LARGE_BYTES + 1)
    for _ in range(100):
        pace.small("a", DEAR_S / 2)
    assert not pace.due("a", 1)
    often = round(DEAR_FROM_S / DEAR_S)
    for _ in range(often):
        pace.small("a", DEAR_S * 1.01)
    assert pace.due("a", 1)
    assert not pace.due("b", 1)
    loop.now += DEAR_FOR_S / 2
    for _ in range(often):
        pace.small("a", DEAR_S * 1.01)
    loop.now += DEAR_FOR_S / 2 + 0.1
    assert pace.due("a", 1)
    loop.now += DEAR_FOR_S
    assert not pace.due("a", 1)


def test_piece_that_only_waited_makes_none_dear(loop: Loop) -> None:
    """A thread that computes takes the interpreter away for milliseconds, now and then in the middle of a piece."""
    pace = AnswerPace()
    for _ in range(1000):
        pace.small("a", 10 * DEAR_S)
        loop.now += 10 * DEAR_S / SHARE
        assert not pace.due("a", 1)


@pytest.mark.usefixtures("loop")
def test_dear_small_piece_counts_for_the_share() -> None:
    """What it took is taken from what may be worked at once."""
    pace = AnswerPace()
    pace.small("a", 2 * AHEAD_S)
    turn = pace.turn("b")
    with contextlib.closing(turn):
        assert turn.send(None) is not None  # it waits
