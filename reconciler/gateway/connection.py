"""One HTTP/1.1 connection to a provider: a request goes out whole, its answer comes in as it comes.

Invariants
- One exchange at a time: `send`, then `begun`, then `read` until b"", then `end`.
- Bytes that nobody asked for, or that are no HTTP, end the connection: nothing of one answer gets into the next one.
- An answer is whole if its framing says so, or if it has none and the provider closed the connection in good order.
- What is read and not yet taken is bounded: a slow reader slows the provider down.
- What is no body is bounded: all heads of an answer together, and what stands between two pieces of its body (sizes of
  chunks and their extensions, trailers), in bytes and, as any wait for a piece, in time.
"""

from __future__ import annotations

import asyncio
import fcntl
import termios
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, ClassVar, Final

import httptools

from reconciler.gateway.pace import LoopShare
from reconciler.gateway.room import Room
from reconciler.listening.deadline import Deadline

HEAD_BYTES_MAX: Final = 64 * 1024
HEADERS_MAX: Final = 256
"""Of all heads of an answer, and its trailers, together."""
SMALL_HEAD_BYTES_MAX: Final = 8 * 1024
SMALL_HEADERS_MAX: Final = 64
"""A head of more needs room, of which there is HEADS_BYTES_MAX for all connections: thousands may wait at one time."""
HEADS_BYTES_MAX: Final = 16 * 1024 * 1024
INTERIM_MAX: Final = 32
"""Answers before the answer (statuses below 200)."""
READ_BYTES_MAX: Final = 8 * 1024
"""Read from a socket at once."""
BUFFER_BYTES_MAX: Final = 4 * 1024
"""Read and not yet taken; beyond it reading pauses. Thousands of clients may leave their answers unread."""
REST_BYTES_MAX: Final = 64 * 1024
REST_S: Final = 5.0
"""What may follow the last word of an answer, and for how long, if its connection is to carry another one."""

_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding"))
Headers = list[tuple[bytes, bytes]]


class Lost(Exception):
    """The request may have been sent, and its answer did not come to its end."""


class _Excess(Exception):
    """An answer has more of something than there may be."""


_NOTHING: Final = bytes(4)
"""A count of bytes that wait, as the kernel writes it."""
_WAITING: Final = bytearray(1025)
"""Where the kernel writes it. CPython keeps its lock where more than 1,024 bytes are asked for: getting that
back takes longer than the call."""


class ProviderConnection(asyncio.BufferedProtocol):
    """A connection, and the answer that it brings at present: `status` and `headers` once it has begun."""

    plain: ClassVar[bool] = True
    """Whether bytes are read as they came; else they took their turn before, and some may be of no answer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        read_s: float,
        lost: Callable[[ProviderConnection], None],
        unasked: Callable[[ProviderConnection], None],
        buffer: memoryview,
        heads: Room,
        parsing: LoopShare,
    ) -> None:
        """`read_s` bounds each wait for the provider; `lost` is called when the connection has ended,
        `unasked` when it brought more than one answer to a request.

        `buffer` is what is read into, `heads` the room for large heads, `parsing` the loop's time for what comes;
        connections of one loop may share them.
        """
        self.agent = ""
        """Whose request it carries, by whom room and time are shared out."""
        self._heads = heads
        self._parsing = parsing
        self._large_head = False
        self.status = 0
        self.headers: Headers = []
        self._buffer = buffer
        self._loop = loop
        self._read_s = read_s
        self._on_lost = lost
        self._on_unasked = unasked
        self._transport: Any = None
        self._deadline = Deadline(loop)
        self._waiter: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._reset()
        self._closed = self._full = False

    def _reset(self) -> None:
        self._body = bytearray()
        self._later = b""  # what came and waits to be parsed; nothing is read meanwhile
        self._unread = self.taken = 0  # bytes as they came, with their framing: since the last read, and before it
        self._worked = 0.0
        self._loose = 0  # bytes since the last one of a body
        self._interim = self._fields = 0  # those of heads that are over, and of trailers
        self._drained: Callable[[ProviderConnection], None] | None = None
        self._begun = self._done = self._keep = self._paused = self._framed = False
        self._broken = ""

    @property
    def usable(self) -> bool:
        """Whether the connection is open, as far as anybody here knows."""
        return not self._closed and not self._transport.is_closing()

    @property
    def silent(self) -> bool:
        """Whether the connection is open, and nothing came that nobody asked for: it would be taken for an answer."""
        if not self.usable:
            return False
        fcntl.ioctl(self._descriptor, termios.FIONREAD, _WAITING)
        if not _WAITING.startswith(_NOTHING):
            if self.plain:  # else it may be a word of TLS, such as its farewell
                self._on_unasked(self)
            return False
        return True

    @property
    def over(self) -> bool:
        """Whether the answer came to its end and was read."""
        return self._done and not self._body and not self._broken

    @property
    def open_ended(self) -> bool:
        """Whether more of the answer may come."""
        return self.usable and not self._done and not self._broken

    # The exchange

    def send(self, head: bytes, body: bytes) -> None:
        """Write a request, and expect its answer."""
        self._expect()
        self._transport.write(head + body)

    async def send_pieces(self, head: bytes, body: Iterable[bytes]) -> None:
        """Do the same with a large body, no faster than the provider takes it. An answer that begins ends it."""
        self._expect()
        self._transport.write(head)
        for piece in body:
            self._deadline.within(self._read_s, self._late)
            while self._full and not self._begun and not self._broken:
                await self._wait()
            if self._begun or self._broken:
                self._keep = False  # the provider waits for the rest
                return
            self._transport.write(piece)

    def _expect(self) -> None:
        self._reset()
        self.status, self.headers = 0, []
        self._parser = httptools.HttpResponseParser(self)

    async def begun(self) -> None:
        """Wait until the answer's head has come. Raises Lost."""
        self._deadline.within(self._read_s, self._late)
        while not self._begun:
            if self._broken:
                raise Lost(self._broken)
            await self._wait()

    async def read(self) -> bytes:
        """Give what has come of the body, or wait for it; b"" at its end. Raises Lost, after what came before."""
        if not self._body:
            self._deadline.within(self._read_s, self._late)
        while not self._body:
            if self._broken:
                raise Lost(self._broken)
            if self._done:
                return b""
            await self._wait()
        found, self._body = bytes(self._body), bytearray()
        self.taken, self._unread = self._unread, 0
        if self._paused:
            self._paused = False
            if not self._closed:
                self._transport.resume_reading()
        return found

    def worked_s(self) -> float:
        """Give the seconds that the parser took since this was last asked."""
        worked, self._worked = self._worked, 0.0
        return worked

    def end(self) -> bool:
        """End the exchange, and tell whether the connection may carry another one; if not, it is dropped."""
        self._forget_head()
        reusable = self._done and self._keep and not self._broken and self.usable and not self._paused
        if reusable and not self._transport.get_write_buffer_size():  # else the provider answered before it had it all
            self._parser = None
            self._body = bytearray()
            return True
        self.abort()
        return False

    def leave(self, drained: Callable[[ProviderConnection], None]) -> None:
        """Throw away what is left of an answer; `drained` is called if it ends soon and the connection is of use."""
        self._forget_head()
        self._body, self._rest, self._drained = bytearray(), 0, drained
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._deadline.within(REST_S, self._late)

    def abort(self) -> None:
        """Drop the connection at once."""
        if not self._closed and self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _late(self) -> None:
        """End an answer that somebody still waits for, or whose rest does not end."""
        if self._drained is not None:
            self.fail("it did not end")
        elif self._waiter is not None:
            self.fail("it took too long")

    def fail(self, reason: str) -> None:
        """End an answer that does not come to its end by itself: whoever reads it is told this reason."""
        if not self._done and not self._broken:
            self._broken = reason
        self._keep = False
        self.abort()
        self._wake()

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = transport
        sock = transport.get_extra_info("socket")
        self._descriptor: int = -1 if sock is None else sock.fileno()

    def pause_writing(self) -> None:
        """Note that the provider is slower than what is sent."""
        self._full = True

    def resume_writing(self) -> None:
        """Note that there is room again."""
        self._full = False
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give where the next bytes are put."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes of the answer."""
        if self._parser is None or self._done:  # or not taken yet: what follows it may go on for ever
            self._keep = False
            self._on_unasked(self)
            self.abort()
            return
        if self._later or (self.plain and self._parsing.full()):
            if not self._later:
                self._transport.pause_reading()
                self._parsing.later(self.agent, self._parse_late)
            self._later += self._buffer[:nbytes]
        else:
            self._parse(self._parser, self._buffer[:nbytes])

    def _parse_late(self) -> None:
        piece, self._later = self._later, b""
        if self._parser is None or not piece:
            return
        self._parse(self._parser, piece)
        if self.usable and not self._paused:
            self._transport.resume_reading()

    def _parse(self, parser: httptools.HttpResponseParser, piece: bytes | memoryview) -> None:
        self._loose += len(piece)
        self._unread += len(piece)
        began = perf_counter()
        try:
            parser.feed_data(piece)
            if self._loose > SMALL_HEAD_BYTES_MAX and not self._done:
                self._hold_head()
        except _Excess as error:
            self.fail(str(error))
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            reason = error.__context__
            self.fail(str(reason) if isinstance(reason, _Excess) else "its answer is no HTTP")
            return
        worked_s = perf_counter() - began
        self._worked += worked_s
        self._parsing.took(worked_s)
        if self._loose > HEAD_BYTES_MAX and not self._done:
            where = "beside its body" if self._begun else "in its head"
            self.fail(f"its answer has more than {HEAD_BYTES_MAX:,} bytes {where}")
        elif self._drained is not None:
            self._drain(self._drained)
        elif self._unread > BUFFER_BYTES_MAX and self._body and not self._paused and not self._done:
            self._paused = True
            self._transport.pause_reading()
        if self._begun:
            self._wake()

    def _hold_head(self) -> None:
        """Have room for a large head. Raises _Excess."""
        if not self._large_head and not self._heads.take_now(self.agent, HEAD_BYTES_MAX):
            raise _Excess(f"its head is large, and those of others take {HEADS_BYTES_MAX:,} bytes")
        self._large_head = True

    def _forget_head(self) -> None:
        if self._large_head:
            self._large_head = False
            self._heads.give(self.agent, HEAD_BYTES_MAX)

    def _drain(self, drained: Callable[[ProviderConnection], None]) -> None:
        """Throw away what came after the last word."""
        self._rest += len(self._body)
        self._body = bytearray()
        if self._rest > REST_BYTES_MAX:
            self.fail("it did not end")
        elif self._done:
            self._drained = None
            if self.end():
                drained(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection, which may be that of the answer."""
        self._closed = True
        self._paused = True  # which it is for good
        for piece in self._left_over():
            if self._parser is not None and not self._done:
                self._parse(self._parser, piece)
        self._forget_head()
        self._deadline.end()
        if self._parser is not None and not self._done and not self._broken:
            if exc is None and self._begun and not self._framed:
                self._done = True
            else:
                self._broken = "it closed the connection"
        self._parser = None  # which holds on to this object
        self._wake()
        self._on_lost(self)

    def _left_over(self) -> Iterator[bytes]:
        """Give what came and was not parsed while reading was paused, little as it is."""
        if self._later:
            yield self._later

    # What the parser says

    def on_message_begin(self) -> None:
        """Note a second answer, which nobody asked for."""
        if self._done:
            self._keep = False
            self._on_unasked(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, its name in lower case; what comes after the body is none of the answer's. Raises _Excess."""
        if self._begun:
            self._fields += 1
            self._bound(self._fields)
            return
        headers = self.headers
        headers.append((name.lower(), value))
        if self._fields or len(headers) > SMALL_HEADERS_MAX:
            self._bound(self._fields + len(headers))

    def _bound(self, fields: int) -> None:
        """Have room for many headers. Raises _Excess for more, where the parser stops, however many there are."""
        if fields > HEADERS_MAX:
            raise _Excess(f"its answer has more than {HEADERS_MAX} headers")
        if fields > SMALL_HEADERS_MAX:
            self._hold_head()

    def on_headers_complete(self) -> None:
        """Take the head, unless it only says that an answer will come. Raises _Excess."""
        if self._begun:
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        self._fields += len(self.headers)
        if 100 <= status < 200:
            self.headers = []
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise _Excess(f"more than {INTERIM_MAX} answers came before its answer")
            return
        self.status, self._begun = status, True
        self._framed = not _FRAMING.isdisjoint(dict(self.headers))
        self._keep = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._loose = 0
        if not self._done:
            self._body += data

    def on_message_complete(self) -> None:
        """Take the end, unless it is that of a head which only said that an answer will come."""
        if self._begun:
            self._done = True
