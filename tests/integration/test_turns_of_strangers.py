"""A crowd without a key, on both ports: it waits for itself, and not those who have one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from reconciler.daemon.serve import ADMIN_STRANGERS
from reconciler.listening import connection
from reconciler.listening.framing import CHUNKS_A_TURN, Chunked
from reconciler.listening.turns import AT_ONCE, THROWN, Pace, Turns
from tests.support import until
from tests.support_gateway import ROBOT, Bench
from tests.support_listening import Echo, Wire, wired

CROWD, AHEAD, ASKED = 300, 400, 5
BURST, A_TURN_MAX = 200, 16
STRANGER = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n"


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


def test_burst_of_connects_is_let_in_a_few_a_turn() -> None:
    """What is asked on other connections goes on between them (docs/decisions/0098)."""
    let_in = [0]
    with Echo() as echo, contextlib.ExitStack() as stack:

        def turn() -> None:
            let_in.append(echo.connections)
            if let_in[-1] < BURST:
                echo._loop.call_soon(turn)

        with echo.busy():
            for _ in range(BURST):
                one = stack.enter_context(contextlib.closing(socket.socket()))
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", echo.port))
            echo._loop.call_soon_threadsafe(turn)
        until("all to be let in", lambda: let_in[-1] == BURST)
    assert max(later - before for before, later in itertools.pairwise(let_in)) <= A_TURN_MAX


def test_strangers_of_the_people_have_a_slower_pace(bench: Bench) -> None:
    """Both ports have one loop, and a crowd at each is no more than a crowd at one, and a quarter."""
    with wired(bench.daemon.port) as wire:
        began = time.monotonic()
        wire.send(STRANGER * (AT_ONCE + 200))
        assert [answer.status for _ in range(AT_ONCE + 200) if (answer := wire.answer())] == [200] * (AT_ONCE + 200)
        assert time.monotonic() - began > 200 / ADMIN_STRANGERS.a_second - 0.01


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


def test_who_takes_no_answer_ends_also_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next request waits for a turn while its last answer is not taken: the time for that goes on."""
    monkeypatch.setattr(connection, "SEND_S", 0.5)
    padded = b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 4000 + b"\r\n\r\n"
    with Echo(head_s=1.0) as echo, contextlib.ExitStack() as stack:
        for _ in range(60):
            slow = stack.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 200)
            slow.connect(("127.0.0.1", echo.port))
            slow.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                slow.send(padded * 15)
        until("connections to be open", lambda: echo.connections > 0)
        until("all of them to end", lambda: echo.connections == 0)


@pytest.mark.parametrize("reset", [False, True])
def test_who_has_left_is_not_in_line(reset: bool) -> None:
    """Thousands who ask and leave at once keep nobody waiting, however slowly the line moves."""
    with Echo() as echo:
        echo.door.turns = Turns(Pace(a_second=0.01))
        for _ in range(300):
            with wired(echo.port) as wire:
                wire.send(STRANGER)
                if reset:
                    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until("the line to be empty", lambda: not echo.door.turns.waiting and echo.connections == 0)
        echo.door.turns = Turns()
        with wired(echo.port) as last:
            assert answered(last, STRANGER) == 200


@pytest.mark.parametrize("garbage", [b"what is this?\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_garbage_takes_turns(garbage: bytes) -> None:
    """To refuse is as much work as to begin: of a crowd as many are refused at a tick as would be answered."""
    refused: list[int] = []

    class Counted(Turns):
        def _next(self, loop: asyncio.AbstractEventLoop) -> None:
            before = self.waiting
            super()._next(loop)
            refused.append(before - self.waiting)

    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.turns = Counted(Pace(a_second=100, a_tick=2))
        wires = [stack.enter_context(wired(echo.port)) for _ in range(AT_ONCE + 40)]
        with echo.busy():
            for wire in wires:
                wire.send(garbage)
        assert {answer.status for wire in wires for answer in wire.answers()} == {400}
    assert 0 < max(refused) <= 2


def test_large_head_takes_many_turns() -> None:
    """What it says costs more to look at: a stranger's pace is that of bytes too."""
    large = STRANGER[:-2] + b"x: " + b"y" * 30_000 + b"\r\n\r\n"
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.turns = Turns(Pace(a_second=0.01))
        for _ in range(1 + AT_ONCE // 30):
            assert answered(stack.enter_context(wired(echo.port)), large) == 200
        stack.enter_context(wired(echo.port)).send(large)
        until("it to wait", lambda: echo.door.turns.waiting == 1)


@pytest.mark.parametrize("path", [b"/refuse", b"/read"])
def test_what_is_thrown_away_has_one_budget(monkeypatch: pytest.MonkeyPatch, path: bytes) -> None:
    """Tiny chunks behind a refusal, or of who has shown no key, are paced together, on however many connections."""
    taken: list[int] = []
    take = Chunked.take

    def counted(body: Chunked, data: bytes) -> tuple[bytes, bytes]:
        found = take(body, data)
        taken.append(body.chunks)
        return found

    monkeypatch.setattr(Chunked, "take", counted)
    post = b"POST %b HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n" % path
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.thrown = Turns(THROWN._replace(at_once=1000, a_second=0.01))
        for _ in range(20):
            wire = stack.enter_context(wired(echo.port))
            wire.send(post)
            if path == b"/refuse":
                assert wire.answer() is not None
            wire.send(b"1\r\na\r\n" * 2500)
        until("all to wait", lambda: echo.door.thrown.waiting > 15)
        assert sum(taken) < 1000 + 21 * CHUNKS_A_TURN
    assert sum(taken) < 1000 + 21 * CHUNKS_A_TURN


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nx: ", POST % b"/refuse", POST % b"/read"])
def test_little_pieces_that_end_nothing_have_one_budget(begin: bytes) -> None:
    """A byte at a time takes the loop as long as 16 KiB at a time, in a head, in a body and after a refusal."""
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.thrown = Turns(THROWN._replace(at_once=10 * connection.LITTLE_TURNS, a_second=0.01))
        wires = [stack.enter_context(wired(echo.port)) for _ in range(20)]
        for wire in wires:
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.send(begin)
            if begin == POST % b"/refuse":
                assert wire.answer() is not None
        for _ in range(20):
            for wire in wires:
                wire.send(b"a")
            time.sleep(0.002)
        until("all to wait", lambda: echo.door.thrown.waiting == 20)


def test_pieces_of_a_strangers_head_have_one_budget() -> None:
    """Heads that never end cost nobody a turn, and are looked at piece by piece, of whatever size."""
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.thrown = Turns(THROWN._replace(at_once=10 * connection.LITTLE_TURNS, a_second=0.01))
        wires = [stack.enter_context(wired(echo.port)) for _ in range(20)]
        for _ in range(20):
            for wire in wires:
                wire.send(b"GET / HTTP/1.1\r\nx: ".ljust(2 * connection.LITTLE_BYTES, b"a"))
            time.sleep(0.002)
        until("all to wait", lambda: echo.door.thrown.waiting == 20)


def test_head_of_who_has_shown_a_key_waits_for_nothing() -> None:
    """It may come in any pieces that are not little."""
    with Echo() as echo, wired(echo.port) as wire:
        assert answered(wire, STRANGER) == 200
        echo.door.thrown = Turns(THROWN._replace(at_once=0, a_second=0.01))
        (known,) = echo._listener._server.server_state.connections
        known._shown["owner"] = "robot"
        for at in range(0, 8000, 1000):
            wire.send((STRANGER[:-2] + b"x: " + b"y" * 8000)[at : at + 1000])
            time.sleep(0.005)
        assert answered(wire, b"\r\n\r\n") == 200


def test_little_pieces_that_end_something_wait_for_nothing() -> None:
    """Clients send a small body behind its head."""
    with Echo() as echo, wired(echo.port) as wire:
        echo.door.thrown = Turns(THROWN._replace(at_once=0, a_second=0.01))
        for _ in range(20):
            wire.send(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\n")
            time.sleep(0.002)
            assert answered(wire, b"a") == 200


def test_line_has_an_end() -> None:
    """Beyond it a stranger is refused at once, in words."""
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.turns = Turns(Pace(a_second=1, waiting=5))
        for _ in range(AT_ONCE):
            assert answered(stack.enter_context(wired(echo.port)), STRANGER) == 200
        for _ in range(5):
            stack.enter_context(wired(echo.port)).send(STRANGER)
        until("five to wait", lambda: echo.door.turns.waiting == 5)
        assert answered(stack.enter_context(wired(echo.port)), STRANGER) == 503
