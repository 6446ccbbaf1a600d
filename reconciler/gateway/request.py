"""One request of an agent: from its bytes to an answer, whatever went wrong in between.

Order: the path, the key, the body, then each binding that the request names. Every answer carries the
request's id and the binding. A refusal is worded by the dialect that the client speaks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

import msgspec

from reconciler.core.state import Resource, State
from reconciler.gateway.admission import Admission, Held
from reconciler.gateway.auth import AgentCaller, bindings_of, credential, find_binding, identify, now
from reconciler.gateway.body import Body
from reconciler.gateway.body_pool import BodyPool
from reconciler.gateway.books import Books
from reconciler.gateway.calls import FREE, Call, Route
from reconciler.gateway.client import JSON, Client, Headers, Send, named
from reconciler.gateway.exchange import Exchange, Failed
from reconciler.gateway.headers import fallback_of, head_bytes, kept_headers
from reconciler.gateway.ids import RequestIds
from reconciler.gateway.intake import Intake, Receive
from reconciler.gateway.metrics import GatewayMetrics
from reconciler.gateway.offloading import Elsewhere, parse
from reconciler.gateway.open_requests import OpenRequests
from reconciler.gateway.recorded_refusals import Refusals
from reconciler.gateway.refusal import FORWARDED, TRY_NEXT, Refusal
from reconciler.gateway.refusal_lines import RefusalLines
from reconciler.gateway.room import Room
from reconciler.gateway.routing import Routing, check_method
from reconciler.gateway.spool import Spool

log = logging.getLogger("pai.gateway")

Scope = dict[str, Any]

HEAD_BYTES_SMALL = 4 * 1024
"""What is no larger needs no room."""


class GatewayParts(NamedTuple):
    """What all requests of one gateway share; `heads` is room for large ones of agents that have many requests open.

    `node` is what this gateway is called among several.
    """

    routing: Routing
    books: Books
    admission: Admission
    judging: BodyPool
    exchange: Exchange
    refusals: Refusals
    metrics: GatewayMetrics
    lines: RefusalLines
    open_requests: OpenRequests
    ids: RequestIds
    room: Room
    heads: Room
    node: bytes


class Request:
    """One request on its way through."""

    def __init__(
        self, parts: GatewayParts, scope: Scope, receive: Receive, send: Send, *, foreign: bool = False
    ) -> None:
        self._parts = parts
        self._foreign = foreign
        self._scope = scope
        self._intake = Intake(parts.room, receive)
        self._call: Call | None = None
        self._client = Client(send, self._headers, scope["state"])
        self._request = parts.ids.next()
        self._binding = ""
        self._held: Held | None = None
        self._entered = ""
        self._head_bytes = 0
        self._surface = parts.routing.default
        self._began = parts.exchange.loop.time()

    async def answer(self) -> None:
        """Answer it, and let go of what it held."""
        try:
            await self._serve()
        except Refusal as refusal:
            if refusal.reason not in FORWARDED:
                self._parts.metrics.refused(refusal.reason)
            self._parts.lines.note(self._request, self._entered, self._binding, refusal)
            await self._refuse(refusal)
            refusal.forget()
        except asyncio.CancelledError:  # only the end of the drain cancels, and nobody waits for this task
            log.warning("request %s was given up, since the gateway stops", self._request)
            await self._refuse(Refusal("stopping", "the gateway stops; try again"))
        except Exception:
            log.exception("request %s failed by a bug", self._request)
            self._held = None  # what is left of its budget is not asked for again
            self._parts.metrics.refused("internal")
            bug = Refusal("internal", f"an internal error of the gateway: its log tells of {self._request}")
            await self._refuse(bug)
        finally:
            if self._head_bytes:
                self._parts.heads.give(self._entered, self._head_bytes)
            if self._entered:
                self._parts.open_requests.leave(self._entered)
            if self._call is not None and isinstance(self._call.body, Elsewhere):
                self._call.body.drop()
            self._intake.release()
            self._client.extra = list  # which held this object: what hangs on it would stay until cycles are looked for
            self._held = self._call = None

    async def _refuse(self, refusal: Refusal) -> None:
        if self._client.begun:
            return  # the answer has begun: the server closes the connection, which shows that it is not whole
        body = self._surface.error(refusal.reason, refusal.status, refusal.message, self._request)
        headers = [JSON, *((name.encode(), value.encode("latin-1", "replace")) for name, value in refusal.headers)]
        await self._client.whole(refusal.status, headers, body)

    def _headers(self) -> Headers:
        """Say in every answer what it is, and in one that counts, what is left now."""
        binding = self._binding.encode("ascii", "replace")[:63] if self._binding.isprintable() else b""
        found = named(self._request.encode(), binding)
        if self._entered and self._parts.node:  # whoever has no key learns nothing of the machines
            found.append((b"x-pai-node", self._parts.node))
        held = self._held
        if held is not None and held.call.operation not in FREE:
            try:
                left = self._parts.books.standing(held.binding).left
            except Refusal:
                left = None
            if left is not None:
                found.append((b"x-pai-tokens-remaining", b"%d" % left))
        return found

    async def _serve(self) -> None:
        scope = self._scope
        headers: Headers = scope["headers"]
        self._surface = self._parts.routing.guess(scope["path"], headers, scope["query_string"])
        if self._foreign:
            shown = b", ".join(value for name, value in headers if name == b"host")[:100].decode("latin-1")
            raise Refusal("host", f"this gateway does not answer for the host {shown!r}: see gateway.hosts in pai.toml")
        self._parts.books.require_log()
        route = self._parts.routing.asked(scope["path"], self._surface)
        self._binding = route.name
        check_method(route, scope["method"], scope["path"], headers)
        presented, address = credential(headers, scope["query_string"]), (scope.get("client") or ("",))[0]
        caller = self._parts.books.read(lambda state: identify(state, presented, now(), address))
        self._parts.open_requests.enter(caller.agent)
        self._entered = caller.agent
        scope["state"]["owner"] = caller.agent
        if self._parts.open_requests.many(caller.agent):
            self._hold_head(caller.agent)
        if route.operation == "models":
            await self._models(route, caller)
            return
        call = await self._read(route, caller, headers)
        self._call = call
        self._binding = call.names[0]
        await self._try_all(call, caller)

    def _hold_head(self, agent: str) -> None:
        """Have room for a large head of an agent that has many requests open. Raises Refusal."""
        size = head_bytes(self._scope)
        if size > HEAD_BYTES_SMALL:
            if not self._parts.heads.take_now(agent, size):
                raise Refusal("busy", f"agent {agent} has too many requests with large heads open; try again later")
            self._head_bytes = size

    async def _read(self, route: Route, caller: AgentCaller, headers: Headers) -> Call:
        """Read the body and what it asks for. Raises Refusal."""
        many = self._parts.open_requests.many(caller.agent)
        body = await self._intake.read(headers, caller.agent, many=many)
        fallback, query = fallback_of(headers), self._scope["query_string"]
        if isinstance(body, Spool):
            call = await self._parts.judging.read(caller.agent, body, route, fallback, query)
            call = call._replace(headers=kept_headers(headers))
        else:
            call = parse(route, Body(body), fallback, query, kept_headers(headers))
        headers.clear()  # they would stay until the answer's end, beside those that are kept
        return call

    async def _try_all(self, call: Call, caller: AgentCaller) -> None:
        """Try the bindings in order. If none works, the last provider's error is the answer, else the first refusal."""
        first: Refusal | None = None
        failed: tuple[Held, Failed] | None = None
        try:
            for number, name in enumerate(call.names):
                try:
                    outcome = await self._try(call, caller, name)
                except Refusal as refusal:
                    self._parts.refusals.note(caller.agent, name, call.surface.name, self._request, refusal)
                    first = first or refusal
                    if refusal.reason == "log" or (number == 0 and refusal.reason not in TRY_NEXT):
                        raise
                    refusal.forget()
                    continue
                if outcome is None:
                    return
                assert self._held is not None
                if failed is not None:
                    failed[1].share.give_back()
                failed = (self._held, outcome)
            if failed is not None:
                self._held, answer = failed
                self._binding = self._held.binding
                await self._client.whole(answer.status, answer.headers, answer.body)
                return
        finally:
            if failed is not None:
                failed[1].share.give_back()
        assert first is not None
        self._binding, self._held = call.names[0], None
        raise first

    async def _try(self, call: Call, caller: AgentCaller, name: str) -> Failed | None:
        held = await self._parts.admission.admit(call, caller, name, self._request)
        self._binding, self._held = name, held
        if isinstance(held.body, Spool) and name == call.names[-1]:
            held.body.on_close = self._intake.release
        return await self._parts.exchange.run(held, self._client, self._began)

    async def _models(self, route: Route, caller: AgentCaller) -> None:
        def find(state: State) -> list[Resource]:
            return [find_binding(state, caller.agent, route.name)] if route.name else bindings_of(state, caller.agent)

        found = self._parts.books.read(find)
        items = [self._surface.model(each.name, each.binding.provider) for each in found]
        body = items[0] if route.name else self._surface.models(items)
        await self._client.whole(200, [JSON], msgspec.json.encode(body))
