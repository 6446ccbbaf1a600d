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

from reconciler.simulator.books import Visit
from reconciler.simulator.faults import Fault
from reconciler.simulator.refusing import Headers
from reconciler.simulator.shapes import Flow, SimulatorSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WIRE = "simulator.wire"
"""Under this name the scope's state holds the connection's transport."""
GARBAGE = b"<html>\xff\xfe{not json\n\ndata: {broken\r\n\r\n"


class Reply(NamedTuple):
    """A reply that is ready to be sent."""

    status: int
    headers: Headers
    flow: Flow
    stream: bool


async def read_body(receive: Receive) -> bytes | None:
    """Give the whole body; None if the client left while sending it."""
    message = await receive()
    if message["type"] != "http.request":
        return None
    if not message.get("more_body"):
        return bytes(message.get("body", b""))
    parts = [message.get("body", b"")]
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
    return b"".join(parts)


async def deliver(
    reply: Reply,
    fault: Fault,
    visit: Visit,
    scope: Scope,
    receive: Receive,
    send: Send,
    settings: SimulatorSettings | None = None,
) -> None:
    """Send a reply as the fault demands, and note in the visit what became of it."""
    visit.delivered = await _sent(_Sender(fault, scope, receive, send, settings), reply, fault, visit)


async def _sent(sender: _Sender, reply: Reply, fault: Fault, visit: Visit) -> bool:
    """Send, and tell whether all of it went out while somebody listened."""
    if fault.refuse:
        await sender.close()
        return False
    if sender.wait_s and await sender.left_within(sender.wait_s):
        return False
    visit.status = reply.status
    whole = await (sender.stream(reply) if reply.stream else sender.whole(reply))
    return whole and not sender.gone


class _Sender:
    """Sends one reply."""

    def __init__(
        self, fault: Fault, scope: Scope, receive: Receive, send: Send, settings: SimulatorSettings | None
    ) -> None:
        self._fault = fault
        self._transport: asyncio.Transport | None = scope.get("state", {}).get(WIRE)
        self._receive = receive
        self._send = send
        self.wait_s = fault.wait_s + (settings.latency_s if settings else 0.0)
        self._delay_s = fault.delay_s or (settings.delay_s if settings else 0.0)
        self._packer = zlib.compressobj(wbits=31) if fault.gzip else None

    @property
    def gone(self) -> bool:
        """Tell whether the connection is closed."""
        return self._transport is not None and self._transport.is_closing()

    async def whole(self, reply: Reply) -> bool:
        """Send a reply in one piece, or in halves where the fault needs places to fail; tell whether all of it went."""
        fault = self._fault
        body = GARBAGE if fault.garbage else b"".join(reply.flow.chunks) + b" " * fault.pad
        if self._packer:
            body = self._packer.compress(body) + self._packer.flush()
            self._packer = None
            reply.headers.append((b"content-encoding", b"gzip"))
        promised = len(body) + fault.length
        await self._start(reply, [(b"content-length", b"%d" % max(0, promised))])
        if fault.length < 0:
            return await self._overrun(body, max(0, promised))
        if fault.length > 0:
            await self._put(body)
            return await self._cut()
        if fault.cut_after is not None or fault.stall_s or fault.delay_s:
            half = len(body) // 2
            return await self._pieces(Flow((), (body[:half], body[half:]), ()))
        await self._send({"type": "http.response.body", "body": body})
        return True

    async def stream(self, reply: Reply) -> bool:
        """Send a stream piece by piece; tell whether all of it went."""
        fault = self._fault
        flow = reply.flow
        if fault.length:
            body = b"".join((*flow.head, *flow.chunks, *flow.tail))
            return await self.whole(reply._replace(flow=Flow((), (body,), ())))
        headers: Headers = []
        if fault.garbage:
            flow = Flow(flow.head, flow.chunks[:1], (GARBAGE,))
        if fault.pad:
            flow = flow._replace(chunks=tuple(_padded(chunk, fault.pad) for chunk in flow.chunks))
        if self._packer:
            headers.append((b"content-encoding", b"gzip"))
        await self._start(reply, headers)
        return await self._pieces(flow)

    async def _start(self, reply: Reply, more: Headers) -> None:
        headers = reply.headers + more
        if self._fault.headers:
            own = [(name.lower().encode(), value.encode()) for name, value in self._fault.headers.items()]
            names = {name for name, _ in own}
            headers = [pair for pair in headers if pair[0] not in names] + own
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})

    async def _pieces(self, flow: Flow) -> bool:
        """Send all pieces, stalling and cutting where the fault says."""
        fault = self._fault
        if fault.cut_after == 0:
            return await self._cut()
        if fault.stall_s and not fault.stall_after and await self.left_within(fault.stall_s):
            return False
        for piece in flow.head:
            await self._put(piece)
        for number, piece in enumerate(flow.chunks, 1):
            if self._delay_s and await self.left_within(self._delay_s):
                return False
            await self._put(piece)
            if fault.cut_after == number:
                return await self._cut()
            if fault.stall_s and fault.stall_after == number and await self.left_within(fault.stall_s):
                return False
        if fault.cut_after is not None:
            return await self._cut()
        for piece in flow.tail:
            await self._put(piece)
        rest = self._packer.flush() if self._packer else b""
        await self._send({"type": "http.response.body", "body": rest})
        return True

    async def _put(self, piece: bytes) -> None:
        if self._packer:
            piece = self._packer.compress(piece) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _cut(self) -> bool:
        """Close the connection in the middle of the answer."""
        await self.close()
        return False

    async def _overrun(self, body: bytes, promised: int) -> bool:
        """Send what was promised, and then the rest of the body as if it belonged to it."""
        await self._send({"type": "http.response.body", "body": body[:promised]})
        if not self.gone:
            self._wire().write(body[promised:])
        return False

    async def close(self) -> None:
        """Close the connection after what was written, and wait until it is."""
        self._wire().close()
        await self.left_within(60.0)

    def _wire(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("this fault needs the simulator's own server")
        return self._transport

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
