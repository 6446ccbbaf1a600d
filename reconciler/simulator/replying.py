"""Sending a reply, well or badly: the one place where faults happen on the wire.

Faults that need the connection itself (closing it, bytes beyond Content-Length) find it in the scope's state, where the
simulator's own server puts it.

Invariants: without a fault a reply is sent whole, a stream piece by piece. A client that has left ends every wait.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from reconciler.simulator.books import SeenRequest
from reconciler.simulator.faults import Fault
from reconciler.simulator.refusing import Headers
from reconciler.simulator.shapes import Flow, SimulatorSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WIRE = "simulator.wire"
"""Under this name the scope's state holds the connection's transport."""
GARBAGE = b"<html>\xff\xfe{not json\n\ndata: {broken\r\n\r\n"


class Reply(NamedTuple):
    """A reply that is ready to be sent: in one piece, or as a stream."""

    status: int
    headers: Headers
    body: bytes | Flow


async def read_body(receive: Receive) -> bytes | None:
    """Give the whole body; None if the client left while sending it."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def deliver(
    reply: Reply,
    fault: Fault,
    visit: SeenRequest,
    wire: asyncio.Transport,
    receive: Receive,
    send: Send,
    settings: SimulatorSettings,
) -> None:
    """Send a reply as the fault demands, and note in the visit what became of it."""
    sender = _Sender(fault, wire, receive, send, fault.delay_s or settings.delay_s)
    wait_s = fault.wait_s + settings.latency_s
    if fault.refuse:
        visit.delivered = await sender.cut()
    elif wait_s and await sender.left_within(wait_s):
        visit.delivered = False
    else:
        visit.status, body = reply.status, reply.body
        sent = await (sender.whole(reply, body) if isinstance(body, bytes) else sender.stream(reply, body))
        visit.delivered = sent and not sender.gone


class _Sender:
    """Sends one reply."""

    def __init__(self, fault: Fault, wire: asyncio.Transport, receive: Receive, send: Send, delay_s: float) -> None:
        self._fault = fault
        self._wire = wire
        self._receive = receive
        self._send = send
        self._delay_s = delay_s
        self._packer = zlib.compressobj(wbits=31) if fault.gzip else None

    @property
    def gone(self) -> bool:
        """Tell whether the connection is closed."""
        return self._wire.is_closing()

    async def whole(self, reply: Reply, body: bytes) -> bool:
        """Send a body in one piece, or in halves where the fault needs places to fail; tell whether all of it went."""
        fault = self._fault
        body = GARBAGE if fault.garbage else body + b" " * fault.pad
        if self._packer:
            body = self._packer.compress(body) + self._packer.flush()
            self._packer = None
        promised = max(0, len(body) + fault.length)
        await self._start(reply, (b"content-length", b"%d" % promised))
        if fault.length < 0:
            return await self._overrun(body, promised)
        if fault.length > 0:
            await self._put(body)
            return await self.cut()
        if fault.cut_after is not None or fault.stall_s or fault.delay_s:
            half = len(body) // 2
            return await self._pieces(Flow((), (body[:half], body[half:]), ()))
        await self._send({"type": "http.response.body", "body": body})
        return True

    async def stream(self, reply: Reply, flow: Flow) -> bool:
        """Send a stream piece by piece; tell whether all of it went."""
        fault = self._fault
        if fault.length:
            return await self.whole(reply, b"".join((*flow.head, *flow.chunks, *flow.tail)))
        if fault.garbage:
            flow = Flow(flow.head, flow.chunks[:1], (GARBAGE,))
        if fault.pad:
            flow = flow._replace(chunks=tuple(_padded(chunk, fault.pad) for chunk in flow.chunks))
        await self._start(reply)
        return await self._pieces(flow)

    async def _start(self, reply: Reply, *more: tuple[bytes, bytes]) -> None:
        own = {name.lower().encode(): value.encode() for name, value in self._fault.headers.items()}
        packed = [(b"content-encoding", b"gzip")] if self._fault.gzip else []
        headers = [pair for pair in (*reply.headers, *packed, *more) if pair[0] not in own] + list(own.items())
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})

    async def _pieces(self, flow: Flow) -> bool:
        """Send all pieces, stalling and cutting where the fault says."""
        fault = self._fault
        if fault.cut_after == 0:
            return await self.cut()
        if fault.stall_s and not fault.stall_after and await self.left_within(fault.stall_s):
            return False
        for piece in flow.head:
            await self._put(piece)
        for number, piece in enumerate(flow.chunks, 1):
            if self._delay_s and await self.left_within(self._delay_s):
                return False
            await self._put(piece)
            if fault.cut_after == number:
                return await self.cut()
            if fault.stall_s and fault.stall_after == number and await self.left_within(fault.stall_s):
                return False
        if fault.cut_after is not None:
            return await self.cut()
        for piece in flow.tail:
            await self._put(piece)
        rest = self._packer.flush() if self._packer else b""
        await self._send({"type": "http.response.body", "body": rest})
        return True

    async def _put(self, piece: bytes) -> None:
        if self._packer:
            piece = self._packer.compress(piece) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _overrun(self, body: bytes, promised: int) -> bool:
        """Send what was promised, and then the rest of the body as if it belonged to it."""
        await self._send({"type": "http.response.body", "body": body[:promised]})
        if not self.gone:
            self._wire.write(body[promised:])
        return False

    async def cut(self) -> bool:
        """Close the connection after what was written, and wait until it is; what there was to send did not all go."""
        self._wire.close()
        await self.left_within(60.0)
        return False

    async def left_within(self, seconds: float) -> bool:
        """Wait; tell whether the client left meanwhile, which ends the wait."""
        try:
            await asyncio.wait_for(self._left(), seconds)
        except TimeoutError:
            return False
        return True

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _padded(piece: bytes, blanks: int) -> bytes:
    """Add blanks to a piece where JSON may have them: before the line ends that close it."""
    inner = piece.rstrip(b"\r\n")
    return inner + b" " * blanks + piece[len(inner) :]
