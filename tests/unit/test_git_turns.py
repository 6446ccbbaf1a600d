"""Turns for git: how many run and wait, of one token and in all, and what becomes of those who leave."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from starlette.types import Message

from reconciler.admin.turns import Busy, Left, OwnerTurns, Waiting


class Clients:
    """Clients of some owners, which run until they are told to end."""

    def __init__(self, turns: OwnerTurns) -> None:
        self._turns = turns
        self.running: list[str] = []
        self.refused: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *owners: str) -> None:
        """Let one client of each owner come."""
        self.tasks += [asyncio.create_task(self._run(owner)) for owner in owners]
        await self.settle()

    async def leave(self, number: int) -> None:
        """Let a client leave."""
        self.tasks[number].cancel()
        await self.settle()

    async def settle(self) -> None:
        """Let everybody go as far as he can."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def _run(self, owner: str) -> None:
        try:
            async with self._turns.turn(owner):
                self.running.append(owner)
                try:
                    await asyncio.Event().wait()
                finally:
                    self.running.remove(owner)
        except Busy:
            self.refused.append(owner)


def test_owner_has_half_of_the_turns_and_of_the_places() -> None:
    """The rest is for others, who pass by those who have to wait for their own."""

    async def work() -> None:
        clients = Clients(OwnerTurns(4, 6))
        await clients.come(*"mmmmmm")
        assert (clients.running, clients.refused) == (["m", "m"], ["m"])
        await clients.come(*"abcdef")
        assert clients.running == ["m", "m", "a", "b"]
        assert clients.refused == ["m", "f"]
        await clients.leave(0)
        assert clients.running == ["m", "a", "b", "m"]
        await clients.leave(7)
        assert clients.running == ["m", "a", "m", "c"]

    asyncio.run(work())


def test_who_leaves_gives_the_place_up() -> None:
    """A place of one who waited is free again, and no turn is lost to him."""

    async def work() -> None:
        clients = Clients(OwnerTurns(2, 2))
        await clients.come("a", "a", "a")
        assert clients.refused == ["a"]
        await clients.leave(1)
        await clients.come("a")
        assert clients.refused == ["a"]
        clients.tasks[0].cancel()
        clients.tasks[3].cancel()
        await clients.settle()
        await clients.come("a")
        assert clients.running == ["a"]

    asyncio.run(work())


def test_close_lets_nobody_begin() -> None:
    """It refuses those who wait and come, and lasts until the last one has ended."""

    async def work() -> None:
        turns = OwnerTurns(2, 2)
        clients = Clients(turns)
        await clients.come("a", "a")
        closing = asyncio.create_task(turns.close())
        await clients.settle()
        await clients.come("b")
        assert clients.refused == ["a", "b"]
        assert not closing.done()
        await clients.leave(0)
        assert closing.done()

    asyncio.run(work())


@pytest.mark.parametrize("leaves", [False, True])
def test_waiting_client_is_heard(leaves: bool) -> None:
    """What it sends is kept for who reads afterwards; if it leaves, nobody waits any more."""

    async def work() -> None:
        messages: asyncio.Queue[Message] = asyncio.Queue()
        sent: Message = {"type": "http.request", "body": b"x", "more_body": True}
        messages.put_nowait(sent)
        come = asyncio.Event()
        waiting = Waiting(messages.get)

        async def turn() -> None:
            await come.wait()

        task = asyncio.create_task(waiting.until(turn()))
        await asyncio.sleep(0.01)
        if leaves:
            messages.put_nowait({"type": "http.disconnect"})
            with pytest.raises(Left):
                await task
        else:
            come.set()
            await task
            messages.put_nowait({"type": "http.disconnect"})
            assert await waiting.receive() == sent
            assert (await waiting.receive())["type"] == "http.disconnect"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Left):
            await task

    asyncio.run(work())
