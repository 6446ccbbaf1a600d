"""The agents' listener as an ASGI application: probes, and requests, which answer for themselves (`request.py`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from reconciler.gateway.client import JSON, Client, Send, named
from reconciler.gateway.intake import Receive
from reconciler.gateway.request import GatewayParts, Request, Scope

log = logging.getLogger("pai.gateway")


class Ready(NamedTuple):
    """Whether the listener's owner is ready, and why not."""

    ready: bool
    reasons: list[str]


class Gateway:
    """The application. `health` says whether the whole is ready."""

    def __init__(self, parts: GatewayParts, health: Callable[[], Ready]) -> None:
        self._parts = parts
        self._health = health
        parts.metrics.open.set_function(lambda: parts.books.under_way)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] in ("/healthz", "/readyz"):
            await self._probe(scope["path"], send)
            return
        self._parts.books.under_way += 1
        try:
            await Request(self._parts, scope, receive, send).answer()
        finally:
            self._parts.books.under_way -= 1

    async def foreign(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request under a name that is not ours, whatever it asks for."""
        await Request(self._parts, scope, receive, send, foreign=True).answer()

    async def _probe(self, path: str, send: Send) -> None:
        request = self._parts.ids.next()
        client = Client(send, lambda: named(request.encode()))
        if path == "/healthz":
            await client.whole(200, [(b"content-type", b"text/plain; charset=utf-8")], b"ok\n")
            return
        try:
            now = await asyncio.get_running_loop().run_in_executor(None, self._health)
            status = 200 if now.ready else 503
        except Exception:
            log.exception("request %s failed by a bug", request)
            now, status = Ready(False, ["an internal error"]), 500
        await client.whole(status, [JSON], msgspec.json.encode({"ready": now.ready, "reasons": now.reasons}))
