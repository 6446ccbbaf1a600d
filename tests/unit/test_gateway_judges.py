"""A process that judges and dies, with bodies of several agents in it: only whose body it was asked about notices."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import struct
import termios
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from reconciler.gateway import body_pool
from reconciler.gateway.body_pool import BodyPool, Lane
from reconciler.gateway.calls import Call, Needs, Route
from reconciler.gateway.offloading import needs, write
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.spool import Spool
from reconciler.gateway.surfaces import SURFACES
from reconciler.providers import PROVIDERS
from tests.support import DEADLINE_S

ROUTE = Route(SURFACES["openai"], "chat", version="v1")
AGENTS = ("a", "b", "c")
OPENAI = PROVIDERS["openai"]


def spooled(agent: str) -> Spool:
    """Give a large body that says whose it is."""
    body = {"model": agent, "max_tokens": 50, "messages": [{"role": "user", "content": agent * 100_000}]}
    spool = Spool()
    spool.add(json.dumps(body).encode())
    return spool


async def asked(call: Call) -> Needs:
    """Ask what a body needs."""
    return await needs(call, OPENAI, "gpt")


async def written(call: Call, *, last: bool) -> dict[str, Any]:
    """Have a body written as it goes upstream."""
    data = await write(call, "gpt", 50, OPENAI, last=last)
    assert isinstance(data, Spool)
    text = b"".join(data.pieces())
    data.close()
    found: dict[str, Any] = json.loads(text)
    return found


def pid(lane: Lane) -> int:
    """Give the process of a lane."""
    assert lane._process is not None
    return lane._process.pid


def gone(lane: Lane) -> bool:
    """Tell whether it has ended, also if nobody has asked for its exit code."""
    return Path(f"/proc/{pid(lane)}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


async def until(found: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(DEADLINE_S):
        while not found():
            await asyncio.sleep(0.005)


def asks(lane: Lane) -> bool:
    """Tell whether a question is on its way to the process, which has not taken it."""
    assert lane._socket is not None
    return bool(struct.unpack("i", fcntl.ioctl(lane._socket, termios.TIOCOUTQ, b"\0" * 4))[0])


def with_bodies(work: Callable[[BodyPool, Lane, dict[str, Call]], Awaitable[None]]) -> None:
    """Have a body of each agent in one process, and all let go of in the end."""

    async def go() -> None:
        pool = BodyPool(1)
        calls = {agent: await pool.read(agent, spooled(agent), ROUTE, (), b"") for agent in AGENTS}
        try:
            await work(pool, pool._lanes[0], calls)
        finally:
            for call in calls.values():
                call.body.drop()  # type: ignore[attr-defined]
            pool.close()

    asyncio.run(go())


async def refused(work: Coroutine[Any, Any, object]) -> None:
    """See that a client is told to try again, and when."""
    with pytest.raises(Refusal) as told:
        await work
    assert (told.value.status, told.value.reason) == (503, "busy")
    assert dict(told.value.headers) == {"retry-after": "1"}
    assert "try again" in told.value.message


def test_bodies_in_a_process_that_dies_are_read_again() -> None:
    """Each is judged and written by the next process as it was by the first."""

    async def work(_: BodyPool, lane: Lane, calls: dict[str, Call]) -> None:
        before = {agent: await asked(call) for agent, call in calls.items()}
        os.kill(pid(lane), signal.SIGKILL)
        await until(lambda: gone(lane))
        assert {agent: await asked(call) for agent, call in calls.items()} == before
        os.kill(pid(lane), signal.SIGKILL)
        await until(lambda: gone(lane))
        for agent, call in calls.items():
            found = await written(call, last=True)
            assert found["messages"][0]["content"] == agent * 100_000

    with_bodies(work)


@pytest.mark.parametrize("how", ["killed", "bound"])
def test_only_the_body_that_a_process_dies_of_is_refused(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that one is not given to the next process: it may be why. Its time is over just as well as its life."""
    if how == "bound":
        monkeypatch.setattr(body_pool, "JUDGE_S", 3.0)

    async def work(_: BodyPool, lane: Lane, calls: dict[str, Call]) -> None:
        before = await asked(calls["b"])
        first = pid(lane)
        os.kill(first, signal.SIGSTOP)
        deadly = asyncio.create_task(asked(calls["a"]))
        await until(lambda: asks(lane))
        others = [asyncio.create_task(asked(calls[agent])) for agent in "bc"]
        if how == "killed":
            os.kill(first, signal.SIGKILL)
        await refused(deadly)  # type: ignore[arg-type]
        assert [await other for other in others] == [before] * 2
        second = pid(lane)
        await refused(asked(calls["a"]))
        assert pid(lane) == second
        assert (await written(calls["b"], last=False))["messages"][0]["content"] == "b" * 100_000

    with_bodies(work)


def test_process_that_died_is_not_replaced_for_what_is_dropped() -> None:
    """Nor does a body that is dropped leave anything open."""

    async def work(_: BodyPool, lane: Lane, calls: dict[str, Call]) -> None:
        os.kill(pid(lane), signal.SIGKILL)
        await until(lambda: gone(lane))
        died = pid(lane)
        await asyncio.get_running_loop().run_in_executor(lane._thread, lambda: None)
        calls.pop("a").body.drop()  # type: ignore[attr-defined]
        await asyncio.get_running_loop().run_in_executor(lane._thread, lambda: None)
        assert pid(lane) == died
        await asked(calls["b"])

    with_bodies(work)


def test_body_is_let_go_when_it_was_written_for_the_last_time() -> None:
    """It is sent for minutes: until then nobody has to have it too."""

    async def work(pool: BodyPool, _: Lane, __: dict[str, Call]) -> None:
        spool = spooled("d")
        call = await pool.read("d", spool, ROUTE, (), b"")
        await written(call, last=False)
        assert spool.fileno() >= 0
        await written(call, last=True)
        assert spool.fileno() == -1
        call.body.drop()  # type: ignore[attr-defined]

    with_bodies(work)
