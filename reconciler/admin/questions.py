"""Questions to the log from inside the daemon: in threads, on read-only connections, bounded in time and number.

The gateway's loop runs in the same process. A question never runs on it, pauses between events,
ends at its deadline, and waits for a free thread or is refused. What it finds may be large, and counts until its client
has taken it. Nothing here writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from reconciler.admin.turns import Busy, OwnerTurns
from reconciler.core.errors import CouldNotRun
from reconciler.log.store import Log, Reader

T = TypeVar("T")

THREADS: Final = 2
"""Questions that are answered at a time, half of them with one token: who asks long ones keeps one thread at most."""
WAITING_MAX: Final = 16
"""Questions that are asked or wait, half of them with one token; more are refused."""
UNTAKEN_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of answers that their clients have not taken, half of them with one token; beyond it no question begins."""
SECONDS_MAX: Final = 10.0
"""How long a question may take from its beginning."""
FOLLOWERS_MAX: Final = 16
"""Clients that follow the log, half of them with one token."""

Question = Callable[[Reader], T]


class Queries:
    """Answers questions to one log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._pool = ThreadPoolExecutor(THREADS, "pai-query")
        self._turns = OwnerTurns(THREADS, WAITING_MAX - THREADS, UNTAKEN_BYTES_MAX)

    async def ask(self, owner: str, question: Question[T], size: Callable[[T], int] = lambda _: 0) -> T:
        """Answer a question of `owner`. Raises what it raises, CouldNotRun if it takes too long or many are asked.

        So many bytes as `size` gives are kept for the client of `owner` then, until they are `taken`.
        """
        try:
            async with self._turns.turn(owner):
                answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, question)
                self._turns.keep(owner, size(answer))
                return answer
        except Busy:
            raise CouldNotRun("too many questions are being answered", "ask again in a moment") from None

    def taken(self, owner: str, size: int) -> None:
        """Say that a client has taken so many bytes, or will not."""
        self._turns.let_go(owner, size)

    def close(self) -> None:
        """Take no more questions; those being answered end at their deadline."""
        self._turns.refuse()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question[T]) -> T:
        with contextlib.closing(self._log.reader()) as log:
            log.be_gentle(time.monotonic() + SECONDS_MAX)
            return question(log)


class Looks:
    """The looks of those who follow the log, in threads of their own, half of them for one token.

    As long as a look took, no other of its token begins: who follows never takes all of the time. `stopping` ends that.
    """

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._pool = ThreadPoolExecutor(THREADS, "pai-follow")
        self._turns = OwnerTurns(THREADS, 2 * FOLLOWERS_MAX)
        self._resting: set[asyncio.Task[None]] = set()

    async def look(self, owner: str, look: Callable[[float], T]) -> T:
        """Have a follower of `owner` look, which is given its deadline. Raises what it raises, CouldNotRun at the end.

        The turn is held until the look has ended, also if the follower leaves meanwhile.
        """
        async with contextlib.AsyncExitStack() as waiting:
            try:
                await waiting.enter_async_context(self._turns.turn(owner))
            except Busy:
                raise CouldNotRun("the log is followed no more", "follow it again in a moment") from None
            looking = asyncio.get_running_loop().run_in_executor(self._pool, look, time.monotonic() + SECONDS_MAX)
            resting = asyncio.create_task(self._rest(waiting.pop_all(), looking))
            self._resting.add(resting)
            resting.add_done_callback(self._resting.discard)
        return await asyncio.shield(looking)

    async def _rest(self, turn: contextlib.AsyncExitStack, looking: asyncio.Future[T]) -> None:
        async with turn:
            began = time.monotonic()
            await asyncio.wait({looking})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), time.monotonic() - began)

    def refuse(self) -> None:
        """Let nobody look any more."""
        self._turns.refuse()

    def close(self) -> None:
        """Let nobody look any more; looks that are under way end at their deadline."""
        self.refuse()
        self._pool.shutdown(wait=False, cancel_futures=True)
