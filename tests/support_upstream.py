"""Servers that answer the client of the providers over real sockets, in every way a provider may."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
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
    try:
        return answer.status, await answer.whole(64 * MIB)
    finally:
        answer.close()
