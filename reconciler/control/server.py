"""The daemon's control socket: one JSON request and one JSON answer per connection over a Unix stream socket.

A request is one line `{"verb":...,"arguments":{...}}`, an answer one line `{"result":{...}}` or `{"error":{...}}`.
Errors of core/errors.py travel and are raised again as the same class by `call`; a bug in the handler is logged here
and told as CouldNotRun. It does not know what any verb means.

Invariants: only the same user and root are answered; nothing is sent before it is known whose server it is; the socket
is 0600 before anybody can connect; a request is handed to the handler at most once. Only the holder of the log's lock
may start a server: it replaces the socket file that a killed daemon left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core import errors
from reconciler.core.errors import CouldNotRun, PaiError, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.core.diagnostics import Diagnostic

Object = dict[str, object]
Handler = Callable[[str, Object], Object]

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
CONNECTIONS_MAX = 64
"""Requests answered at a time; more wait in the socket's backlog."""
REQUEST_TIMEOUT_S = 10.0
"""A client has this long to send its request, and again to take its answer."""
PATH_BYTES_MAX = 100
"""Unix socket addresses end at 107 bytes (103 on some systems); longer paths take a detour."""


class NoDaemon(CouldNotRun):
    """Nothing listens on the control socket."""


class Server:
    """Answers requests on a Unix socket, each on a thread of its own. Usable as a context manager."""

    def __init__(self, path: Path, handler: Handler, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Bind and listen; requests are answered after `start`.

        `handler` gets verb and arguments, from several threads. Raises CouldNotRun if the socket cannot be made.
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
                _send(connection, _error(CouldNotRun("the daemon is stopping", "try again when it has stopped")))

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
            _check_peer(connection)
            line = _receive(connection, time.monotonic() + self._request_timeout_s)
            verb, arguments = _request(line)
            answer = _line({"result": self._handler(verb, arguments)})
            if len(answer) > MESSAGE_BYTES_MAX:
                raise CouldNotRun("the daemon's answer is too large", "ask for less")
            return answer
        except PaiError as error:
            return _error(error)
        except TimeoutError:
            return _error(CouldNotRun("the request did not come to its end in time", "try again; see the daemon's log"))
        except Exception as bug:
            import logging

            logging.getLogger("pai.control").exception("a request failed")
            return _error(CouldNotRun(f"internal error in the daemon: {type(bug).__name__}", "see the daemon's log"))


def call(path: Path, verb: str, arguments: Object, timeout_s: float = 60.0, keeper: int | None = None) -> Object:
    """Ask the daemon that listens on `path` and give its result; it runs as this user, as root or as `keeper`.

    Raises NoDaemon if nothing listens there, the error that the daemon answered with, or CouldNotRun if it gave no
    answer within `timeout_s` seconds or went away (the request may then have been carried out).
    """
    deadline = time.monotonic() + timeout_s
    request = _line({"verb": verb, "arguments": arguments})
    if len(request) > MESSAGE_BYTES_MAX:
        raise CouldNotRun("the request is too large for the daemon", f"at most {MESSAGE_BYTES_MAX} bytes")
    with _connect(path, deadline) as connection:
        if _peer(connection) not in (None, os.geteuid(), 0, keeper):
            raise CouldNotRun(
                f"what listens on {path} belongs to another user", "see who runs it before anything is sent"
            )
        try:
            # A server that refuses unread answers and closes: its answer is worth more than our broken pipe.
            with contextlib.suppress(ConnectionError):
                connection.settimeout(_left(deadline))
                connection.sendall(request)
            line = _receive(connection, deadline)
        except TimeoutError:
            raise CouldNotRun(f"the daemon gave no answer within {timeout_s:g} s", "see its log; pai status") from None
        except OSError:
            line = b""
    if not line:
        raise CouldNotRun("the daemon went away before it answered", "check with pai status whether it was done")
    return _result(line)


def _result(line: bytes) -> Object:
    answer = _parse(line)
    result = answer.get("result")
    if isinstance(result, dict):
        return result
    error = answer.get("error")
    if not isinstance(error, dict):
        raise CouldNotRun("the daemon's answer cannot be read", "is it another version? restart it")
    raise _raised(error)


def _listen(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    """Give a listening socket and the identity (device, inode) of its file."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise CouldNotRun(f"{path} is in the way: it is not a socket", "move it away")
            path.unlink()
        with _address(path) as address:
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


def _connect(path: Path, deadline: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            while True:
                try:
                    connection.settimeout(_left(deadline))
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


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give an address for `path` that fits into a socket address however long the path is."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptors = f"/proc/self/fd/{folder}"
        if os.path.isdir(descriptors):
            yield f"{descriptors}/{path.name}"
            return
        import tempfile

        with tempfile.TemporaryDirectory(prefix="pai-") as short:
            link = Path(short, "d")
            link.symlink_to(path.parent)
            yield str(link / path.name)
    finally:
        os.close(folder)


def _check_peer(connection: socket.socket) -> None:
    if _peer(connection) not in (None, os.geteuid(), 0):
        raise CouldNotRun("the daemon belongs to another user", "run the command as that user")


def _peer(connection: socket.socket) -> int | None:
    """Tell as which user the other side runs; None where the system does not say.

    There the socket's mode and its folder's keep others out.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _receive(connection: socket.socket, deadline: float) -> bytes:
    """Read one line, without its end; b"" if the peer closed before it was whole. Raises TimeoutError at `deadline`."""
    chunks: list[bytes] = []
    size = 0
    while True:
        connection.settimeout(_left(deadline))
        chunk = connection.recv(262_144)
        if not chunk:
            return b""
        head, newline, _ = chunk.partition(b"\n")
        chunks.append(head)
        size += len(head)
        if size > MESSAGE_BYTES_MAX:
            raise CouldNotRun("the message is too large", f"at most {MESSAGE_BYTES_MAX} bytes")
        if newline:
            return b"".join(chunks)


def _left(deadline: float) -> float:
    """Give the seconds until `deadline`. Raises TimeoutError when it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def _line(value: Object) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _parse(line: bytes) -> Object:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CouldNotRun("the message is not a JSON object")
    return value


def _request(line: bytes) -> tuple[str, Object]:
    message = _parse(line)
    verb, arguments = message.get("verb"), message.get("arguments")
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise CouldNotRun("the request needs a verb and arguments")
    return verb, arguments


def _error(error: PaiError) -> bytes:
    """Encode an error; one that is defined elsewhere travels as its nearest class of core/errors.py."""
    known = next(cls for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
    body: Object = {"class": known.__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, Refused) and error.diagnostics:
        body["diagnostics"] = [
            {field: getattr(d, field) for field in type(d).__struct_fields__} for d in error.diagnostics
        ]
    return _line({"error": body})


def _raised(body: Object) -> PaiError:
    cls = getattr(errors, str(body.get("class")), None)
    message, hint = str(body.get("message", "")), str(body.get("hint", ""))
    if not (isinstance(cls, type) and issubclass(cls, PaiError)):
        return CouldNotRun(message, hint)
    if issubclass(cls, Refused):
        return cls(message, hint, _diagnostics(body.get("diagnostics")))
    return cls(message, hint)


def _diagnostics(items: object) -> Sequence[Diagnostic]:
    if not items:
        return ()
    import msgspec  # only when there is something to read

    from reconciler.core.diagnostics import Diagnostic

    try:
        return msgspec.convert(items, tuple[Diagnostic, ...])
    except msgspec.ValidationError:
        return ()
