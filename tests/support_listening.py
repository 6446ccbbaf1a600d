"""A listener of its own in this process, whose application tells what it saw, and raw connections to any port."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import uvloop

from reconciler.listening import Door, DoorLimits, Hosts, Listener, Proxies
from tests.support import DEADLINE_S

MIB = 1024 * 1024


class Answer(NamedTuple):
    """One answer: its status, its headers by name, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)


class Wire:
    """A raw connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self._read = b""

    def send(self, data: bytes) -> None:
        """Send these bytes; a connection that was closed meanwhile is no error."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def _more(self) -> bool:
        try:
            piece = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._read += piece
        return bool(piece)

    def answer(self) -> Answer | None:
        """Read one answer; None if the connection was closed instead."""
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                assert not self._read, self._read
                return None
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", line)[1])  # type: ignore[index]
        if status == 100:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        length = int(headers["content-length"])
        while len(self._read) < length:
            assert self._more(), "the answer broke off"
        body, self._read = self._read[:length], self._read[length:]
        return Answer(status, headers, body)

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._read:
                assert self._more(), "the answer broke off"
            size, _, self._read = self._read.partition(b"\r\n")
            length = int(size, 16)
            while len(self._read) < length + 2:
                assert self._more(), "the answer broke off"
            body, self._read = body + self._read[:length], self._read[length + 2 :]
            if not length:
                return body

    def answers(self) -> list[Answer]:
        """Read answers until the connection is closed."""
        return list(iter(self.answer, None))

    def close(self) -> None:
        """Close it."""
        self.socket.close()


@contextlib.contextmanager
def wired(port: int) -> Iterator[Wire]:
    """Connect to a port of this machine."""
    with contextlib.closing(Wire(port)) as wire:
        yield wire


class Echo:
    """A listener whose application answers 200 with what it was given; below /refuse 401, without reading the body."""

    def __init__(self, *, head_s: float = 5.0, hosts: tuple[str, ...] = (), trusted: tuple[str, ...] = ()) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listening.getsockname()[1]
        proxies = Proxies(ipaddress.ip_network(network) for network in trusted)
        self.door = Door(self._answer, self._foreign, Hosts(hosts), proxies, DoorLimits(head_s, 5.0))
        self.gate = threading.Event()
        self.gate.set()
        self._loop = uvloop.new_event_loop()
        self._listener = Listener(self.door, self._listening)
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._listener.run(),))

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._listener._server.server_state.connections)

    @property
    def waiting(self) -> list[Any]:
        """Those whose client takes none of what is sent."""
        return [each for each in list(self._listener._server.server_state.connections) if each._flow.write_paused]

    @property
    def new(self) -> list[Any]:
        """Those on which nothing was asked yet."""
        return [each for each in list(self._listener._server.server_state.connections) if not each._shown]

    def shrink(self) -> None:
        """Have the system keep as little of what is sent as it may, on connections from now on."""
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def watch(self, told: Callable[[Any], None]) -> None:
        """Have the loop tell of exceptions that nobody took."""
        self._loop.set_exception_handler(lambda _, context: told(context))

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the loop from everything else until the block ends."""
        begun, done = threading.Event(), threading.Event()
        self._loop.call_soon_threadsafe(lambda: (begun.set(), done.wait()))
        begun.wait()
        try:
            yield
        finally:
            done.set()

    def __enter__(self) -> Echo:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._loop.call_soon_threadsafe(self._listener.stop)
        self._thread.join()
        self._loop.close()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", not scope["path"].startswith("/refuse")
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        told = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            "client": scope["client"][0] if scope["client"] else "",
            "scheme": scope["scheme"],
            "body": body.decode("latin-1"),
        }
        await _send(send, 401 if scope["path"].startswith("/refuse") else 200, told)

    async def _foreign(self, _: Any, __: Any, send: Any) -> None:
        await _send(send, 421, {})


async def _send(send: Any, status: int, told: dict[str, Any]) -> None:
    data = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
