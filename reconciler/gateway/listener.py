"""The agents' port: uvicorn with limits on what a client may do before its request is whole, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024
HEAD_S = 20.0
"""How long a client may take to send a request's head."""
IDLE_S = 75.0
"""How long a connection may be idle between requests: longer than clients and proxies keep theirs."""
DRAIN_S = 30.0
"""How long open requests may take to end when the daemon stops; what is open then is forfeited."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the size and the time of a request's head."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_seen()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._head_seen()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0  # the next request's head may follow

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._refuse, _TOO_SLOW)

    def _head_seen(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing() and not self.tasks:
            self.transport.write(answer)
            self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which is the daemon's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """Serves an ASGI application on a bound socket until it is told to stop."""

    def __init__(self, app: Any, listening: socket.socket) -> None:
        """Prepare; nothing is answered before `run`."""
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=int(IDLE_S),
            timeout_graceful_shutdown=int(DRAIN_S),
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
