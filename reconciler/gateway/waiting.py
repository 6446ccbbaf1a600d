"""A deadline that costs nothing where nothing is waited for: most pieces are sent, and most bodies read, at once.

Setting and cancelling a timer costs more than either of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; from its first wait on it has so many seconds. Raises TimeoutError, and what `work` raises."""
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    async with asyncio.timeout(seconds):
        return await _rest(work, waits_for)


@coroutine
def _rest(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that has been started: wait for what it waits for, and hand it what comes of that."""
    while True:
        try:
            try:
                came = yield waits_for
            except BaseException as error:
                waits_for = work.throw(error)
            else:
                waits_for = work.send(came)
        except StopIteration as done:
            result: T = done.value
            return result
