"""A crowd without a key, on both ports: it waits for itself, and not those who have one."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from tests.support_gateway import ROBOT, Bench
from tests.support_listening import Echo, Wire, wired

CROWD, AHEAD, ASKED = 300, 400, 5
STRANGER = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


def answered(wire: Wire, request: bytes) -> int:
    """Ask, and give the status of the answer."""
    wire.send(request)
    answer = wire.answer()
    assert answer is not None
    return answer.status


def keyed(path: str, key: str) -> bytes:
    """Write a request with a key."""
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n".encode()


@pytest.mark.parametrize("port", ["agents", "people"])
def test_who_has_shown_a_key_waits_for_no_stranger(bench: Bench, port: Literal["agents", "people"]) -> None:
    """Many connections have sent hundreds of requests ahead: each of a stranger waits for all of these connections."""
    if port == "agents":
        number, request = bench.port, keyed("/v1/models", ROBOT)
    else:
        number = bench.daemon.port
        request = keyed("/api/v1/state", (bench.site.root / "data" / "admin.token").read_text().strip())
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        known, stranger = (stack.enter_context(wired(number)) for _ in range(2))
        assert answered(known, request) == 200
        for _ in range(CROWD):
            stack.enter_context(wired(number)).send(STRANGER * AHEAD)
        waiting = thread.submit(lambda: [answered(stranger, STRANGER) for _ in range(ASKED)])
        count = 0
        while not waiting.done():
            assert answered(known, request) == 200
            count += 1
        assert set(waiting.result()) == {200}
        assert count > 3 * ASKED


def test_who_waits_may_leave() -> None:
    """Nothing is told of a connection that was closed before its turn, and the others get theirs."""
    told: list[object] = []
    with Echo() as echo:
        echo.watch(told.append)
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                wires = [stack.enter_context(wired(echo.port)) for _ in range(100)]
                for wire in wires:
                    wire.send(STRANGER * 100)
        with wired(echo.port) as last:
            assert answered(last, STRANGER) == 200
    assert not told
