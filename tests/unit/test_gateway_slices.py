"""However an answer is framed, and whatever its status, no more than a slice of it is metered in one turn."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest

from reconciler.gateway import exchange
from reconciler.gateway.admission import Held
from reconciler.gateway.books import Books
from reconciler.gateway.calls import Call, Credentials
from reconciler.gateway.client import Client
from reconciler.gateway.exchange import SLICE_BYTES, Exchange
from reconciler.gateway.pace import AnswerPace
from reconciler.gateway.streams import Array, Large, Sse
from reconciler.gateway.surfaces import SURFACES
from reconciler.providers import PROVIDERS
from tests.support_upstream import answering, framed, pool, run

SIZE = 3 * SLICE_BYTES
CALLS = {"chat": "openai", "messages": "anthropic", "responses": "openai", "generate": "gemini"}


def filled(unit: bytes) -> bytes:
    """Give so many of these."""
    return unit * (SIZE // len(unit))


BODIES = {
    "errors": b"[" + filled(b'{"error":1,"error":1},') + b"{}]",
    "events": filled(b'data:{"error":1,"error":1}\n\n'),
    "lines": filled(b":\n"),
    "one event": b"data:" + filled(b"a") + b"\n\n",
}


class Turns(AnswerPace):
    """Notes how many turns were taken."""

    count = 0

    async def turn(self, agent: str) -> None:
        """Take one."""
        self.count += 1
        await super().turn(agent)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("status", ["200 OK", "500 Oh"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", BODIES)
def test_answer_is_metered_in_slices_with_a_turn_each(
    monkeypatch: pytest.MonkeyPatch, body: str, stream: bool, status: str, kind: str
) -> None:
    """An answer of 128 KB that was no stream was metered at once: 186 ms in which nobody else was served."""
    fed: list[int] = []
    for framing in (Sse, Array, Large):

        def feed(self: Any, piece: bytes, *rest: Any, before: Any = framing.feed) -> Any:
            fed.append(len(piece))
            return before(self, piece, *rest)

        monkeypatch.setattr(framing, "feed", feed)
    monkeypatch.setattr(exchange.log, "info", Mock())

    async def work() -> None:
        for operation, provider in CALLS.items():
            fed.clear()
            surface = next(surface for surface in SURFACES.values() if operation in surface.judges)
            call = Call(operation, surface, ("x",), cast("Any", None), stream)
            async with answering(framed(BODIES[body], status=status, kind=kind)) as server, pool() as upstream:
                books = cast("Books", SimpleNamespace(resolve=AsyncMock(), forfeit_now=Mock()))
                carried = Exchange(books, upstream, Mock(), 1)
                carried.pace = turns = Turns()
                held = Held(
                    call, "r", "a", "b", PROVIDERS[provider], server.url, Credentials(), b"{}", 9, 5, input_given=False
                )
                await carried.run(held, Client(AsyncMock(), tuple), time.monotonic())
            assert max(fed, default=0) <= SLICE_BYTES
            assert sum(fed) in (0, len(BODIES[body]))
            assert turns.count >= sum(fed) // SLICE_BYTES

    run(work())
