"""Clients that misbehave on the wire: slow, endless, broken or gone, in the head, in the body, and in the answer."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.simulator import Fault
from tests.support import DEADLINE_S, Site, until
from tests.support_gateway import (
    PAIRS,
    ROBOT,
    SURFACE,
    Bench,
    asked,
    assert_books_balance,
    headers_of,
    opened,
    refused,
)

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def hasty(gateway_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give a running gateway that waits one second for a head."""
    with opened(gateway_template, tmp_path_factory.mktemp("hasty"), PAI_GATEWAY_HEAD_TIMEOUT="1s") as running:
        yield running


def wire(operation: str, name: str, *, headers: str = "", **options: object) -> bytes:
    """Give the bytes of a whole request."""
    path, body = asked(operation, name, **options)  # type: ignore[arg-type]
    data = json.dumps(body, separators=(",", ":")).encode()
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers_of(operation).items())
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{lines}{headers}content-length: {len(data)}\r\n\r\n"
    return head.encode() + data


@contextlib.contextmanager
def connected(bench: Bench) -> Iterator[socket.socket]:
    """Connect to the gateway."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", bench.port), timeout=DEADLINE_S)) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer whose length is named, and leave the connection open."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65536)
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(re.findall(rb"content-length: (\d+)", head)[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


class Memory:
    """The daemon's memory from now on."""

    def __init__(self, bench: Bench) -> None:
        self._folder = Path(f"/proc/{bench.daemon.process.pid}")
        (self._folder / "clear_refs").write_text("5")  # the highest so far is forgotten
        self._before = self._highest()

    def _highest(self) -> float:
        return int(re.findall(r"VmHWM:\s+(\d+) kB", (self._folder / "status").read_text())[0]) / 1024

    def grown_mib(self) -> float:
        """Give by how much its highest mark has risen."""
        return self._highest() - self._before


def assert_serves(bench: Bench) -> None:
    """Check that the gateway still serves others."""
    assert bench.ask("chat", "openai").status_code == 200


def test_slow_head_is_given_up(hasty: Bench) -> None:
    """A head that comes byte by byte, or not at all, is answered 408 and closed after its time; others are served."""
    with connected(hasty) as slow, connected(hasty) as silent:
        began = time.monotonic()
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
        while not select.select([slow], [], [], 0.05)[0]:
            slow.sendall(b"x")
            assert time.monotonic() - began < DEADLINE_S
        assert read_all(slow).startswith(b"HTTP/1.1 408")
        assert read_all(silent).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 10
    assert_serves(hasty)


def test_slow_head_is_given_up_while_others_are_answered(hasty: Bench) -> None:
    """The bound of a head holds also while another client's answer is under way."""
    hasty.simulator.fault(Fault(wait_s=1.9, model="gpt-4o-openai-free"))
    with ThreadPoolExecutor() as pool, connected(hasty) as slow:
        waiting = pool.submit(hasty.ask, "chat", "openai-free")
        slow.sendall(b"POST / HTTP/1.1\r\nx: ")
        assert read_all(slow).startswith(b"HTTP/1.1 408")
        assert not waiting.done()
        assert waiting.result().status_code == 200


def test_slow_head_on_a_kept_connection_is_given_up(hasty: Bench) -> None:
    """The bound of a head holds for the second request of a connection, and not for the pause before it."""
    with connected(hasty) as connection:
        connection.sendall(wire("chat", "openai"))
        assert read_answer(connection).startswith(b"HTTP/1.1 200")
        time.sleep(1.2)  # longer than a head may take: an idle connection is kept
        connection.sendall(wire("chat", "openai"))
        assert read_answer(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"POST /v1/chat")
        assert b"HTTP/1.1 408" in read_all(connection)


@pytest.mark.parametrize("flood", [b"x-%d: aaaaaaaaaaaaaaaaaaaaaaaa\r\n", b"x-%d: " + b"a" * 60_000 + b"\r\n"])
def test_header_flood_is_cut_off(bench: Bench, flood: bytes) -> None:
    """A head that grows without end is answered 431 and closed once it is over its size."""
    sent = 0
    with connected(bench) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
        number = 0
        while not select.select([connection], [], [], 0)[0]:
            with contextlib.suppress(ConnectionError):
                sent += connection.send(flood % number)
            number += 1
            assert sent < 4 * MIB, "the head is read without end"
        assert read_all(connection).startswith(b"HTTP/1.1 431")
    assert_serves(bench)


def test_answer_is_not_broken_by_what_follows_it(hasty: Bench) -> None:
    """A flood behind a whole request, on the same connection, does not touch that request's own answer."""
    hasty.simulator.fault(Fault(wait_s=1.2, model="gpt-4o-openai"))
    with connected(hasty) as connection:
        connection.sendall(wire("chat", "openai") + b"POST / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"usage"' in answer
    assert b"HTTP/1.1 4" not in answer.partition(b'"usage"')[0]
    assert_books_balance(hasty)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_of_100_mb_is_refused_and_never_held(bench: Bench, framing: str) -> None:
    """A body over 32 MiB gets its 413, although the client goes on sending; memory stays near what is allowed."""
    memory = Memory(bench)
    total, piece = 100_000_000, b"a" * MIB
    size = f"content-length: {total}" if framing == "length" else "transfer-encoding: chunked"
    with connected(bench) as connection:
        began = time.monotonic()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ROBOT}\r\n{size}\r\n\r\n"
        )
        connection.sendall(head.encode())
        if framing == "length":
            assert connection.recv(65536).startswith(b"HTTP/1.1 413"), "known from the head alone"
        for _ in range(total // MIB):
            connection.sendall(piece if framing == "length" else b"%x\r\n%s\r\n" % (len(piece), piece))
        if framing == "chunked":
            assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        assert time.monotonic() - began < 10
    assert memory.grown_mib() < 90
    assert_serves(bench)


def test_large_body_is_served(bench: Bench) -> None:
    """A body just below the bound goes through whole."""
    prompt = "a" * (31 * MIB)
    assert bench.ask("chat", "openai", prompt).status_code == 200
    assert bench.simulator.requests()[-1].bytes > 31 * MIB


@pytest.mark.parametrize("operation", ["chat", "messages", "generate"])
def test_refusal_of_a_large_body_has_the_shape_of_the_sdk(bench: Bench, operation: str) -> None:
    """Every surface words its 413 itself, and the connection can be used again."""
    name = {"chat": "openai", "messages": "anthropic", "generate": "gemini"}[operation]
    answer = bench.ask(operation, name, "a" * (33 * MIB))
    assert refused(operation, answer).status == 413
    assert bench.ask(operation, name).status_code == 200


def test_refused_client_cannot_hold_its_connection_by_sending_on(hasty: Bench) -> None:
    """A client that was refused, and goes on sending its body drop by drop, is closed after a while."""
    with connected(hasty) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < DEADLINE_S:
                connection.sendall(b"a")
                time.sleep(0.05)
        assert 0.5 < time.monotonic() - began < 10


@pytest.mark.parametrize(
    "request_line",
    [
        b"CONNECT localhost:443 HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET http://[::1 HTTP/1.1",
        b"GET http://evil.example/v1/models HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /%ff%fe HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET / HTTP/9.9",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"",
    ],
)
def test_odd_request_line_is_answered_or_closed(bench: Bench, request_line: bytes) -> None:
    """Whatever stands in a request line, the answer is a 4xx or a closed connection, and nothing is logged as a bug."""
    with connected(bench) as connection:
        connection.sendall(request_line + b"\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = read_all(connection)
    assert answer == b"" or re.match(rb"HTTP/1.1 4\d\d", answer), answer[:200]
    assert "Traceback" not in bench.daemon.log
    assert_serves(bench)


@pytest.mark.parametrize(
    "framing",
    [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: -1\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: gzip\r\n",
        "content-length: 0x10\r\n",
    ],
)
def test_ambiguous_framing_is_refused(bench: Bench, framing: str) -> None:
    """A request whose end is not clear is refused and its connection closed: nothing can hide behind it."""
    seen = len(bench.simulator.requests())
    with connected(bench) as connection:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ROBOT}\r\n{framing}\r\n"
        )
        connection.sendall(head.encode() + b"0\r\n\r\n" + wire("chat", "openai"))
        answer = read_all(connection)
    assert b"HTTP/1.1 4" in answer[:20]
    assert b"HTTP/1.1 200" not in answer
    assert len(bench.simulator.requests()) == seen


def test_client_that_leaves_at_any_byte_of_its_request_costs_nothing(bench: Bench) -> None:
    """Wherever in its head or body a client stops, nothing is reserved and nothing reaches a provider."""
    request = wire("chat", "openai")
    before, seen = len(bench.tokens()), len(bench.simulator.requests())
    for cut in range(len(request)):
        with connected(bench) as connection:
            connection.sendall(request[:cut])
    until("every connection to be closed", lambda: bench.metric("pai_requests_open") == 0)
    assert (len(bench.tokens()), len(bench.simulator.requests())) == (before, seen)
    assert_books_balance(bench)


@pytest.mark.parametrize(("operation", "provider"), PAIRS)
def test_client_that_leaves_at_any_byte_of_a_stream_is_settled(bench: Bench, operation: str, provider: str) -> None:
    """Wherever in a streamed answer the client leaves, what the provider charged is settled, never forfeited."""
    request = wire(operation, provider, headers="connection: close\r\n", say="say 3 tokens", stream=True)
    with connected(bench) as connection:
        connection.sendall(request)
        whole = len(read_all(connection))
    assert whole > 200
    step = 1 if (operation, provider) == ("chat", "openai") else 7
    settled = bench.outcomes(provider).count("settled")
    cuts = range(0, whole, step)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda cut: _leave(bench, request, cut), cuts))
    assert_books_balance(bench)
    assert set(bench.outcomes(provider)) == {"settled"}
    assert bench.outcomes(provider).count("settled") == settled + len(cuts)


def _leave(bench: Bench, request: bytes, cut: int) -> None:
    """Send a request, read so many bytes of its answer, and reset the connection."""
    with connected(bench) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.sendall(request)
        left = cut
        while left and (piece := connection.recv(left)):
            left -= len(piece)  # the last few bytes may be missing: figures in headers differ in length


@pytest.mark.parametrize("operation", ["chat", "messages", "generate"])
def test_client_that_leaves_in_mid_stream_does_not_stop_the_meter(bench: Bench, operation: str) -> None:
    """While the provider still speaks the client leaves: the answer is read to its end and the true usage settled."""
    name = {"chat": "openai-free", "messages": "anthropic", "generate": "gemini"}[operation]
    bench.simulator.fault(Fault(delay_s=0.02))
    with connected(bench) as connection:
        connection.sendall(wire(operation, name, say="say 60 tokens", stream=True))
        until("the request upstream", lambda: bench.simulator.pending() == [])
    last = bench.last(name)
    assert (last["status"], last["output"], last["reason"]) == (200, 60, "")
    assert bench.seen(name)[-1].delivered
    assert SURFACE[operation]


def test_client_that_leaves_before_the_answer_is_settled(bench: Bench) -> None:
    """A client that is gone before a whole answer comes pays for it all the same."""
    bench.simulator.fault(Fault(wait_s=0.3))
    with connected(bench) as connection:
        connection.sendall(wire("chat", "openai-free"))
        until("the request upstream", lambda: bench.simulator.pending() == [])
    last = bench.last("openai-free")
    assert (last["status"], last["output"]) == (200, 30)


def test_slow_reader_holds_little_memory(bench: Bench) -> None:
    """A client that does not read slows its own stream down, and costs the gateway a bounded buffer."""
    bench.simulator.fault(Fault(pad=2 * MIB, times=4))
    memory = Memory(bench)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(connected(bench)) for _ in range(4)]
        for reader in readers:
            reader.sendall(wire("chat", "openai-free", stream=True))
        time.sleep(0.7)  # 4 x 40 MiB would come meanwhile
        assert memory.grown_mib() < 60
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert_books_balance(bench)
