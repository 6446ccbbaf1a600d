"""Servers that answer the client of the providers over real sockets, in every way a provider may."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import uvloop

from reconciler.gateway.upstream import Upstream

MIB = 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n"
HI = OK + b"content-length: 2\r\n\r\nhi"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(work: Awaitable[None]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20):
            await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


class Server:
    """A provider's side: what it read, how many connections it took, that ended, and were open at once at most."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = 0
        self.most = 0

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request, which has a Content-Length; b"" at the end of the connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        found = head + await reader.readexactly(length)
        self.requests.append(found)
        return found


@contextlib.asynccontextmanager
async def serving(handler: Handler, server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve with a handler of connections until the block ends."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.most = max(server.most, server.connections - server.ended)
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            server.ended += 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    server.url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat?a=b"
    try:
        yield server
    finally:
        listening.close()


@contextlib.asynccontextmanager
async def answering(*answers: bytes, hang: bool = False) -> AsyncIterator[Server]:
    """Serve connections that answer one request after the other with these bytes, then close, or `hang`."""
    server = Server()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            if not await server.request(reader):
                return
            writer.write(answer)
            await writer.drain()
        if hang:
            await reader.read()

    async with serving(handler, server):
        yield server


def pool(connect_s: float = 5, read_s: float = 5) -> Upstream:
    return Upstream(connect_s, read_s)


async def asked(client: Upstream, url: str, body: bytes = b"{}") -> tuple[int, bytes]:
    """Send a request and read its whole answer."""
    answer = await client.post(url, {"x-a": "b"}, body)
    pieces: list[bytes] = []
    try:
        while piece := await answer.read():
            pieces.append(piece)
        return answer.status, b"".join(pieces)
    finally:
        answer.close()


class RawProvider:
    """A provider beside the test, on a thread, that sends what a test writes: no library frames or checks anything.

    `answer` is called with each connection and the request read from it, and may do with the connection what it likes;
    if it returns True the connection waits for another request, else it is closed.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answer: Callable[[socket.socket, bytes], bool | None] = lambda sock, _: sock.sendall(HI)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def origin(self) -> str:
        """Give what a base URL begins with."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """Give the variables that point a gateway here, for all providers."""
        return {
            f"PAI_PROVIDERS_{name}_BASE_URL": self.origin for name in ("OPENAI", "ANTHROPIC", "GEMINI", "OPENROUTER")
        }

    def says(self, *pieces: bytes) -> None:
        """Answer every request with these pieces, and close."""

        def answer(sock: socket.socket, request: bytes) -> None:
            del request
            for piece in pieces:
                sock.sendall(piece)

        self.answer = answer

    def close(self) -> None:
        """Take no more connections: not by the number of this socket either, which the next one gets."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            while request := _request(sock):
                self.requests.append(request)
                if not self.answer(sock, request):
                    return


def _request(sock: socket.socket) -> bytes:
    """Read one request, which has a Content-Length; b"" at the end of the connection."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = sock.recv(65536)
        if not piece:
            return b""
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


CLOSE = "connection: close"
"""A provider that closed a connection without this would lose what is sent on it just then."""


def framed(body: bytes, *headers: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """Give a whole answer with its length, the last one of its connection."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", CLOSE, *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def streamed(*headers: str, kind: str = "text/event-stream", status: str = "200 OK", last: bool = True) -> bytes:
    """Give the head of an answer in chunks, the last one of its connection or not."""
    lines = [f"HTTP/1.1 {status}", "transfer-encoding: chunked", *headers]
    lines += [f"content-type: {kind}"] * bool(kind) + [CLOSE] * last
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def chunked(data: bytes) -> bytes:
    """Give one chunk; b"" is the end."""
    return b"%x\r\n" % len(data) + data + b"\r\n"
