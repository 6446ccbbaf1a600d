"""A provider that breaks its word, and the agent that calls it: bombs, endless heads, trailers and streams.

The provider is a process of its own with raw sockets; the last part of the model's name says how it answers. Whatever
it does ends after `ANSWER_S`, or when the gateway closes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from multiprocessing.connection import Connection

from benchmarks.attacks_bombs import gzipped
from benchmarks.attacks_doors import _status
from benchmarks.attacks_site import EVIL, NICE, Place, answered, chat, connected
from benchmarks.attacks_told import WRONG, Seen, Told, again
from benchmarks.load import HOST

ANSWER_S = 20.0
BOMB = 255 << 20
EVENT = 17 * 1024 * 1024
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_USAGE = b'{"id":"a","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
_CONTEXT = multiprocessing.get_context("spawn")


@lru_cache
def _packed(stream: bool) -> bytes:
    piece = (b"a" if stream else b" ") * (1 << 20)
    end = b"\n\n" if stream else _USAGE
    return gzipped([(b": " if stream else b" ", 1), (piece, BOMB >> 20), (end, 1)])


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _endlessly(connection: socket.socket, piece: bytes, pause_s: float = 0.0) -> None:
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        connection.sendall(piece)
        time.sleep(pause_s)


def _answer_packed(connection: socket.socket) -> None:
    body = _packed(False)
    connection.sendall(_OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def _answer_packed_stream(connection: socket.socket) -> None:
    body = _packed(True)
    connection.sendall(_SSE.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n") + _chunk(body) + b"0\r\n\r\n")


def _answer_trailers(connection: socket.socket) -> None:
    connection.sendall(_OK + b"transfer-encoding: chunked\r\n\r\n" + _chunk(_USAGE) + b"0\r\n")
    _endlessly(connection, b"".join(b"x-%d: %b\r\n" % (number, b"b" * 1000) for number in range(64)))


def _answer_early_hints(connection: socket.socket) -> None:
    _endlessly(connection, (b"HTTP/1.1 103 Early Hints\r\nlink: <%b>\r\n\r\n" % (b"b" * 1000)) * 64)


def _answer_endless(connection: socket.socket) -> None:
    event = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"b" * 4000)
    connection.sendall(_SSE)
    _endlessly(connection, _chunk(event))


def _answer_dripping(connection: socket.socket) -> None:
    connection.sendall(_SSE)
    _endlessly(connection, _chunk(b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"b"}}]}\n\n'), 0.2)


def _answer_event(connection: socket.socket) -> None:
    event = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"b" * EVENT)
    end = b"data: " + _USAGE + b"\n\ndata: [DONE]\n\n"
    connection.sendall(_SSE + _chunk(event) + _chunk(end) + b"0\r\n\r\n")


def _answer_tiny_events(connection: socket.socket) -> None:
    connection.sendall(_SSE)
    _endlessly(connection, _chunk(b"data:{}\n\n" * 7000))


def _answer_dear_events(connection: socket.socket) -> None:
    connection.sendall(_SSE)
    _endlessly(connection, _chunk(b'data:{"error":1,"error":1}\n\n' * 70), 0.1)


def _answer_tiny_chunks(connection: socket.socket) -> None:
    connection.sendall(_SSE)
    _endlessly(connection, _chunk(b":") * 10_000)


def _answer_tiny_objects(connection: socket.socket) -> None:
    connection.sendall(_OK + b"transfer-encoding: chunked\r\n\r\n" + _chunk(b"["))
    _endlessly(connection, _chunk(b'{"usage":{}},' * 5000))


def _answer_one_member(connection: socket.socket) -> None:
    connection.sendall(_OK + b"transfer-encoding: chunked\r\n\r\n" + _chunk(b"{"))
    _endlessly(connection, _chunk(b'"usage":{"a":0},' * 4000))


def _answer_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
    _endlessly(connection, b"b" * 65536)


_ANSWERS: Mapping[str, Callable[[socket.socket], None]] = {
    "packed": _answer_packed,
    "packed-stream": _answer_packed_stream,
    "trailers": _answer_trailers,
    "early-hints": _answer_early_hints,
    "endless": _answer_endless,
    "dripping": _answer_dripping,
    "event": _answer_event,
    "head": _answer_head,
    "tiny-events": _answer_tiny_events,
    "dear-events": _answer_dear_events,
    "tiny-chunks": _answer_tiny_chunks,
    "tiny-objects": _answer_tiny_objects,
    "one-member": _answer_one_member,
}
assert set(_ANSWERS) == set(EVIL)


@contextlib.contextmanager
def running() -> Iterator[int]:
    """Run the provider until the block ends; gives its port."""
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _serve(told: Connection) -> None:
    _packed(False), _packed(True)
    os.nice(NICE)
    with socket.create_server((HOST, 0), backlog=512) as listening:
        told.send(listening.getsockname()[1])
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_handle, args=(connection,), daemon=True).start()


def _handle(connection: socket.socket) -> None:
    connection.settimeout(ANSWER_S)
    with contextlib.suppress(OSError, AttributeError), connection:
        while True:
            data = b""
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    return
                data += more
            begin = data.index(b"\r\n\r\n") + 4
            length = re.search(rb"\r\ncontent-length: *(\d+)", data, re.IGNORECASE)
            assert length is not None
            while len(data) < begin + int(length[1]):
                data += connection.recv(65536)
            found = re.search(rb'"model": *"evil/([a-z-]+)"', data)
            assert found is not None
            _ANSWERS[found[1].decode()](connection)


def ask(model: str, at_once: int, place: Place) -> Told:
    """Ask again and again, and read what comes."""

    def once(_: float, seen: Seen) -> None:
        with connected(place.gateway, 20) as connection:
            connection.sendall(chat(place.key, model, '"hello"'))
            seen[_status(answered(connection))] += 1

    return again(place.seconds, at_once, once)


def leave(model: str, count: int, place: Place) -> Told:
    """Ask for a stream, read its beginning and leave, `count` times in all."""
    left = [count]

    def once(deadline: float, seen: Seen) -> None:
        if left[0] <= 0:
            time.sleep(max(0.0, deadline - time.monotonic()))
            return
        left[0] -= 1
        with connected(place.gateway, 5) as connection:
            connection.sendall(chat(place.key, model, '"hello"', stream=True))
            seen[f"left after {_status(connection.recv(4096))}"] += 1

    return again(place.seconds, 10, once)


def watch(model: str, at_once: int, place: Place) -> Told:
    """Ask for streams, and read them to their end or until the time is up."""

    def once(deadline: float, seen: Seen) -> None:
        with connected(place.gateway, 20) as connection:
            connection.sendall(chat(place.key, model, '"hello"', stream=True))
            size = 0
            while time.monotonic() < deadline and (more := connection.recv(1 << 18)):
                size += len(more)
            seen["read on to the end of the time" if time.monotonic() >= deadline else "ended"] += 1

    return again(place.seconds, at_once, once)


def large_event(place: Place) -> Told:
    """Ask for a stream with an event of 17 MiB, which has to come whole."""

    def once(_: float, seen: Seen) -> None:
        with connected(place.gateway, 20) as connection:
            connection.sendall(chat(place.key, "event", '"hello"', stream=True))
            size, tail = 0, b""
            while not tail.endswith(b"0\r\n\r\n") and (more := connection.recv(1 << 18)):
                size += len(more)
                tail = (tail + more)[-64:]
            seen["delivered whole" if size > EVENT and b"[DONE]" in tail else f"{WRONG}cut at {size:,} bytes"] += 1

    return again(place.seconds, 2, once)


ATTACKS: Mapping[str, Callable[[Place], Told]] = {
    "provider: six packed answers of 256 MiB": partial(ask, "packed", 6),
    "provider: packed streams of 256 MiB": partial(ask, "packed-stream", 6),
    "provider: trailers without end": partial(ask, "trailers", 4),
    "provider: 1xx without end": partial(ask, "early-hints", 4),
    "provider: head without end": partial(ask, "head", 4),
    "provider: fast streams whose clients left": partial(leave, "endless", 20),
    "provider: slow streams whose clients left": partial(leave, "dripping", 200),
    "provider: event of 17 MiB": large_event,
    "provider: tiny events": partial(watch, "tiny-events", 4),
    "provider: small pieces that are dear": partial(watch, "dear-events", 60),
    "provider: tiny chunks": partial(watch, "tiny-chunks", 4),
    "provider: tiny objects": partial(ask, "tiny-objects", 4),
    "provider: one member again and again": partial(ask, "one-member", 4),
}
