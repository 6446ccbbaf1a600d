"""The loop's time that parsing takes."""

from __future__ import annotations

import asyncio

from reconciler.gateway.pace import PARSED_AHEAD_S, LoopShare


def test_what_waits_comes_in_by_agents() -> None:
    """One piece of each agent in turn, once the share is used up, and until then none waits."""
    done: list[str] = []

    async def work() -> None:
        parsing = LoopShare()
        assert not parsing.full()
        parsing.took(2 * PARSED_AHEAD_S)
        assert parsing.full()
        for agent in ("evil", "evil", "evil", "nice"):

            def parse(agent: str = agent) -> None:
                done.append(agent)
                parsing.took(2 * PARSED_AHEAD_S)

            parsing.later(agent, parse)
        async with asyncio.timeout(5):
            while len(done) < 4:
                await asyncio.sleep(0.001)

    asyncio.run(work())
    assert done == ["evil", "nice", "evil", "evil"]
