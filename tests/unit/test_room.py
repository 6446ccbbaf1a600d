"""Room for large bodies: never more than there is, in turn, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import random

from reconciler.gateway.room import Room


def test_who_finds_no_room_waits_for_it() -> None:
    """A body that does not fit waits until what was held is given back; another agent's does not wait with it."""

    async def main() -> None:
        room = Room(total=100, each=60)
        await room.take("greedy", 60)
        waits = asyncio.create_task(room.take("greedy", 1))
        await room.take("modest", 40)
        await asyncio.sleep(0)
        assert not waits.done()
        room.give("greedy", 60)
        await waits

    asyncio.run(main())


def test_large_body_is_not_overtaken_for_ever() -> None:
    """What waits for room in all is let in before whoever came later, however small that is."""

    async def main() -> None:
        room = Room(total=100, each=100)
        await room.take("a", 60)
        large = asyncio.create_task(room.take("b", 90))
        await asyncio.sleep(0)
        small = asyncio.create_task(room.take("c", 10))
        await asyncio.sleep(0)
        assert (large.done(), small.done()) == (False, False)
        room.give("a", 60)
        await large
        await small

    asyncio.run(main())


def test_room_is_never_exceeded_nor_lost() -> None:
    """Many agents that take, give up and give back in any order never hold too much, and leave all of it free."""

    async def main() -> None:
        room, choice, held = Room(total=100, each=60), random.Random(7), [0]  # noqa: S311 (no secret)

        async def one(agent: str) -> None:
            size = choice.randint(1, 60)
            try:
                async with asyncio.timeout(choice.choice([0.0, 0.001, 5.0])):
                    await room.take(agent, size)
            except TimeoutError:
                return
            held[0] += size
            assert held[0] <= 100
            await asyncio.sleep(choice.choice([0.0, 0.001]))
            held[0] -= size
            room.give(agent, size)

        await asyncio.gather(*(one(choice.choice("abc")) for _ in range(500)))
        await room.take("d", 60)
        await room.take("e", 40)

    asyncio.run(main())
