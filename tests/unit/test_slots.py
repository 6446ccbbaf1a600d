"""Connections shared out by provider: none takes those of the others, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random

from reconciler.gateway.slots import Slots


def test_provider_that_takes_what_it_can_leaves_connections_to_others() -> None:
    """Alone it gets all that one may have, two get a third of everything each, and a further one still gets some."""

    async def most(slots: Slots, provider: str) -> int:
        count = 0
        while not slots.short(provider):
            await slots.take(provider)
            count += 1
        return count

    async def main() -> None:
        slots = Slots(12)
        assert await most(slots, "hanging") == 12
        assert await most(slots, "second") == 6
        assert await most(slots, "third") == 3
        assert await most(slots, "fourth") == 2

    asyncio.run(main())


def test_who_waits_for_one_provider_keeps_nobody_waiting_for_another() -> None:
    """Also who came later; a connection that is given back goes to who waits longest for it."""

    async def main() -> None:
        slots = Slots(1)
        await slots.take("hanging")
        first, second = (asyncio.create_task(slots.take("hanging")) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.wait_for(slots.take("other"), 1)
        slots.give("hanging")
        await asyncio.wait_for(first, 1)
        assert not second.done()
        second.cancel()
        await asyncio.wait((second,))
        slots.give("hanging")
        await asyncio.wait_for(slots.take("hanging"), 1)

    asyncio.run(main())


def test_nothing_is_lost_whoever_gives_up() -> None:
    """Tasks that take, wait, are cancelled and give back leave everything free."""

    async def use(slots: Slots, provider: str) -> None:
        await slots.take(provider)
        try:
            await asyncio.sleep(0)
        finally:
            slots.give(provider)

    async def main() -> None:
        dice = random.Random(1)  # noqa: S311
        slots = Slots(4)
        tasks = [asyncio.create_task(use(slots, dice.choice("abc"))) for _ in range(500)]
        while any(not task.done() for task in tasks):
            dice.choice(tasks).cancel()
            await asyncio.sleep(0)
        for _ in range(4):
            await asyncio.wait_for(slots.take("a"), 1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(slots.take("a"), 0.01)
            raise AssertionError("more than there are")

    asyncio.run(main())
