"""One request and its answer, as the application sees them: uvicorn's cycle with a way of its own to send.

The head of an answer is checked as a whole, and not field by field, which is most of what an answer costs otherwise,
and leaves together with what of the body is there: each write is a call of the system. A large body is not copied for
that: many may ask for the same one. What is not one head, or not the body that it promised, is a bug of the
application: nothing of it is sent, and it is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

JOINED_BYTES_MAX: Final = 8 * 1024
"""A body beyond this is written as it is, behind what stands before it."""

_CONTROLS: Final = bytes((*range(9), *range(10, 32), 127))
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
"""What a name in lower case consists of (RFC 9110 5.6.2)."""
_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding", b"connection"))


class ClientFlow(FlowControl):
    """uvicorn's flow control; whether there is more to read is the connection's business."""

    def __init__(self, transport: asyncio.Transport, wanted: Callable[[], None]) -> None:
        super().__init__(transport)
        self._wanted = wanted

    def resume_reading(self) -> None:
        """Tell the connection that more is wanted."""
        self._wanted()

    def read(self, *, on: bool) -> None:
        """Read from the socket, or stop reading."""
        if on == self.read_paused:
            if on:
                super().resume_reading()
            else:
                self.pause_reading()


class Cycle(RequestResponseCycle):
    """One request of a connection."""

    _head = b""

    async def send(self, message: Any) -> None:
        """Send the head of the answer, then pieces of its body. Raises RuntimeError for what is out of order."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"an answer begins with its head, and not with {kind}")
            self._start(message["status"], message.get("headers", ()))
        elif kind != "http.response.body" or self.response_complete:
            raise RuntimeError(f"{kind} came after its time")
        else:
            self._piece(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the head. Without a length the body is chunked, unless there is none by its status."""
        fields = [*self.default_headers, *headers]
        if not _named(fields):
            fields = [(name.lower(), value) for name, value in fields]
            if not _named(fields):
                raise RuntimeError("the name of a header is no token")
        text = b"\r\n".join([*map(b": ".join, fields), b""])
        if len(text) - len(text.translate(None, _CONTROLS)) != 2 * len(fields):
            raise RuntimeError("a header holds a control character")
        for name, value in fields:
            if name in _FRAMING:
                self._frame(name, value.lower())
        if not self.keep_alive and (b"connection", b"close") not in fields:
            text += b"connection: close\r\n"
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            text += b"transfer-encoding: chunked\r\n"
        self.response_started = True
        self.waiting_for_100_continue = False
        self._head = STATUS_LINE[status] + text + b"\r\n"
        if self.chunked_encoding:  # else the body follows at once
            asyncio.get_running_loop().call_soon(self._send_head)

    def _send_head(self) -> None:
        """Send a head behind which nothing has come in its moment."""
        head, self._head = self._head, b""
        if head and not self.disconnected:
            self.transport.write(head)

    def _frame(self, name: bytes, value: bytes) -> None:
        if name == b"connection":
            if b"close" in [token.strip() for token in value.split(b",")]:
                self.keep_alive = False
        elif name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length, self.chunked_encoding = int(value), False
        elif name == b"transfer-encoding" and value == b"chunked":
            self.expected_content_length, self.chunked_encoding = 0, True

    def _piece(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            self._send_head()
        elif self.chunked_encoding:
            before = b"%b%x\r\n" % (self._head, len(body)) if body else self._head
            after = (b"\r\n" if body else b"") + (b"" if more else b"0\r\n\r\n")
            self._write(before, body, after)
        else:
            left = self.expected_content_length - len(body)
            if left < 0 or (left > 0 and not more):
                raise RuntimeError("the body is not as long as its head says")
            self.expected_content_length = left
            self._write(self._head, body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _write(self, before: bytes, body: bytes, after: bytes = b"") -> None:
        self._head = b""
        pieces = (before, body, after)
        for piece in pieces if len(body) > JOINED_BYTES_MAX else (b"".join(pieces),):
            if piece:
                self.transport.write(piece)


def _named(fields: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether all names are tokens in lower case."""
    names = [name for name, _ in fields]
    return b"" not in names and not b"".join(names).translate(None, _TOKEN)
