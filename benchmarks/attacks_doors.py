"""Nobody at the doors: offers to upgrade, endless heads, fields, trailers, chunk extensions, requests without a pause.

None of these needs a key. Each function is one attack on one port, named in `ATTACKS` for both.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from benchmarks.attacks_site import Place, answered, chat, connected, head
from benchmarks.attacks_told import WRONG, Seen, Told, again, told

PIECE = b"a" * 65536
IDLE = 2_000


class Port(NamedTuple):
    """One of the two ports: a path that answers anybody, and one that takes a body and refuses those without a key."""

    name: str
    open: str
    closed: str


GATEWAY = Port("gateway", "/healthz", "/v1/chat/completions")
ADMIN = Port("admin", "/metrics", "/api/v1/events")


def _number(port: Port, place: Place) -> int:
    return place.gateway if port == GATEWAY else place.admin


def _status(data: bytes) -> str:
    return data[9:12].decode("latin-1") if data else "closed"


def _send_until(connection: socket.socket, piece: bytes, bytes_max: int, deadline: float) -> int:
    """Send a piece again and again; stops when the other side closed, does not read, or the time is up."""
    sent = 0
    connection.settimeout(1)
    with contextlib.suppress(OSError):
        while sent < bytes_max and time.monotonic() < deadline:
            connection.sendall(piece)
            sent += len(piece)
    return sent


def _last_word(connection: socket.socket, seen: Seen, sent: int) -> None:
    connection.settimeout(1)
    status = "no answer"
    with contextlib.suppress(OSError):
        status = _status(connection.recv(65536))
    seen[f"{status} after {_size(sent)}"] += 1


def _size(sent: int) -> str:
    for least, name in ((100 << 20, "100 MB or more"), (1 << 20, "1 to 100 MB"), (1 << 16, "64 kB to 1 MB")):
        if sent >= least:
            return name
    return "less than 64 kB"


def smuggle(port: Port, place: Place) -> Told:
    """Offer to upgrade, and put a request into the body: it must be read as a body, and answered once."""
    inner = head("GET", port.open)
    for_body = f"content-length: {len(inner)}"
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    offers = [
        head("POST", port.closed, f"connection: {connection}", f"upgrade: {offer}", for_body) + inner
        for connection in ("upgrade", "upgrade, http2-settings")
        for offer in ("h2c", "websocket", "anything/1")
    ]
    offers.append(
        head("POST", port.closed, "connection: upgrade", "upgrade: h2c", "transfer-encoding: chunked") + chunked
    )
    offers.append(head("CONNECT", "localhost:1", for_body) + inner)
    offers.append(head("GET", port.open, "connection: upgrade", "upgrade: h2c", for_body) + inner)

    def once(_: float, seen: Seen) -> None:
        for offer in offers:
            with connected(_number(port, place), 5) as connection:
                connection.sendall(offer)
                connection.settimeout(0.3)
                answers = b""
                with contextlib.suppress(TimeoutError):
                    while more := connection.recv(65536):
                        answers += more
            count = answers.count(b"HTTP/1.1 ")
            what = f"{offer.split(b' ')[0].decode()} with a request in its body"
            seen[f"{WRONG}{what} answered {count} times" if count > 1 else f"{count} answer"] += 1

    return again(place.seconds, 4, once)


def long_head(port: Port, place: Place) -> Told:
    """Send one header of 100 MB."""

    def once(deadline: float, seen: Seen) -> None:
        with connected(_number(port, place), 5) as connection:
            connection.sendall(head("GET", port.open)[:-2] + b"x-long: ")
            sent = _send_until(connection, PIECE, 100 << 20, deadline)
            _last_word(connection, seen, sent)

    return again(place.seconds, 4, once)


def many_fields(port: Port, place: Place) -> Told:
    """Send 100,000 small headers."""
    fields = b"".join(b"x%d: \r\n" % number for number in range(100_000))

    def once(_: float, seen: Seen) -> None:
        with connected(_number(port, place), 5) as connection:
            sent = 0
            with contextlib.suppress(OSError):
                connection.sendall(head("GET", port.open)[:-2] + fields + b"\r\n")
                sent = len(fields)
            _last_word(connection, seen, sent)

    return again(place.seconds, 4, once)


def trailers(port: Port, place: Place) -> Told:
    """Send a chunked body without a key, and trailers without end behind the refusal."""
    fields = b"".join(b"x-%d: %b\r\n" % (number, b"b" * 1000) for number in range(64))

    def once(deadline: float, seen: Seen) -> None:
        with connected(_number(port, place), 5) as connection:
            connection.sendall(head("POST", port.closed, "transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n")
            sent = _send_until(connection, fields, 4 << 30, deadline)
            _last_word(connection, seen, sent)

    return again(place.seconds, 2, once)


def extensions(port: Port, place: Place) -> Told:
    """Send a chunk whose extension has no end."""

    def once(deadline: float, seen: Seen) -> None:
        with connected(_number(port, place), 5) as connection:
            connection.sendall(head("POST", port.closed, "transfer-encoding: chunked") + b"2;a=")
            sent = _send_until(connection, PIECE, 1 << 30, deadline)
            _last_word(connection, seen, sent)

    return again(place.seconds, 2, once)


def pipelined(size: int, port: Port, place: Place) -> Told:
    """Send as many small requests as `size` bytes hold, on each of two connections, and read no answer."""
    request = head("GET", port.open)
    batch = request * (65536 // len(request))

    def once(deadline: float, seen: Seen) -> None:
        with connected(_number(port, place), 5) as connection:
            sent = 0
            connection.settimeout(2)
            with contextlib.suppress(OSError):
                while sent < size and time.monotonic() < deadline:
                    connection.sendall(batch)
                    sent += len(batch)
            time.sleep(max(0.0, min(1.0, deadline - time.monotonic())))
            seen[f"took {_size(sent)}"] += 1

    return again(place.seconds, 2, once)


def pipelined_posts(place: Place) -> Told:
    """Send 5 MB of whole chat requests with a key in one go, and read no answer."""
    batch = chat(place.key, "large", '"hello"', path="/v1/messages")
    batch *= (5 << 20) // len(batch)

    def once(deadline: float, seen: Seen) -> None:
        with connected(place.gateway, 2) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(batch)
            time.sleep(max(0.0, min(1.0, deadline - time.monotonic())))
            seen["sent"] += 1

    return again(place.seconds, 2, once)


def slow_heads(port: Port, place: Place) -> Told:
    """Open 2,000 connections, half of them idle, the others sending a byte of a head now and then."""
    seen: Seen = Counter()
    deadline = time.monotonic() + place.seconds
    with contextlib.ExitStack() as stack:
        opened: list[socket.socket] = []
        for number in range(IDLE):
            try:
                opened.append(stack.enter_context(connected(_number(port, place), 2)))
            except OSError as error:
                seen[f"not opened: {type(error).__name__}"] += 1
                break
            if number % 2:
                with contextlib.suppress(OSError):
                    opened[-1].sendall(b"GET / HTTP/1.1\r\nx-slow: ")
        while time.monotonic() < deadline:
            for connection in opened[1::2]:
                with contextlib.suppress(OSError):
                    connection.sendall(b"a")
            time.sleep(1)
        seen["connections open"] = len(opened)
    return told(seen)


def small_answers_unread(place: Place) -> Told:
    """Ask for the models and read no answer, on 50 connections, 2 MB of requests each."""
    batch = head("GET", "/v1/models", f"x-api-key: {place.key}") * 4096

    def once(deadline: float, seen: Seen) -> None:
        with connected(place.gateway, 2) as connection:
            with contextlib.suppress(OSError):
                for _ in range(4):
                    connection.sendall(batch)
            time.sleep(max(0.0, min(2.0, deadline - time.monotonic())))
            seen["sent"] += 1

    return again(place.seconds, 50, once)


def flood(place: Place) -> Told:
    """Ask without a key as fast as refusals come, on new connections each."""

    def once(_: float, seen: Seen) -> None:
        with connected(place.gateway, 5) as connection:
            connection.sendall(chat("pak_nothing", "small", '"hello"'))
            seen[_status(answered(connection))] += 1

    return again(place.seconds, 2, once, pause_s=0.0)


def wide_flood(at_once: int, lines: tuple[str, ...], port: Port, place: Place) -> Told:
    """Ask without a key on each of so many connections, as fast as refusals come, with these lines in each head."""
    request = head("GET", port.closed, *lines)

    def once(deadline: float, seen: Seen) -> None:
        with connected(_number(port, place), 5) as connection:
            while time.monotonic() < deadline:
                connection.sendall(request)
                seen[_status(answered(connection))] += 1

    return again(place.seconds, at_once, once)


def thrown_away(port: Port, place: Place) -> Told:
    """Send a body in chunks of one byte long after it was refused, on 200 connections."""
    begin = head("POST", "/nothing", "transfer-encoding: chunked")
    piece = b"1\r\na\r\n" * 4096

    def once(deadline: float, seen: Seen) -> None:
        with connected(_number(port, place), 5) as connection:
            connection.sendall(begin)
            _last_word(connection, seen, _send_until(connection, piece, 1 << 30, deadline))

    return again(place.seconds, 200, once)


def metrics_unread(place: Place) -> Told:
    """Ask for the metrics 20 times on each of 400 connections, and read nothing."""
    return sent_and_held(place, place.admin, head("GET", "/metrics") * 20, 400)


def sent_and_held(place: Place, port: int, data: bytes, at_once: int) -> Told:
    """Send something once on each of so many connections, read nothing, and wait until the end."""

    def once(deadline: float, seen: Seen) -> None:
        with connected(port, 1) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
            time.sleep(max(0.0, deadline - time.monotonic()))
            seen["held"] += 1

    return again(place.seconds, at_once, once)


_BOTH: Mapping[str, Callable[[Port, Place], Told]] = {
    "upgrade offers with a request inside": smuggle,
    "head of 100 MB": long_head,
    "100,000 header fields": many_fields,
    "trailers after a refusal": trailers,
    "chunk extension without end": extensions,
    "5 MB of requests at once": partial(pipelined, 5 << 20),
    "50 MB of requests at once": partial(pipelined, 50 << 20),
    "2,000 idle and slow connections": slow_heads,
    "200 connections without a key": partial(wide_flood, 200, ()),
    "heads of 60,000 commas": partial(wide_flood, 16, ("connection: " + "," * 60_000,)),
    "bodies in chunks of a byte after a refusal": thrown_away,
}
ATTACKS: Mapping[str, Callable[[Place], Told]] = {
    **{f"{port.name}: {name}": partial(work, port) for name, work in _BOTH.items() for port in (GATEWAY, ADMIN)},
    "gateway: 5 MB of chat requests at once": pipelined_posts,
    "gateway: answers that nobody reads": small_answers_unread,
    "gateway: flood without a key": flood,
    "admin: metrics that nobody reads": metrics_unread,
}
