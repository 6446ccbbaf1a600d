"""A provider that sends without end: what is held of it is bounded, and so is its time once nobody reads it."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from reconciler.gateway import exchange
from tests.support import DEADLINE_S, Site, until
from tests.support_gateway import Bench, asked, headers_of, opened
from tests.support_upstream import RawProvider, chunked, framed, streamed

MIB = 1024 * 1024
GROWTH_MIB_MAX = 50
AT_ONCE = 6


class Endless(NamedTuple):
    """A running gateway, and the provider behind all of its bindings."""

    bench: Bench
    provider: RawProvider


@pytest.fixture(scope="module")
def endless(gateway_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endless]:
    """Give a gateway whose provider sends what the test wants; who left is forgotten after a second."""
    provider = RawProvider()
    env = {**provider.environment, "PAI_GATEWAY_LEFT_TIMEOUT": "1s"}
    with opened(gateway_template, tmp_path_factory.mktemp("endless"), **env) as bench:
        yield Endless(bench, provider)
    provider.close()


def _memory_mib(bench: Bench, field: str) -> float:
    status = Path(f"/proc/{bench.daemon.process.pid}/status").read_text()
    return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) / 1024


def _read(bench: Bench, operation: str, name: str, stream: bool) -> int:
    """Send a request and give how many bytes its answer has, holding none of them."""
    path, body = asked(operation, name, stream=stream)
    size = 0
    with (
        contextlib.suppress(httpx.RemoteProtocolError),
        bench.client.stream("POST", path, json=body, headers=headers_of(operation)) as response,
    ):
        for piece in response.iter_raw():
            size += len(piece)
    return size


def _repeated(head: bytes, piece: bytes, count: int, tail: bytes = b"") -> Callable[[socket.socket, bytes], None]:
    def answer(sock: socket.socket, request: bytes) -> None:
        del request
        sock.sendall(head)
        for _ in range(count):
            sock.sendall(piece)
        sock.sendall(tail)

    return answer


BOMB = gzip.compress(b'{"choices":[' + b"0," * (10 * MIB), 6, mtime=0)
PACKED = "content-encoding: gzip"
EMPTY = gzip.compress(b"", mtime=0)
TRAILER = b"x-trailer: " + b"x" * 60_000 + b"\r\n"
ENDLESS: dict[str, tuple[str, str, bool, Callable[[socket.socket, bytes], None]]] = {
    "packed whole": ("chat", "openai", False, _repeated(framed(BOMB, PACKED), b"", 0)),
    "packed error": ("messages", "anthropic", False, _repeated(framed(BOMB, PACKED, status="400 Bad"), b"", 0)),
    "packed failure": ("chat", "openai", False, _repeated(framed(BOMB, PACKED, status="503 Busy"), b"", 0)),
    "packed event": ("chat", "openai", True, _repeated(framed(BOMB, PACKED, kind="text/event-stream"), b"", 0)),
    "packed array": ("array", "gemini", True, _repeated(framed(BOMB, PACKED), b"", 0)),
    "empty members": ("chat", "openai", False, _repeated(streamed(PACKED), chunked(EMPTY * 10_000), 100)),
    "event": ("chat", "openai", True, _repeated(streamed() + chunked(b"data: "), chunked(b"x" * MIB), 20)),
    "small pieces": ("chat", "openai", True, _repeated(streamed(), chunked(b"ab") * 50_000, 20)),
    "item": ("array", "gemini", True, _repeated(streamed() + chunked(b'[{"a":"'), chunked(b"x" * MIB), 20)),
    "whole": ("embeddings", "openai", False, _repeated(streamed(kind="a/b"), chunked(b"[1,0.1234567]," * 80_000), 20)),
    "trailers": ("chat", "openai", False, _repeated(streamed() + chunked(b"{}") + b"0\r\n", TRAILER, 800)),
    "one trailer": ("chat", "openai", True, _repeated(streamed() + chunked(b"{}") + b"0\r\nx: ", b"x" * MIB, 60)),
    "extension": ("chat", "openai", True, _repeated(streamed() + b"5;a=", b"x" * MIB, 60)),
    "one header": ("chat", "openai", False, _repeated(b"HTTP/1.1 200 OK\r\nx: ", b"x" * MIB, 60)),
    "headers": ("chat", "openai", False, _repeated(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 100_000, 60)),
    "interim": ("chat", "openai", False, _repeated(b"", b"HTTP/1.1 103 Early\r\nlink: <a>\r\n\r\n" * 10_000, 60)),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_answers_do_not_take_all_memory(endless: Endless, kind: str) -> None:
    """Six at once of each kind end, are charged, and leave the daemon's memory where it was."""
    operation, name, stream, endless.provider.answer = ENDLESS[kind]
    _read(endless.bench, operation, name, stream)
    before, count = _memory_mib(endless.bench, "VmRSS"), len(endless.bench.outcomes(name))
    Path(f"/proc/{endless.bench.daemon.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: _read(endless.bench, operation, name, stream), range(AT_ONCE)))
    endless.bench.quiet()
    assert _memory_mib(endless.bench, "VmHWM") - before < GROWTH_MIB_MAX
    assert len(endless.bench.outcomes(name)) == count + AT_ONCE
    assert "settled" not in endless.bench.outcomes(name)[count:]


DRIPS = {
    "interim": (b"", b"HTTP/1.1 103 Early\r\n\r\n"),
    "head": (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
    "extension": (streamed() + b"5;a=", b"x"),
    "trailer": (streamed() + chunked(b"{}") + b"0\r\nx: ", b"x"),
}


@pytest.mark.parametrize("kind", DRIPS)
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_no_body_does_not_keep_an_answer_alive(endless: Endless, kind: str, stream: bool) -> None:
    """Bytes that keep coming and are no part of the answer count as silence: it is given up after the read timeout."""
    head, drip = DRIPS[kind]
    ended = threading.Event()

    def answer(sock: socket.socket, request: bytes) -> None:
        del request
        with contextlib.suppress(OSError):
            sock.sendall(head)
            while not ended.wait(0.1):
                sock.sendall(drip)

    endless.provider.answer = answer
    began = time.monotonic()
    try:
        _read(endless.bench, "chat", "openai", stream)
        assert time.monotonic() - began < DEADLINE_S / 2
    finally:
        ended.set()
    assert endless.bench.last("openai")["reason"].endswith("it took too long")


LEFT = {
    "chat": ("chat", "openai", True, streamed(), b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'),
    "messages": ("messages", "anthropic", True, streamed(), b"event: ping\ndata: {}\n\n"),
    "array": ("array", "gemini", True, streamed(kind="application/json") + chunked(b"["), b'{"usageMetadata": {}},'),
    "whole": ("chat", "openai", False, streamed(kind="application/json"), b" "),
    "untyped": ("responses", "openai", True, streamed(kind=""), b": waiting\n\n"),
}


@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("pace_s", [0.05, 30.0, 0.0])
def test_answer_whose_client_left_is_read_for_a_stated_time_and_size(
    endless: Endless, kind: str, pace_s: float
) -> None:
    """Endless, slow or silent: it is dropped, what was reserved counts, and the provider is let go."""
    operation, name, stream, head, piece = LEFT[kind]
    gone, dropped, begun = threading.Event(), threading.Event(), threading.Event()

    def answer(sock: socket.socket, request: bytes) -> None:
        del request
        try:
            sock.sendall(head + chunked(piece))
            begun.set()
            gone.wait(DEADLINE_S)
            if pace_s > 1:
                sock.recv(1)
                raise ConnectionError
            while True:
                sock.sendall(chunked(piece * (1 if pace_s else 5000)))
                time.sleep(pace_s)
        except OSError:
            dropped.set()

    endless.provider.answer = answer
    path, body = asked(operation, name, stream=stream)
    data = json.dumps(body).encode()
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers_of(operation).items())
    request = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: {len(data)}\r\n\r\n"
    count = len(endless.bench.outcomes(name))
    with socket.create_connection(("127.0.0.1", endless.bench.port), timeout=DEADLINE_S) as connection:
        connection.sendall(request.encode() + data)
        assert begun.wait(DEADLINE_S)
        if stream:
            connection.recv(1)
        else:
            time.sleep(0.1)
    gone.set()
    assert dropped.wait(10)
    until("the outcome", lambda: len(endless.bench.outcomes(name)) > count)
    found = endless.bench.last(name)
    assert endless.bench.outcomes(name)[-1] == "forfeited"
    assert "its client left" in found["reason"]


def test_answer_whose_client_left_is_settled_if_it_ends_soon(endless: Endless) -> None:
    """Within the stated time and size the answer is read to its end, and counts as what it says."""
    left = threading.Event()

    def answer(sock: socket.socket, request: bytes) -> None:
        del request
        sock.sendall(streamed() + chunked(b'data: {"choices":[]}\n\n'))
        left.wait(DEADLINE_S)
        sock.sendall(chunked(b'data: {"choices":[],"usage":{"total_tokens":7}}\n\n') + chunked(b"data: [DONE]\n\n"))
        sock.sendall(chunked(b""))

    endless.provider.answer = answer
    path, body = asked("chat", "openai", stream=True)
    with endless.bench.client.stream("POST", path, json=body, headers=headers_of("chat")) as response:
        next(response.iter_raw())
    left.set()
    until("the settlement", lambda: endless.bench.outcomes("openai")[-1:] == ["settled"])
    assert endless.bench.last("openai")["charged"] == 7


def test_failures_that_wait_for_an_alternative_take_room(endless: Endless) -> None:
    """Each is held until the alternative has answered, of an agent no more than of answers; the rest is passed on."""
    size, most, waiting, ended = 120_000, exchange.HELD_BYTES_EACH, [0], threading.Event()

    def answer(sock: socket.socket, request: bytes) -> None:
        if b"claude" in request.partition(b"\r\n\r\n")[2]:
            waiting[0] += 1
            ended.wait(DEADLINE_S)
        else:
            sock.sendall(framed(b'{"error":"' + b"x" * size + b'"}', status="503 Busy"))

    def ask(_: int) -> int:
        path, body = asked("chat", "openai")
        url = endless.bench.client.base_url
        with contextlib.closing(http.client.HTTPConnection(url.host, url.port, timeout=DEADLINE_S)) as connection:
            connection.request("POST", path, json.dumps(body), headers_of("chat") | {"x-pai-fallback": "anthropic"})
            response = connection.getresponse()
            response.read()
            return response.status

    endless.provider.answer = answer
    count = most // (size - 16 * 1024) + 40
    with ThreadPoolExecutor(count) as pool:
        try:
            asking = [pool.submit(ask, number) for number in range(count)]
            until("all are answered or wait", lambda: waiting[0] + sum(one.done() for one in asking) == count)
            assert 0 < waiting[0] * (size - 16 * 1024) <= most
            assert {one.result() for one in asking if one.done()} == {503}
        finally:
            ended.set()
    endless.bench.quiet()
