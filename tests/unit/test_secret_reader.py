"""Secrets read for an event loop from places that do not answer."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from reconciler.core.errors import SecretMissing, SecretsUnavailable
from reconciler.secrets.reader import THREADS_MAX, SecretReader
from reconciler.secrets.secret_value import SecretValue


class Folder:
    """Values, of which some do not come before `open` is set."""

    def __init__(self, *, slow: tuple[str, ...] = ()) -> None:
        self.slow = slow
        self.open = threading.Event()
        self.asked: Counter[str] = Counter()

    def at_hand(self, name: str, key: str) -> SecretValue | None:
        """Give what is in memory."""
        return SecretValue(key.encode()) if name == "known" else None

    def resolve(self, name: str, key: str) -> SecretValue:
        """Give a value."""
        self.asked[name] += 1
        if name.startswith(self.slow):
            self.open.wait(20)
        if name == "missing":
            raise SecretMissing("secret missing does not exist")
        if name == "bug":
            raise ZeroDivisionError
        return SecretValue(f"{name}:{key}".encode())


def run(work: Coroutine[Any, Any, None], folder: Folder) -> None:
    """Run a test's coroutine, and let the threads go afterwards."""

    async def bounded() -> None:
        async with asyncio.timeout(15):
            await work

    try:
        asyncio.run(bounded())
    finally:
        folder.open.set()


def test_value_that_does_not_come_keeps_nobody_else_waiting() -> None:
    """While one is awaited, others are given; many who wait for it cause one look; it is given when it comes."""
    folder = Folder(slow=("hung",))

    async def work() -> None:
        reader = SecretReader(folder)
        waiting = [asyncio.create_task(reader.read("hung", "k")) for _ in range(50)]
        await asyncio.sleep(0)
        assert (await reader.read("quick", "k")).reveal() == b"quick:k"
        assert (await reader.read("known", "k")).reveal() == b"k"
        assert not any(task.done() for task in waiting)
        folder.open.set()
        assert {value.reveal() for value in await asyncio.gather(*waiting)} == {b"hung:k"}
        assert folder.asked == {"hung": 1, "quick": 1}

    run(work(), folder)


def test_value_that_never_comes_is_unavailable_and_then_at_once() -> None:
    """Whoever asks later is not kept waiting again; when it comes after all, the next one has it."""
    folder = Folder(slow=("hung",))

    async def work() -> None:
        reader = SecretReader(folder, read_s=0.05)
        for _ in range(3):
            with pytest.raises(SecretsUnavailable, match="does not answer"):
                await reader.read("hung", "k")
        assert folder.asked == {"hung": 1}
        folder.open.set()
        while True:
            try:
                assert (await reader.read("hung", "k")).reveal() == b"hung:k"
                return
            except SecretsUnavailable:
                await asyncio.sleep(0)

    run(work(), folder)


def test_threads_are_bounded_and_used_again() -> None:
    """However many values do not come, there are so many threads at most; values that come share one."""
    folder = Folder(slow=("hung",))

    async def work() -> None:
        before = threading.active_count()
        reader = SecretReader(folder, read_s=0.05)
        for number in range(20):
            await reader.read(f"quick-{number}", "k")
        assert threading.active_count() - before <= 2
        tasks = [reader.read(f"hung-{number}", "k") for number in range(3 * THREADS_MAX)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, SecretsUnavailable) for one in found)
        assert threading.active_count() - before <= THREADS_MAX

    run(work(), folder)


def test_what_goes_wrong_in_the_thread_reaches_who_waits() -> None:
    """A missing secret and a bug are told as they are, each time."""
    folder = Folder()

    async def work() -> None:
        reader = SecretReader(folder)
        for _ in range(2):
            with pytest.raises(SecretMissing, match="does not exist"):
                await reader.read("missing", "k")
            with pytest.raises(ZeroDivisionError):
                await reader.read("bug", "k")

    run(work(), folder)
