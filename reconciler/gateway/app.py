"""The agents' listener as an ASGI application: from a request's bytes to an answer, whatever went wrong in between.

Order: the path, the key, the body, then each binding that the request names. Every answer carries the
request's id and the binding. A refusal is worded by the surface that the client speaks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from reconciler.core.state import State
from reconciler.gateway.admission import Admission, Held
from reconciler.gateway.auth import AgentCaller, credential, find_binding, identify
from reconciler.gateway.body import Body
from reconciler.gateway.body_pool import BodyPool
from reconciler.gateway.books import Books
from reconciler.gateway.calls import FREE, Call, Route
from reconciler.gateway.client import Client, Headers, Send, named
from reconciler.gateway.exchange import Exchange, Failed
from reconciler.gateway.headers import fallback_of, kept_headers
from reconciler.gateway.ids import RequestIds
from reconciler.gateway.intake import Intake, Receive
from reconciler.gateway.metrics import GatewayMetrics
from reconciler.gateway.offloading import Elsewhere, parse
from reconciler.gateway.open_requests import OpenRequests
from reconciler.gateway.recorded_refusals import Refusals
from reconciler.gateway.refusal import FORWARDED, TRY_NEXT, Refusal
from reconciler.gateway.refusal_lines import RefusalLines
from reconciler.gateway.room import Room
from reconciler.gateway.routing import Routing
from reconciler.gateway.spool import Spool
from reconciler.gateway.upstream import CONNECTIONS_MAX

log = logging.getLogger("pai.gateway")

Scope = dict[str, Any]

HEAD_BYTES_SMALL = 4 * 1024
"""What is no larger needs no room."""
FIELD_BYTES = 100
"""What a field of a head takes in memory beyond its characters."""
HEADS_BYTES_ALL, HEADS_BYTES_EACH = 64 * 1024 * 1024, 8 * 1024 * 1024
"""Of large heads of requests that are open, for all agents and for one, beyond its first ones: in memory each is there
two or three times."""

_JSON = (b"content-type", b"application/json")


class Ready(NamedTuple):
    """Whether the listener's owner is ready, and why not."""

    ready: bool
    reasons: list[str]


class Gateway:
    """The application, for the running loop. `health` says whether the whole is ready."""

    def __init__(
        self,
        routing: Routing,
        books: Books,
        admission: Admission,
        judging: BodyPool,
        exchange: Exchange,
        refusals: Refusals,
        metrics: GatewayMetrics,
        health: Callable[[], Ready],
    ) -> None:
        self.routing = routing
        self._books = books
        self._admission = admission
        self._judging = judging
        self._exchange = exchange
        self._refusals = refusals
        self._metrics = metrics
        self._health = health
        self._loop = asyncio.get_running_loop()
        self._ids = RequestIds()
        self._room = Room()
        self.heads = Room(HEADS_BYTES_ALL, HEADS_BYTES_EACH)
        self.open_requests = OpenRequests(CONNECTIONS_MAX // 2)
        self.lines = RefusalLines()
        self._second = (0, "")
        metrics.open.set_function(lambda: books.under_way)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] in ("/healthz", "/readyz"):
            await self._probe(scope["path"], send)
            return
        self._books.under_way += 1
        try:
            await _Request(self, scope, receive, send).answer()
        finally:
            self._books.under_way -= 1

    async def foreign(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request under a name that is not ours, whatever it asks for."""
        await _Request(self, scope, receive, send, foreign=True).answer()

    def now(self) -> str:
        """Give the time to the second, as events have it."""
        second = int(time.time())
        if second != self._second[0]:
            self._second = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._second[1]

    async def _probe(self, path: str, send: Send) -> None:
        request = self._ids.next()
        client = Client(send, lambda: named(request.encode()))
        if path == "/healthz":
            await client.whole(200, [(b"content-type", b"text/plain; charset=utf-8")], b"ok\n")
            return
        try:
            now = await self._loop.run_in_executor(None, self._health)
            status = 200 if now.ready else 503
        except Exception:
            log.exception("request %s failed by a bug", request)
            now, status = Ready(False, ["an internal error"]), 500
        await client.whole(status, [_JSON], msgspec.json.encode({"ready": now.ready, "reasons": now.reasons}))


class _Request:
    """One request on its way through."""

    def __init__(self, gateway: Gateway, scope: Scope, receive: Receive, send: Send, *, foreign: bool = False) -> None:
        self._gateway = gateway
        self._foreign = foreign
        self._scope = scope
        self._intake = Intake(gateway._room, receive)
        self._call: Call | None = None
        self._client = Client(send, self._headers, scope["state"])
        self._request = gateway._ids.next()
        self._binding = ""
        self._held: Held | None = None
        self._entered = ""
        self._head_bytes = 0
        self._surface = gateway.routing.default
        self._began = gateway._loop.time()

    async def answer(self) -> None:
        try:
            await self._serve()
        except Refusal as refusal:
            if refusal.reason not in FORWARDED:
                self._gateway._metrics.refused(refusal.reason)
            self._gateway.lines.note(self._request, self._entered, self._binding, refusal)
            await self._refuse(refusal)
            refusal.forget()
        except asyncio.CancelledError:  # only the end of the drain cancels, and nobody waits for this task
            log.warning("request %s was given up, since the gateway stops", self._request)
            await self._refuse(Refusal("stopping", "the gateway stops; try again"))
        except Exception:
            log.exception("request %s failed by a bug", self._request)
            self._held = None  # what is left of its budget is not asked for again
            self._gateway._metrics.refused("internal")
            await self._refuse(
                Refusal("internal", f"an internal error of the gateway: its log tells of {self._request}")
            )
        finally:
            if self._head_bytes:
                self._gateway.heads.give(self._entered, self._head_bytes)
            if self._entered:
                self._gateway.open_requests.leave(self._entered)
            if self._call is not None and isinstance(self._call.body, Elsewhere):
                self._call.body.drop()
            self._intake.release()
            self._client.extra = list  # which held this object: what hangs on it would stay until cycles are looked for
            self._held = self._call = None

    async def _refuse(self, refusal: Refusal) -> None:
        if self._client.begun:
            return  # the answer has begun: the server closes the connection, which shows that it is not whole
        body = self._surface.error(refusal.reason, refusal.status, refusal.message, self._request)
        headers = [_JSON, *((name.encode(), value.encode("latin-1", "replace")) for name, value in refusal.headers)]
        await self._client.whole(refusal.status, headers, body)

    def _headers(self) -> Headers:
        """Say in every answer what it is, and in one that counts, what is left now."""
        binding = self._binding.encode("ascii", "replace")[:63] if self._binding.isprintable() else b""
        found = named(self._request.encode(), binding)
        held = self._held
        if held is not None and held.call.operation not in FREE:
            try:
                left = self._gateway._books.standing(held.binding).left
            except Refusal:
                left = None
            if left is not None:
                found.append((b"x-pai-tokens-remaining", b"%d" % left))
        return found

    async def _serve(self) -> None:
        scope = self._scope
        headers: Headers = scope["headers"]
        self._surface = self._gateway.routing.guess(scope["path"], headers, scope["query_string"])
        if self._foreign:
            shown = b", ".join(value for name, value in headers if name == b"host")[:100].decode("latin-1")
            raise Refusal("host", f"this gateway does not answer for the host {shown!r}: see gateway.hosts in pai.toml")
        self._gateway._books.require_log()
        route = self._route()
        caller = self._identify(credential(headers, scope["query_string"]))
        self._gateway.open_requests.enter(caller.agent)
        self._entered = caller.agent
        scope["state"]["owner"] = caller.agent
        if self._gateway.open_requests.many(caller.agent):
            self._hold_head(caller.agent)
        if route.operation == "models":
            await self._models(route, caller)
            return
        call = await self._read(route, caller, headers)
        self._call = call
        self._binding = call.names[0]
        await self._try_all(call, caller)

    def _route(self) -> Route:
        """Find what is asked for, and from then on speak the client's words. Raises Refusal."""
        path, method = self._scope["path"], self._scope["method"]
        route = self._gateway.routing.find(path, self._surface)
        if route is None:
            raise Refusal(
                "no-path", f"there is no {path[:100]} here{self._gateway.routing.instead(path, self._surface)}"
            )
        self._surface = route.surface
        self._binding = route.name
        allowed = "GET" if route.operation == "models" else "POST"
        if method == "GET" and route.operation == "responses" and _offers_websocket(self._scope["headers"]):
            needed = (("upgrade", "HTTP/1.1"), ("connection", "upgrade"))  # RFC 9110 15.5.22: what would be answered
            raise Refusal("websocket", f"there is no websocket on {path[:100]}: POST it, with stream", headers=needed)
        if method != allowed:
            raise Refusal("method", f"{method} is not for {path[:100]}: use {allowed}", headers=(("allow", allowed),))
        return route

    def _hold_head(self, agent: str) -> None:
        """Have room for a large head of an agent that has many requests open. Raises Refusal."""
        scope = self._scope
        size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(map(len, chain(*scope["headers"])))
        size += FIELD_BYTES * len(scope["headers"])
        if size > HEAD_BYTES_SMALL:
            if not self._gateway.heads.take_now(agent, size):
                raise Refusal("busy", f"agent {agent} has too many requests with large heads open; try again later")
            self._head_bytes = size

    def _identify(self, presented: str) -> AgentCaller:
        client = self._scope.get("client")
        address = client[0] if client else ""
        now = self._gateway.now()
        return self._gateway._books.read(lambda state: identify(state, presented, now, address))

    async def _read(self, route: Route, caller: AgentCaller, headers: Headers) -> Call:
        """Read the body and what it asks for. Raises Refusal."""
        many = self._gateway.open_requests.many(caller.agent)
        body = await self._intake.read(headers, caller.agent, many=many)
        fallback, query = fallback_of(headers), self._scope["query_string"]
        if isinstance(body, Spool):
            call = await self._gateway._judging.read(caller.agent, body, route, fallback, query)
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
                    self._gateway._refusals.note(caller.agent, name, call.surface.name, self._request, refusal)
                    first = first or refusal
                    if number == 0 and refusal.reason not in TRY_NEXT:
                        raise
                    if refusal.reason == "log":
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
        held = await self._gateway._admission.admit(call, caller, name, self._request)
        self._binding, self._held = name, held
        if isinstance(held.body, Spool) and name == call.names[-1]:
            held.body.on_close = self._intake.release
        return await self._gateway._exchange.run(held, self._client, self._began)

    async def _models(self, route: Route, caller: AgentCaller) -> None:
        surface = self._surface
        read = self._gateway._books.read
        if route.name:
            resource = read(lambda state: find_binding(state, caller.agent, route.name))
            body: Any = surface.model(route.name, str(resource.spec["provider"]))
        else:
            found = read(lambda state: _listed(state, caller.agent))
            body = surface.models([surface.model(name, of) for name, of in found.items()])
        await self._client.whole(200, [_JSON], msgspec.json.encode(body))


def _listed(state: State, agent: str) -> dict[str, str]:
    """Give the agent's bindings in force, each with its provider."""
    workload = state.agents.get(agent)
    names = workload.spec.get("modelBindings") if workload is not None else None
    listed = [str(name) for name in names] if isinstance(names, list) else []
    return {name: str(state.models[name].spec["provider"]) for name in listed if name in state.models}


def _offers_websocket(headers: Headers) -> bool:
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in headers)
