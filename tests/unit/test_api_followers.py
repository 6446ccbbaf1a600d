"""Those who follow the log by the HTTP API look in few threads, whose turns no token has alone."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from reconciler.admin import questions
from reconciler.admin.api import Api
from reconciler.admin.questions import FOLLOWERS_MAX, THREADS, Looks
from reconciler.core.errors import CouldNotRun

HALF = FOLLOWERS_MAX // 2


class Slow:
    """Looks that take until they are let; counts who looks, and the most who did at a time."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.begun: Counter[str] = Counter()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._lock = threading.Lock()

    def of(self, owner: str) -> Any:
        """Give a look of a token."""

        def look(deadline: float) -> str:
            assert deadline > 0
            with self._lock:
                self.begun[owner] += 1
                self.now[owner] += 1
                self.most[owner] = max(self.most[owner], self.now[owner])
                self.most["all"] = max(self.most["all"], self.now.total())
            assert self.free.wait(10)
            with self._lock:
                self.now[owner] -= 1
            return owner

        return look


async def begun(slow: Slow, owner: str, number: int) -> None:
    """Wait until so many looks of a token have begun."""
    while slow.begun[owner] < number:
        await asyncio.sleep(0.001)


def test_few_look_at_a_time_and_half_of_them_for_one_token() -> None:
    """Each look took a thread of its own, of those that everything else in the daemon uses."""
    slow = Slow()

    async def follow() -> None:
        looks = Looks(asyncio.Event())
        mine = [asyncio.create_task(looks.look("one", slow.of("one"))) for _ in range(HALF)]
        await begun(slow, "one", 1)
        others = [asyncio.create_task(looks.look("other", slow.of("other"))) for _ in range(HALF)]
        await asyncio.wait_for(begun(slow, "other", 1), 10)
        slow.free.set()
        assert Counter(await asyncio.gather(*mine, *others)) == {"one": HALF, "other": HALF}
        looks.close()

    asyncio.run(follow())
    assert slow.most == {"one": THREADS // 2, "other": THREADS // 2, "all": THREADS}


def test_who_leaves_while_it_looks_makes_no_room_for_another_look() -> None:
    """Who follows and leaves again and again has one thread at most: what it began goes on without it."""
    slow = Slow()

    async def follow() -> None:
        looks = Looks(asyncio.Event())
        for _ in range(3):
            going = asyncio.create_task(looks.look("one", slow.of("one")))
            await begun(slow, "one", 1)
            await asyncio.sleep(0)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
        assert slow.begun["one"] == 1
        other = asyncio.create_task(looks.look("other", slow.of("other")))
        await asyncio.wait_for(begun(slow, "other", 1), 10)
        slow.free.set()
        assert await other == "other"
        assert await asyncio.wait_for(looks.look("one", slow.of("one")), 10) == "one"
        looks.close()

    asyncio.run(follow())


def test_token_rests_after_a_look_as_long_as_that_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other followers wait then, and nobody else; the daemon's end is waited for by none."""
    now = iter(range(0, 10**9, 3600))
    monkeypatch.setattr(questions, "time", SimpleNamespace(monotonic=lambda: float(next(now))))

    async def follow() -> None:
        stopping = asyncio.Event()
        looks = Looks(stopping)
        assert await looks.look("one", lambda _: "first") == "first", "whoever looked has it at once"
        resting = asyncio.create_task(looks.look("one", lambda _: "second"))
        assert await asyncio.wait_for(looks.look("other", str), 10)
        assert not resting.done()
        stopping.set()
        assert await asyncio.wait_for(resting, 10) == "second"
        looks.close()

    asyncio.run(follow())


class Tail:
    """A log that is looked at until it is let."""

    notice, behind = "", False

    def __init__(self, slow: Slow) -> None:
        self.look = slow.of("one")
        self.closed = 0

    def close(self) -> None:
        """Note it."""
        self.closed += 1


def test_followers_who_wait_for_their_turn_end_when_the_daemon_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an error: the daemon's end is none. The look that is under way is the last one."""
    slow = Slow()
    monkeypatch.setattr("reconciler.admin.api._told", lambda _: [])
    tails = [Tail(slow) for _ in range(HALF)]
    request = Request({"type": "http", "state": {"owner": "one"}})

    async def follow() -> None:
        stopping = asyncio.Event()
        api = Api(cast("Any", SimpleNamespace(log=lambda: None)), cast("Any", None), str, str, stopping)
        monkeypatch.setattr(api, "_caller", lambda _: "caller")

        async def sent(tail: Tail) -> bytes:
            return b"".join([piece async for piece in api._stream(cast("Any", tail), request, [])])

        going = [asyncio.create_task(sent(tail)) for tail in tails]
        await begun(slow, "one", 1)
        stopping.set()
        api.end_following()
        ended, _ = await asyncio.wait(going, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        while len(ended) < HALF - 1:
            ended, _ = await asyncio.wait(going, timeout=0.01)
        slow.free.set()
        assert set(await asyncio.gather(*going)) == {b": following\n\n"}
        with pytest.raises(CouldNotRun, match="followed no more"):
            await api._looks.look("one", slow.of("one"))
        api.close()

    asyncio.run(follow())
    assert slow.begun["one"] == 1
    assert {tail.closed for tail in tails} == {1}
