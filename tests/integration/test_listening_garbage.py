"""Requests damaged at random, cut anywhere, from clients that read, leave or reset: the listener stays whole."""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Any

import pytest

from tests.support import until
from tests.support_listening import Echo, wired

REQUESTS = [
    b"POST /a HTTP/1.1\r\nhost: localhost\r\nupgrade: h2c\r\nconnection: upgrade\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n",
    b"POST /refuse HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 20\r\n\r\n" + b"a" * 20,
    b"GET /%41?x=1 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    b"PUT /refuse HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 5\r\n\r\nhello",
    b"\r\nHEAD / HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n",
]
INSERTED = (b"\r\n", b"\n", b"\0", b" ", b"0", b"a" * 100, b"x: y\r\n", b":")
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"


def damaged(random_: random.Random) -> bytes:
    """Give a few requests with a few faults."""
    data = bytearray(b"".join(random_.choices(REQUESTS, k=random_.randint(1, 5))))
    for _ in range(random_.choice((0, 0, 1, 2, 5))):
        at = random_.randrange(len(data))
        match random_.randrange(4):
            case 0:
                data[at] = random_.randrange(256)
            case 1:
                del data[at : at + random_.randint(1, 8)]
            case 2:
                data[at:at] = random_.choice(INSERTED)
            case _:
                data[at:at] = data[at : at + 40]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_requests_leave_nothing_behind(seed: int) -> None:
    """No exception reaches the event loop, no connection, task or byte is left, and the next client is served."""
    random_ = random.Random(seed)  # noqa: S311 - the same damage every time
    faults: list[Any] = []
    with Echo(head_s=0.5) as echo:
        echo.watch(faults.append)
        for _ in range(200):
            data = damaged(random_)
            with wired(echo.port) as wire:
                for at in range(0, len(data), step := random_.choice((1, 7, 100, 10_000))):
                    wire.send(data[at : at + step])
                match random_.randrange(3):
                    case 0:
                        wire.socket.settimeout(0.01)
                        with contextlib.suppress(OSError):
                            wire.socket.recv(65536)
                    case 1:
                        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        until("every connection to end", lambda: (echo.connections, echo.door.unread_bytes) == (0, 0))
        with wired(echo.port) as wire:
            wire.send(REQUESTS[2])
            answer = wire.answer()
        assert answer is not None
        assert answer.status == 200
    assert faults == []
