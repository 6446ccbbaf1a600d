"""Asks the daemon on its control socket; nothing is sent before it is known whose server it is.

Only what the daemon's answers need is read of HTTP: http.client takes 12 ms to import, which a push would wait for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from reconciler.control import wire
from reconciler.control.wire import Object
from reconciler.core.errors import CouldNotRun

_LOOK = "see its log; pai status"


class NoDaemon(CouldNotRun):
    """Nothing listens on the control socket."""


class NoAnswer(CouldNotRun):
    """The request was sent, and no answer came that says what became of it."""


def call(
    path: Path, verb: str, arguments: Object, timeout_s: float = 60.0, keeper: int | None = None, actor: str = ""
) -> Object:
    """Ask the daemon that listens on `path` and give its result; it runs as this user, as root or as `keeper`.

    `actor` is who works at the keyboard, "" if that is not said. Raises NoDaemon if nothing listens there, the error
    that the daemon answered with, NoAnswer if it gave none within `timeout_s` seconds or went away (the request may
    then have been carried out), CouldNotRun for what speaks otherwise.
    """
    deadline = time.monotonic() + timeout_s
    body = wire.write(arguments)
    if len(body) > wire.MESSAGE_BYTES_MAX:
        raise CouldNotRun("the request is too large for the daemon", f"at most {wire.MESSAGE_BYTES_MAX} bytes")
    with _connected(path, deadline) as connection:
        if wire.peer(connection) not in (None, os.geteuid(), 0, keeper):
            raise CouldNotRun(
                f"what listens on {path} belongs to another user", "see who runs it before anything is sent"
            )
        try:
            # A server that refuses unread answers and closes: its answer is worth more than our broken pipe.
            with contextlib.suppress(ConnectionError):
                connection.settimeout(wire.left(deadline))
                connection.sendall(_head(verb, actor, len(body)) + body)
            answer = _received(connection, deadline)
        except TimeoutError:
            raise NoAnswer(f"the daemon gave no answer within {timeout_s:g} s", _LOOK) from None
        except OSError:
            answer = b""
    return _result(answer)


def _head(verb: str, actor: str, length: int) -> bytes:
    lines = [f"POST {wire.PREFIX}{verb} HTTP/1.1", "Host: pai", "Connection: close", f"Content-Length: {length}"]
    if actor:
        from urllib.parse import quote  # the hook, which is in a hurry, names nobody

        lines.append(f"Pai-Actor: {quote(actor, errors='surrogateescape')}")
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


def _received(connection: socket.socket, deadline: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    for chunk in wire.pieces(connection, deadline):
        chunks.append(chunk)
        size += len(chunk)
        if size > wire.HEAD_BYTES_MAX + wire.MESSAGE_BYTES_MAX:
            raise NoAnswer("the daemon's answer is too large", "ask for less")
    return b"".join(chunks)


def _result(answer: bytes) -> Object:
    """Read an answer: `HTTP/1.1 200`, lines of which Content-Length counts, and a JSON object."""
    head, _, body = answer.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"\r\ncontent-length: ")
    digits = length.partition(b"\r\n")[0]
    if not answer or (digits.isdigit() and len(body) < int(digits[:18])):
        raise NoAnswer("the daemon went away before it answered", _LOOK)
    read = wire.read(body) if head.startswith(b"HTTP/1.1 ") else None
    if read is None:
        raise CouldNotRun("the daemon's answer cannot be read", "is it another version? restart it")
    if head.startswith(b"HTTP/1.1 200 "):
        return read
    raise wire.raised(read)


def _connected(path: Path, deadline: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with wire.address_of(path) as address:
            while True:
                try:
                    connection.settimeout(wire.left(deadline))
                    connection.connect(address)
                    return connection
                except BlockingIOError:  # the backlog is full; a Unix socket says so at once
                    time.sleep(0.01)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise NoDaemon("no daemon runs in this workspace", "start one with: pai serve") from None
    except TimeoutError:
        connection.close()
        raise CouldNotRun("the daemon is too busy to take the request", "try again") from None
    except OSError as error:
        connection.close()
        raise CouldNotRun(f"the daemon cannot be reached: {path}: {error.strerror}", "is it another user's?") from error
