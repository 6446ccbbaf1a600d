"""The agents' port: uvicorn with limits on what a client may do before its request is whole, and an orderly end.

uvicorn alone bounds neither the size nor the time of a head, nor how long a client may go on sending a body after it
was answered: an early refusal closes the connection only after the client had a chance to read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reconciler.gateway.client import named
from reconciler.gateway.ids import RequestIds

HEAD_BYTES_MAX = 64 * 1024
IDLE_S = 75.0
"""How long a connection may be idle between requests: longer than clients and proxies keep theirs."""

_TOO_LARGE = ("431 Request Header Fields Too Large", f"the head of a request may have {HEAD_BYTES_MAX:,} bytes")
_TOO_SLOW = ("408 Request Timeout", "the head of the request did not come in time")
_NO_HTTP = ("400 Bad Request", "this is no HTTP request: the gateway speaks HTTP/1.1, and no TLS")


class Limits(NamedTuple):
    """How long a client may take, and how long open requests to end when the daemon stops.

    `head_s` is for a request's head, and for the rest of a body that was answered already, which is thrown away.
    """

    head_s: float
    drain_s: float


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the size and the time of a request's head, and on the time of a late body.

    One timer at most runs: while a head is awaited, or while the rest of an answered request's body is.
    """

    head_s: float
    ids: RequestIds
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            self._await_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()  # also of one that came in the same piece as the end of the one before

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0  # the next request's head may follow
        self._stop_timer()
        if self._answered and not self.transport.is_closing():
            self._await_next()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._start_timer(self.head_s, self.transport.close)

    @property
    def _answered(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        if self._timer is None:
            self._start_timer(self.head_s, self._too_slow)

    def _await_next(self) -> None:
        """Wait for the next request as after any answer; the late body that came since ended that wait."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _start_timer(self, seconds: float, action: Any) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, action)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._refuse(_TOO_SLOW)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; whole requests that came before it are answered."""
        del msg
        cycle: Any = self.cycle
        if cycle is None or not cycle.more_body:
            self._refuse(_NO_HTTP)
            return
        if not cycle.response_started:
            self.transport.write(_written(*_NO_HTTP, self.ids.next()))
        self.transport.close()

    def _refuse(self, answer: tuple[str, str]) -> None:
        """Answer a head that will not be read; while another request's answer is under way, only close after it."""
        if self.transport.is_closing():
            return
        if self._answered:
            self.transport.write(_written(*answer, self.ids.next()))
            self.transport.close()
        else:
            self.cycle.keep_alive = False
            self.flow.pause_reading()


def _written(status: str, message: str, request: str) -> bytes:
    """Write an answer to a head that no application saw; it carries what every answer does."""
    headers = [*named(request.encode()), (b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    body = f"{message}\n".encode()
    lines = [b"HTTP/1.1 " + status.encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join((*lines, b"content-length: %d" % len(body), b"", body))


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which is the daemon's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """Serves an ASGI application on a bound socket until it is told to stop."""

    def __init__(self, app: Any, listening: socket.socket, limits: Limits) -> None:
        """Prepare; nothing is answered before `run`."""

        class Limited(_Protocol):
            head_s = limits.head_s
            ids = RequestIds()

        config = uvicorn.Config(
            app,
            http=Limited,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=int(IDLE_S),
            timeout_graceful_shutdown=math.ceil(limits.drain_s),
            backlog=2048,
        )
        self._server = _Server(config)
        self._listening = listening

    async def run(self) -> None:
        """Serve until `stop`; returns when the last request has ended, or was given up."""
        await self._server.serve(sockets=[self._listening])

    def stop(self) -> None:
        """Take no more requests and let the open ones end."""
        self._server.should_exit = True
