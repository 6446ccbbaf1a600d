"""Who asks for the metrics: one text for all who ask meanwhile, made after they asked."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.daemon import admin


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

    monkeypatch.setattr(admin, "generate_latest", made)
    scrapes = admin._Scrapes(SimpleNamespace(registry=None))  # type: ignore[arg-type]

    async def ask(late_s: float) -> None:
        await asyncio.sleep(late_s)
        asked = time.monotonic()
        text = await scrapes.text()
        assert begun[int(text) - 1] >= asked

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

    monkeypatch.setattr(admin, "generate_latest", made)
    scrapes = admin._Scrapes(SimpleNamespace(registry=None))  # type: ignore[arg-type]

    async def work() -> None:
        nonlocal fails
        found = await asyncio.gather(*(scrapes.text() for _ in range(3)), return_exceptions=True)
        assert all(isinstance(each, ValueError) for each in found)
        fails = False
        assert await scrapes.text() == b"text"

    asyncio.run(work())
