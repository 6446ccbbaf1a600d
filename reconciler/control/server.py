"""The daemon's control socket: answers each request on a thread of its own.

A bug in the handler is logged here and told as CouldNotRun.

Invariants: only the same user and root are answered; the socket is 0600 before anybody can connect; a request is handed
to the handler at most once. Only the holder of the log's lock may start a server: it replaces the socket file that a
killed daemon left.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

from reconciler.control import wire
from reconciler.control.wire import Object
from reconciler.core.errors import CouldNotRun, PaiError, UsageError

CONNECTIONS_MAX = 64
"""Requests answered at a time; more wait in the socket's backlog."""
REQUEST_TIMEOUT_S = 10.0
"""A client has this long to send its request, and again to take its answer."""
HEAD_TIMEOUT_S = 3.0
"""Of that, for the lines before the JSON: whoever sends them byte by byte keeps one of the places."""
VALUES_MAX = 100_000
"""Signs in a request's JSON before each of which a value may begin: 16 MiB of them would become 400 MB, and hold up all
other threads for a second. Large requests are long texts."""

log = logging.getLogger("pai.control")


class Asked(NamedTuple):
    """A request: `actor` is who works at the keyboard, "" if nobody said it; `uid` is the user that it runs as."""

    verb: str
    arguments: Object
    actor: str
    uid: int


Handler = Callable[[Asked], Object]


class Server:
    """Answers requests on a Unix socket, each on a thread of its own. Usable as a context manager."""

    def __init__(self, path: Path, handler: Handler, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Bind and listen; requests are answered after `start`.

        `handler` is called from several threads. Raises CouldNotRun if the socket cannot be made.
        """
        self.path = path
        self._handler = handler
        self._request_timeout_s = request_timeout_s
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._threads: set[threading.Thread] = set()
        self._stopping = False
        self._socket, self._identity = _listen(path)
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._accept_all, name="pai-control", daemon=True)

    def start(self) -> Server:
        """Begin to answer."""
        self._thread.start()
        return self

    def close(self, timeout_s: float = 30.0) -> None:
        """Take no more requests, wait for those being answered, remove the socket. Safe to call twice."""
        if self._stopping:
            return
        self._stopping = True
        self._remove_file()
        os.write(self._wake_write, b"x")
        if self._thread.is_alive():
            self._thread.join()
        deadline = time.monotonic() + timeout_s
        for thread in tuple(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._socket.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remove_file(self) -> None:
        with contextlib.suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._identity:
                self.path.unlink()

    def _accept_all(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not self._stopping:
            poll.poll()
            if not self._stopping:
                self._accept()
        while (connection := self._accepted()) is not None:  # they found the socket before it was removed
            with connection, contextlib.suppress(OSError):
                _send(connection, _refusal(CouldNotRun("the daemon is stopping", "try again when it has stopped")))

    def _accept(self) -> None:
        if not self._slots.acquire(timeout=0.1):
            return  # all busy: look at `_stopping` again, then wait on
        connection = self._accepted()
        if connection is None:
            self._slots.release()
            return
        thread = threading.Thread(target=self._serve, args=(connection,), name="pai-control-request", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads; the client reads an end without an answer
            self._threads.discard(thread)
            self._slots.release()
            connection.close()

    def _accepted(self) -> socket.socket | None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return None
        except OSError:
            time.sleep(0.05)  # out of file descriptors, or the client has left: no reason to spin
            return None
        connection.settimeout(self._request_timeout_s)
        return connection

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                _send(connection, self._answer(connection))
        finally:
            self._threads.discard(threading.current_thread())
            self._slots.release()

    def _answer(self, connection: socket.socket) -> bytes:
        try:
            uid = _owner(connection)
            asked = _asked(connection, uid, time.monotonic() + self._request_timeout_s)
            body = wire.write(self._handler(asked))
            if len(body) > wire.MESSAGE_BYTES_MAX:
                raise CouldNotRun("the daemon's answer is too large", "ask for less")
            return _response(200, body)
        except PaiError as error:
            return _refusal(error)
        except TimeoutError:
            return _refusal(
                CouldNotRun("the request did not come to its end in time", "try again; see the daemon's log")
            )
        except Exception as bug:
            log.exception("a request failed")
            return _refusal(CouldNotRun(f"internal error in the daemon: {type(bug).__name__}", "see the daemon's log"))


class _Message:
    """A request as httptools reads it, piece by piece."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.head = 0  # bytes of it
        self.headed = self.whole = self.followed = False

    def on_message_begin(self) -> None:
        self.followed = self.whole

    def on_url(self, piece: bytes) -> None:
        self.target += piece
        self.head += len(piece)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value
        self.head += len(name) + len(value) + 4  # ": " and the line end

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.whole = True


def _asked(connection: socket.socket, uid: int, deadline: float) -> Asked:
    """Read a request. Raises UsageError for what is none, CouldNotRun for too much of it, TimeoutError."""
    message = _Message()
    parser = httptools.HttpRequestParser(message)
    size = 0
    try:
        for piece in chain(_head(connection, message, deadline), wire.pieces(connection, deadline)):
            parser.feed_data(piece)
            size += len(piece)
            if max(message.head, 0 if message.headed else size) > wire.HEAD_BYTES_MAX:
                raise CouldNotRun("the message's head is too large", f"at most {wire.HEAD_BYTES_MAX} bytes")
            if size > wire.HEAD_BYTES_MAX + wire.MESSAGE_BYTES_MAX:
                raise CouldNotRun("the message is too large", f"at most {wire.MESSAGE_BYTES_MAX} bytes")
            if message.whole:
                break
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        message.whole = False
    target = message.target.decode("latin-1")
    body = b"".join(message.body)
    if sum(map(body.count, (b",", b"[", b"{"))) > VALUES_MAX:
        raise CouldNotRun("the message is too large", f"at most {VALUES_MAX} values")
    arguments = wire.read(body)
    one = message.whole and not message.followed  # what was read of two is mixed
    known = one and parser.get_method() == b"POST" and target.startswith(wire.PREFIX)
    if not known or arguments is None:
        raise UsageError("the request cannot be read", f"POST {wire.PREFIX}VERB with a JSON object")
    actor = unquote_to_bytes(message.headers.get(b"pai-actor", b"")).decode("utf-8", "surrogateescape")
    return Asked(target.removeprefix(wire.PREFIX), arguments, actor, uid)


def _head(connection: socket.socket, message: _Message, deadline: float) -> Iterator[bytes]:
    """Give what is sent until the head of the message was read. Raises TimeoutError."""
    for piece in wire.pieces(connection, min(deadline, time.monotonic() + HEAD_TIMEOUT_S)):
        yield piece
        if message.headed:
            return


def _listen(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    """Give a listening socket and the identity (device, inode) of its file."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise CouldNotRun(f"{path} is in the way: it is not a socket", "move it away")
            path.unlink()
        with wire.address_of(path) as address:
            listener.bind(address)
        path.chmod(0o600)  # before listen: until then nobody can connect
        listener.setblocking(False)
        listener.listen(128)
        found = path.lstat()
        return listener, (found.st_dev, found.st_ino)
    except OSError as error:
        listener.close()
        hint = "check the folder's owner and mode, and that its file system knows sockets"
        raise CouldNotRun(f"the control socket {path} cannot be made: {error.strerror}", hint) from error
    except CouldNotRun:
        listener.close()
        raise


def _owner(connection: socket.socket) -> int:
    """Give the user on the other side, who is this one or root. Raises CouldNotRun for anybody else."""
    here = os.geteuid()
    uid = wire.peer(connection)
    if uid not in (None, here, 0):
        raise CouldNotRun("the daemon belongs to another user", "run the command as that user")
    return here if uid is None else uid


def _refusal(error: PaiError) -> bytes:
    return _response(error.http_status, wire.write(wire.told(error)))


def _response(status: int, body: bytes) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
