"""A crowd that takes all connections of a port: who has a key keeps its own, and a newcomer finds one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.listening.turns import Pace, Turns
from tests.support import until
from tests.support_listening import Echo, Wire, wired

PLACES = 16
STRANGER = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
UNSENT = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n"


def keyed(key: str) -> bytes:
    """Write a request with a key."""
    return f"GET / HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\r\n".encode()


def answered(wire: Wire, request: bytes) -> int:
    """Ask, and give the status of the answer, 0 if there is none."""
    wire.send(request)
    answer = wire.answer()
    return answer.status if answer is not None else 0


@contextlib.contextmanager
def small() -> Iterator[Echo]:
    """Run a port of few connections whose application knows every key."""
    with Echo() as echo:
        app = echo.door.app

        async def knowing(scope: Any, receive: Any, send: Any) -> None:
            scope["state"]["owner"] = dict(scope["headers"]).get(b"x-api-key", b"").decode()
            await app(scope, receive, send)

        echo.door.app = knowing
        echo.door.connections_max = PLACES
        yield echo


@pytest.mark.parametrize("request_", [STRANGER, UNSENT])
def test_crowd_that_asks_closes_nobody_who_has_a_key(request_: bytes) -> None:
    """Who waits for a turn, or has not sent its body, is not idle, and gives way all the same."""
    with small() as echo, contextlib.ExitStack() as stack:
        known = stack.enter_context(wired(echo.port))
        assert answered(known, keyed("robot")) == 200
        if request_ == STRANGER:
            echo.door.turns = Turns(Pace(at_once=1, a_second=0.001))
        for _ in range(3 * PLACES):
            stack.enter_context(wired(echo.port)).send(request_)
        until("the port to be full", lambda: echo.connections == PLACES)
        assert answered(known, keyed("robot")) == 200
        echo.door.turns = Turns()
        assert answered(stack.enter_context(wired(echo.port)), STRANGER) == 200


def test_agent_that_holds_all_connections_keeps_nobody_out() -> None:
    """It has shown its key on each, and newcomers have not yet: two of them do not close each other."""
    with small() as echo, contextlib.ExitStack() as stack:
        for _ in range(PLACES):
            assert answered(stack.enter_context(wired(echo.port)), keyed("greedy")) == 200
        newcomers = [stack.enter_context(wired(echo.port)) for _ in range(2)]
        until("both to be let in", lambda: len(echo.new) == 2)
        assert [answered(newcomer, keyed("robot")) for newcomer in newcomers] == [200, 200]
