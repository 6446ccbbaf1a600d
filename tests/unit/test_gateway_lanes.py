"""Which of the processes that judge bodies has one: nobody's small body waits behind another agent's large one."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.gateway.body_pool import BodyPool, Lane
from reconciler.gateway.calls import Route
from reconciler.gateway.room import SMALL_BYTES_MAX
from reconciler.gateway.spool import Spool
from reconciler.gateway.surfaces import SURFACES

ROUTE = Route(SURFACES["openai"], "chat", version="v1")
LARGE = 32 * 1024 * 1024


class Recorded(BodyPool):
    """A pool that notes which lane was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.asked: list[Lane] = []

        async def ask(lane: Lane, *_: object) -> tuple[int, dict[str, object]]:
            self.asked.append(lane)
            return 1, {"operation": "chat", "names": ["a"]}

        monkeypatch.setattr(Lane, "ask", ask)
        monkeypatch.setattr(Lane, "drop", lambda *_: None)

    async def enter(self, agent: str, size: int) -> tuple[Lane, object]:
        """Have a body of an agent read, and give its lane and what drops it."""
        spool = Spool()
        spool.size = size
        call = await self.read(agent, spool, ROUTE, (), b"")
        return self.asked[-1], call.body


def test_small_bodies_and_other_agents_are_not_behind_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many agents there are, as long as one of them has what takes long."""

    async def go() -> None:
        pool = Recorded(monkeypatch)
        busy, body = await pool.enter("attacker", LARGE)
        for number in range(5):
            small, _ = await pool.enter(f"agent-{number}", SMALL_BYTES_MAX)
            other, _ = await pool.enter(f"agent-{number}", SMALL_BYTES_MAX + 1)
            assert len({busy, small, other}) == 3
        assert (await pool.enter("attacker", LARGE))[0] is busy  # and takes no second lane
        body.drop()
        pool.close()

    asyncio.run(go())
