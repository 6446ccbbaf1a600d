"""A deadline that is set only where something is waited for behaves as one that is always set."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from reconciler.gateway.waiting import within


def run(work: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine on a loop of its own."""
    return asyncio.run(work)


async def after(seconds: float, result: object = "done", error: BaseException | None = None) -> object:
    """Give a result, or raise, after a wait; without one for less than 0."""
    if seconds >= 0:
        await asyncio.sleep(seconds)
    if error is not None:
        raise error
    return result


@pytest.mark.parametrize("seconds", [-1, 0, 0.01])
def test_within_gives_what_the_work_gives(seconds: float) -> None:
    """The result comes through, whether the work waited or not."""
    assert run(within(5, after(seconds))) == "done"


@pytest.mark.parametrize("seconds", [-1, 0, 0.01])
def test_within_raises_what_the_work_raises(seconds: float) -> None:
    """An error comes through unchanged, whether the work waited or not."""
    with pytest.raises(OSError, match="lost"):
        run(within(5, after(seconds, error=OSError("lost"))))


def test_within_ends_work_that_takes_too_long() -> None:
    """Work that waits longer than it may is cancelled, and that is a TimeoutError."""
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(TimeoutError):
        run(within(0.01, work()))
    assert seen == ["cancelled"]


def test_within_lets_a_cancellation_through() -> None:
    """Who is cancelled while the work waits gets CancelledError, and the work is cancelled with it."""

    async def outer() -> list[str]:
        seen: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                seen.append("ended")

        task = asyncio.create_task(within(60, work()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen

    assert run(outer()) == ["ended"]


def test_work_may_wait_often() -> None:
    """All its waits are passed on, also after an error that it took itself."""

    async def work() -> int:
        count = 0
        for number in range(5):
            try:
                await after(0, error=OSError() if number == 2 else None)
            except OSError:
                count += 10
            count += 1
        return count

    assert run(within(5, work())) == 15
