"""Who asks for the metrics: one text for all who ask meanwhile, made after they asked."""

from __future__ import annotations

import asyncio
import itertools
import time
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.admin import app


def test_many_who_ask_share_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is made at a time, and none is given to whoever came after it was begun."""
    begun: list[float] = []
    running = 0

    def made(_: Any) -> bytes:
        nonlocal running
        running += 1
        assert running == 1
        begun.append(time.monotonic())
        time.sleep(0.05)
        running -= 1
        return b"%d" % len(begun)

    monkeypatch.setattr(app, "generate_latest", made)
    scrapes = app._Scrapes(SimpleNamespace(registry=None))  # type: ignore[arg-type]

    async def ask(late_s: float) -> None:
        await asyncio.sleep(late_s)
        asked = time.monotonic()
        text = await scrapes.text()
        assert begun[int(text.data) - 1] >= asked

    async def work() -> None:
        await asyncio.gather(*(ask(number * 0.001) for number in range(300)))

    asyncio.run(work())
    assert 2 <= len(begun) <= 5


def test_failure_is_told_to_all_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next who asks gets a text again."""
    fails = True

    def made(_: Any) -> bytes:
        if fails:
            raise ValueError
        return b"text"

    monkeypatch.setattr(app, "generate_latest", made)
    scrapes = app._Scrapes(SimpleNamespace(registry=None))  # type: ignore[arg-type]

    async def work() -> None:
        nonlocal fails
        found = await asyncio.gather(*(scrapes.text() for _ in range(3)), return_exceptions=True)
        assert all(isinstance(each, ValueError) for each in found)
        fails = False
        assert (await scrapes.text()).data == b"text"

    asyncio.run(work())


class Client:
    """Takes what it is sent when it may."""

    def __init__(self, takes: bool) -> None:
        self.takes = asyncio.Event()
        self.status = 0
        self.bodies: list[bytes] = []
        if takes:
            self.takes.set()

    async def send(self, message: Any) -> None:
        """Take what is sent at once, and let what comes behind a body wait."""
        if self.bodies:
            await self.takes.wait()
        self.status = message.get("status", self.status)
        if message.get("body"):
            self.bodies.append(message["body"])


async def nothing() -> Any:
    """Receive nothing."""


def texts(monkeypatch: pytest.MonkeyPatch) -> app._Scrapes:
    """Give texts that are numbered."""
    count = itertools.count(1)
    monkeypatch.setattr(app, "generate_latest", lambda _: b"%d" % next(count) * 100)
    return app._Scrapes(SimpleNamespace(registry=None))  # type: ignore[arg-type]


def test_few_texts_are_held_however_many_take_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that come one after the other and read nothing share the last ones, and keep nobody out."""
    monkeypatch.setattr(app, "PLACE_S", 0.001)
    scrapes = texts(monkeypatch)

    async def work() -> None:
        clients = [Client(takes=False) for _ in range(50)]
        asked = []
        for client in clients:
            asked.append(asyncio.create_task(scrapes({"method": "GET"}, nothing, client.send)))
            while not client.bodies:
                await asyncio.sleep(0.001)
        assert len({id(client.bodies[0]) for client in clients}) <= app.TEXTS_MAX + 1
        last = Client(takes=True)
        await scrapes({"method": "GET"}, nothing, last.send)
        assert last.status == 200
        for client in clients:
            client.takes.set()
        await asyncio.gather(*asked)
        await scrapes({"method": "GET"}, nothing, last.send)
        assert last.bodies[1] not in [client.bodies[0] for client in clients]

    asyncio.run(work())


def test_few_answers_are_sent_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait in turn, and a crowd is told to come again."""
    monkeypatch.setattr(app, "PLACE_S", 3600)
    scrapes = texts(monkeypatch)

    async def work() -> None:
        clients = [Client(takes=False) for _ in range(app.UNDER_WAY_MAX + app.WAITING_MAX + 7)]
        asked = [asyncio.create_task(scrapes({"type": "http"}, nothing, client.send)) for client in clients]
        while sum(bool(client.status) for client in clients) < app.UNDER_WAY_MAX + 7:
            await asyncio.sleep(0.001)
        assert [client.status for client in clients if client.status] == [200] * app.UNDER_WAY_MAX + [503] * 7
        for client in clients:
            client.takes.set()
        await asyncio.gather(*asked)
        assert [client.status for client in clients].count(200) == app.UNDER_WAY_MAX + app.WAITING_MAX

    asyncio.run(work())
