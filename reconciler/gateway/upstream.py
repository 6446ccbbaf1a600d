"""Requests to providers: one pool of connections, and what can be said when it goes wrong.

The one difference that money hangs on: Unsent means that the provider certainly saw nothing, Lost that nobody knows.
Redirects are answers, never followed; no proxy, cookie or credential of the surroundings is used, and no request is
sent twice.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import socket
import ssl
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from time import perf_counter
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from reconciler.gateway.ciphered import CipheredConnection
from reconciler.gateway.connection import (
    BUFFER_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEADS_BYTES_MAX,
    READ_BYTES_MAX,
    Lost,
    ProviderConnection,
)
from reconciler.gateway.masking import Mask
from reconciler.gateway.pace import LoopShare
from reconciler.gateway.room import Room
from reconciler.gateway.slots import Slots
from reconciler.gateway.spool import Spool
from reconciler.gateway.tls import client_context
from reconciler.gateway.unpacking import unpacked
from reconciler.listening.listener import at_most

KEEP_ALIVE_S: Final = 15.0
CONNECTIONS_MAX: Final = 4096
"""To one provider, and no more than a quarter of the files that may be open; all have twice as many (`slots.py`)."""
DISTRUST_S: Final = 60.0
"""How long no connection is kept of a provider that said something unasked: the next answer may be another's."""
KEEP_AWAKE_S: Final = 60
"""After how many seconds of silence TCP asks whether the other side is still there."""
ADDRESSES_S: Final = 10.0
"""How long the addresses of a name are believed."""
FRAMED_TIMES: Final = 16
"""How many times as long as its plain bytes a small answer may be as it comes, with framing or badly packed."""
NEXT_ADDRESS_S: Final = 0.25
"""How long an address may take before the next one is tried beside it (RFC 8305)."""


class Unsent(Exception):
    """The provider was not reached; it has seen nothing of the request."""


class _Origin(NamedTuple):
    secure: bool
    host: str
    port: int


class Answer:
    """A provider's answer that has begun. To be closed; closing before the end drops the connection."""

    def __init__(self, connection: ProviderConnection, pool: Upstream, mask: Mask) -> None:
        """Raises Lost if it is packed in a way that nobody asked for."""
        self._connection: ProviderConnection | None = connection
        self._pool = pool
        self._packed = unpacked(connection.headers, self._raw)
        self._read = self._packed.read if self._packed is not None else self._raw
        self._mask = mask
        self._masked_s = 0.0
        self._left = math.inf  # bytes that may still come
        self._back = b""
        self.due: Callable[[int], bool] | None = None
        """Tells whether a piece of so many bytes has to wait for its turn."""
        self.turn: Callable[[Answer], Awaitable[None]] = _no_turn
        """Waits for it."""
        self.status = connection.status
        self.headers = connection.headers
        named = [value for name, value in self.headers if name == b"content-type"]
        self.content_type = named[0].decode("latin-1").partition(";")[0].strip().lower() if named else ""

    async def read(self) -> bytes:
        """Give the next piece as it came, but for the provider's key, b"" at the end. Raises Lost."""
        if self._back:
            piece, self._back = self._back, b""
            return piece
        while piece := await self._read():
            if self._packed is not None and self.due is not None and self.due(len(piece)):
                await self.turn(self)
            began = perf_counter()
            shown = self._mask.feed(piece)
            self._masked_s += perf_counter() - began
            if shown:
                return shown
        return self._mask.rest()

    async def _raw(self) -> bytes:
        """Give what came when it may be worked on, unpacked before all else. Raises Lost."""
        connection = self._connection
        assert connection is not None
        piece = await connection.read()
        self._left -= connection.taken
        if self._left < 0:
            raise Lost("it is longer than what is asked for can be")
        if piece and self.due is not None and self.due(max(len(piece), connection.taken)):
            await self.turn(self)
        return piece

    async def peek(self) -> bytes:
        """Give the next piece without taking it. Raises Lost."""
        self._back = await self.read()
        return self._back

    def put_back(self, pieces: bytes) -> None:
        """Have what was read last be read again."""
        self._back = pieces

    @property
    def over(self) -> bool:
        """Whether all of it was read, as far as that shows without reading on."""
        connection = self._connection
        return connection is not None and connection.over and not (self._packed or self._back or self._mask.keeps)

    @property
    def open_ended(self) -> bool:
        """Whether more of it may come."""
        return self._connection is not None and self._connection.open_ended

    def worked_s(self) -> float:
        """Give the seconds that parsing, unpacking and masking took since this was last asked."""
        worked, self._masked_s = self._masked_s, 0.0
        if self._packed is not None:
            worked, self._packed.worked_s = worked + self._packed.worked_s, 0.0
        return worked + self._connection.worked_s() if self._connection is not None else worked

    async def whole(self, size_max: int) -> bytes:
        """Read all of an answer that has to be small and soon at its end. Raises Lost."""
        pieces: list[bytes] = []
        size = 0
        self._left = HEAD_BYTES_MAX + size_max * FRAMED_TIMES
        try:
            async with asyncio.timeout(self._pool.read_s):
                while piece := await self.read():
                    size += len(piece)
                    if size > size_max:
                        raise Lost(f"the answer has more than {size_max} bytes")
                    pieces.append(piece)
        except TimeoutError:
            raise Lost("it took too long") from None
        return b"".join(pieces)

    def give_up(self, reason: str) -> None:
        """Read no more of it: whoever reads it is told that it is lost, and why."""
        if self._connection is not None:
            self._connection.fail(reason)

    def close(self, *, said_all: bool = False) -> None:
        """Give the connection back, or drop it if the answer was not read to its end; safe to call twice.

        `said_all`: the answer has said its last word, so what may be left of it is thrown away first.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # They hold this object, and the exchange with its body: both would stay until cycles are looked for.
        self._read, self._packed, self.due, self.turn = _nothing, None, None, _no_turn
        if said_all and connection.open_ended:
            self._pool.leave(connection)
        elif connection.end():
            self._pool.take_back(connection)


async def _no_turn(_: Answer) -> None:
    """Wait for nothing."""


async def _nothing() -> bytes:
    """Give the end."""
    return b""


class Upstream:
    """The pool. Use it as an async context manager on the loop that sends.

    `connect_s` bounds the making of a connection, `read_s` the silence before an answer begins and between two pieces.
    """

    def __init__(self, connect_s: float, read_s: float) -> None:
        self._connect_s = connect_s
        self.read_s = read_s
        self._buffer = memoryview(bytearray(READ_BYTES_MAX))
        self._heads = Room(HEADS_BYTES_MAX, HEADS_BYTES_MAX // 2)
        self._slots = Slots(at_most(CONNECTIONS_MAX))
        self._open: dict[ProviderConnection, _Origin] = {}
        # Since when they are kept, the longest first.
        self._idle: defaultdict[_Origin, OrderedDict[ProviderConnection, float]] = defaultdict(OrderedDict)
        self._leaving: defaultdict[_Origin, OrderedDict[ProviderConnection, None]] = defaultdict(OrderedDict)
        self._distrusted: dict[_Origin, float] = {}  # until when
        self._sweeping: asyncio.TimerHandle | None = None
        self._addresses: dict[_Origin, tuple[float, asyncio.Future[list[AddrInfoType]]]] = {}
        self._tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._parsing = LoopShare()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes | Spool, mask: Mask | None = None, agent: str = ""
    ) -> Answer:
        """Send a request and wait for the answer to begin, of which `mask` takes the key out. Raises Unsent, Lost.

        A spool is closed once it is sent. `agent` is whose request it is.
        """
        origin, start = _target(url)
        head = _head(start, headers, len(body))
        connection = self._take(origin) or await self._connect(origin)
        connection.agent = agent
        try:
            if isinstance(body, Spool):
                await connection.send_pieces(head, body.pieces())
                body.close()
            else:
                connection.send(head, body)
            await connection.begun()
            return Answer(connection, self, mask or Mask(()))
        except BaseException:
            connection.abort()
            raise

    # Connections that are kept

    def _take(self, origin: _Origin) -> ProviderConnection | None:
        """Give the connection that was used last, if one is kept and still open."""
        kept = self._idle.get(origin)
        while kept:
            connection, since = kept.popitem()
            if connection.silent and self._loop.time() - since < KEEP_ALIVE_S:
                return connection
            connection.abort()
        return None

    def _distrust(self, connection: ProviderConnection) -> None:
        """Keep no connection of a provider for a while: what it says may be the answer to another request."""
        origin = self._open.get(connection)
        if origin is not None:
            self._distrusted[origin] = self._loop.time() + DISTRUST_S
            for kept in list(self._idle.get(origin, ())):
                kept.abort()

    def _keeps(self, origin: _Origin) -> bool:
        """Tell whether a connection is kept: nobody waits for one, and its provider spoke only when it was asked."""
        return not self._slots.short(origin) and self._distrusted.get(origin, 0.0) <= self._loop.time()

    def take_back(self, connection: ProviderConnection) -> None:
        """Keep a connection for the next request, unless others wait for one that they can make."""
        origin = self._open[connection]
        if not self._keeps(origin):
            connection.abort()
            return
        self._stays(connection, origin)
        self._idle[origin][connection] = self._loop.time()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(KEEP_ALIVE_S, self._sweep)

    def leave(self, connection: ProviderConnection) -> None:
        """Keep a connection once the rest of its answer is thrown away, unless others wait for one."""
        origin = self._open[connection]
        if not self._keeps(origin):
            connection.abort()
            return
        self._leaving[origin][connection] = None
        connection.leave(self.take_back)

    def _stays(self, connection: ProviderConnection, origin: _Origin) -> None:
        """Note that a connection throws nothing away any more."""
        if leaving := self._leaving.get(origin):
            leaving.pop(connection, None)

    def _sweep(self) -> None:
        """Close what nobody has used for long."""
        self._sweeping = None
        until = self._loop.time() - KEEP_ALIVE_S
        for kept in self._idle.values():
            while kept and next(iter(kept.values())) <= until:
                kept.popitem(last=False)[0].abort()
        if any(self._idle.values()):
            self._sweeping = self._loop.call_later(KEEP_ALIVE_S, self._sweep)

    def _make_room(self, origin: _Origin) -> None:
        """Close a connection that no request needs, if its provider, or all, have as many as there may be."""
        if not self._slots.short(origin):
            return
        full = self._slots.full(origin)  # then it gets none, whatever others give back
        idle, leaving = (() if full else each.values() for each in (self._idle, self._leaving))
        for spare in (self._leaving.get(origin), *idle, *leaving):
            if spare:
                spare.popitem(last=False)[0].abort()
                return

    def _lost(self, connection: ProviderConnection) -> None:
        origin = self._open.pop(connection, None)
        if origin is None:
            return  # it was never used
        self._slots.give(origin)
        self._stays(connection, origin)
        if kept := self._idle.get(origin):
            kept.pop(connection, None)

    # Connections that are made

    async def _connect(self, origin: _Origin) -> ProviderConnection:
        self._make_room(origin)
        await self._slots.take(origin)
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._connected(origin)
            if not connection.usable:
                raise ConnectionResetError(errno.ECONNRESET, "closed at once")
        except BaseException as error:
            self._slots.give(origin)
            if isinstance(error, OSError):  # TimeoutError and those of TLS too
                raise Unsent(_said(error)) from error
            raise
        self._open[connection] = origin
        return connection

    async def _connected(self, origin: _Origin) -> ProviderConnection:
        loop = self._loop
        sock = await start_connection(
            await self._resolve(origin), happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, loop=loop
        )
        try:
            _prepare(sock)
            tls = await self._context() if origin.secure else None
            kind = CipheredConnection if origin.secure else ProviderConnection
            transport, connection = await loop.create_connection(
                lambda: kind(loop, self.read_s, self._lost, self._distrust, self._buffer, self._heads, self._parsing),
                sock=sock,
                ssl=tls,
                server_hostname=origin.host if origin.secure else None,
            )
            if tls is not None:  # else 256 KiB wait there, encrypted, beside what the connection holds
                transport.set_read_buffer_limits(BUFFER_BYTES_MAX)  # type: ignore[attr-defined]
        except BaseException:
            sock.close()
            raise
        return connection

    async def _resolve(self, origin: _Origin) -> list[AddrInfoType]:
        """Look a name up; many that ask at once, or soon after, ask once."""
        expires, found = self._addresses.get(origin, (0.0, None))
        if found is None or (found.done() and expires <= self._loop.time()):
            found = self._loop.create_task(self._look_up(origin))
            found.add_done_callback(lambda found: self._resolved(origin, found))
            self._addresses[origin] = self._loop.time() + ADDRESSES_S, found
        return await asyncio.shield(found)

    async def _look_up(self, origin: _Origin) -> list[AddrInfoType]:
        return list(await self._loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM))

    def _resolved(self, origin: _Origin, found: asyncio.Future[list[AddrInfoType]]) -> None:
        """Forget a look-up that failed."""
        if found.cancelled() or found.exception() is not None:
            self._addresses.pop(origin, None)

    async def _context(self) -> ssl.SSLContext:
        """Give the settings of TLS."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(client_context)
        return self._tls


def _target(url: str) -> tuple[_Origin, str]:
    """Give where a URL leads, and the first lines of a request there."""
    base, mark, query = url.partition("?")
    origin, path, host = _base(base)
    return origin, f"POST {path}{mark}{query} HTTP/1.1\r\nhost: {host}\r\n"


@lru_cache(1024)
def _base(url: str) -> tuple[_Origin, str, str]:
    """Take a URL without its query apart: that is the operator's and the bindings', the query is the clients'."""
    parts = urlsplit(url)
    secure, host = parts.scheme == "https", parts.hostname or ""
    return _Origin(secure, host, parts.port or (443 if secure else 80)), parts.path or "/", parts.netloc


def _head(start: str, headers: Mapping[str, str], size: int) -> bytes:
    """Write the head of a request. Raises Unsent for a header that would be more than one."""
    lines = [start, *(f"{name}: {value}\r\n" for name, value in headers.items())]
    text = "".join((*lines, f"content-length: {size}\r\n\r\n"))
    if not text.count("\n") == text.count("\r") == len(headers) + 4 or "\0" in text:
        raise Unsent("a header or the path of the request holds a line break")
    return text.encode("utf-8", "replace")


def _prepare(sock: socket.socket) -> None:
    """Send at once, and let no router on the way forget a connection on which a model thinks for minutes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), KEEP_AWAKE_S)


def _said(error: OSError) -> str:
    """Word an error for people: without addresses and nothing of what was sent."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate is not trusted: {error.verify_message}"
    elif isinstance(error, ssl.SSLError | socket.gaierror):
        reason = error.strerror or type(error).__name__
    else:
        reason = os.strerror(error.errno) if error.errno else "none of its addresses answers"
    return f"it cannot be reached: {reason}"
