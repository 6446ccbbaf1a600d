"""The HTTP API for people and tools, below `/api/v1` on the admin listener: what the verbs that ask answer.

Every request needs a token (see `tokens`). Answers are JSON; an error is `{"error","hint"}`. `openapi` describes it
all. It reads and changes nothing; questions run in `queries`, and what they give is made and written as JSON there: the
loop, which serves agents too, only sends it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from reconciler.admin.answers import Error, ObjectInForce, Objects, Page, UsageGroups, WholeState
from reconciler.admin.openapi import ENDPOINTS, LIMIT_DEFAULT, LIMIT_MAX, Json, document
from reconciler.admin.questions import FOLLOWERS_MAX, Looks, Queries
from reconciler.admin.written import Written, joined, written
from reconciler.audit.in_force import KINDS, Wanted
from reconciler.audit.reading import Reading
from reconciler.audit.spending import KEYS, Key
from reconciler.audit.story import Story
from reconciler.audit.tail import Tail
from reconciler.audit.terms import EventRow, Query, parse_query
from reconciler.audit.versions import History, Origins
from reconciler.core.errors import (
    CouldNotRun,
    LogNotWritable,
    NotFound,
    PaiError,
    QueryError,
    Refused,
    TooLong,
    UsageError,
)
from reconciler.core.objects import Kind
from reconciler.operations.first_token import identify
from reconciler.operations.operation import Caller
from reconciler.recorder import Recorder
from reconciler.workspace import Workspace

T = TypeVar("T")

PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of the events of an answer, and of the versions; the last event may pass it. One event may have megabytes."""
GROUPS_MAX: Final = 100_000
"""Of tokens spent: as many as an answer may have bytes for."""
LOOK_S: Final = 0.2
KEEPALIVE_S: Final = 15.0
POSITION_MAX: Final = 2**53 - 1

Parameters = Mapping[str, str]
Fields = dict[str, Any]
"""What an answer says: a JSON object."""
Handler = Callable[[Request, Parameters], Awaitable[Response]]
_HINT: Final = "send Authorization: Bearer TOKEN; it is in data/admin.token, and pai add key --admin NAME makes more"


class Api:
    """The endpoints. `day` gives the trusted day, `stopping` ends who follows.

    `believed` gives the digest of a token that is believed without the log now, "" for none.
    """

    def __init__(
        self,
        workspace: Workspace,
        recorder: Recorder,
        day: Callable[[], str],
        believed: Callable[[], str],
        stopping: asyncio.Event,
    ) -> None:
        self._workspace = workspace
        self._recorder = recorder
        self._day = day
        self._believed = believed
        self._stopping = stopping
        self._queries = Queries(workspace.log())
        self._looks = Looks(stopping)
        self._followers: Counter[str] = Counter()

    def routes(self) -> list[BaseRoute]:
        """Give the routes, each behind the token; what is below /api and no endpoint is 401 or 404."""
        handlers: dict[Any, Handler] = {
            Page: self._events,
            UsageGroups: self._usage,
            Objects: self._objects,
            ObjectInForce: self._objects,
            History: self._history,
            Origins: self._blame,
            Story: self._request,
            WholeState: self._state,
            Json: self._document,
        }
        found = [(f"/api/v1/{path}", handlers[answer], parameters) for path, _, answer, parameters in ENDPOINTS]
        found.append(("/api/{rest:path}", self._nothing, []))
        return [Route(path, self._guarded(handler, known), methods=_METHODS) for path, handler, known in found]

    def end_following(self) -> None:
        """Let nobody look any more who follows, once `stopping` is set: those who wait for their turn end at once."""
        self._looks.refuse()

    def close(self) -> None:
        """Answer no more."""
        self._queries.close()
        self._looks.close()

    def _guarded(self, handler: Handler, parameters: list[Json]) -> Callable[[Request], Awaitable[Response]]:
        known = [parameter["name"] for parameter in parameters if parameter["in"] == "query"]

        async def answer(request: Request) -> Response:
            try:
                caller = await asyncio.to_thread(self._caller, request)
                if caller is None:
                    return _error(401, "the admin listener needs a token in force", _HINT)
                request.scope["state"]["owner"] = caller.owner
                if request.method not in ("GET", "HEAD"):
                    allow = {"Allow": "GET, HEAD"}
                    return _error(405, f"{request.method} is not answered here", "this API reads only", allow)
                return await handler(request, _parameters(request, known))
            except QueryError as error:
                start, length = (error.start, error.length) if error.query else (UNSET, UNSET)
                return _json(Error(error.message, error.hint, start, length), error.http_status)
            except PaiError as error:
                told = self._said(error)
                return _error(error.http_status, told.error, told.hint)

        return answer

    def _said(self, error: PaiError) -> Error:
        """Say an error to who is elsewhere."""
        hide = self._workspace.without_places
        return Error(hide(error.message), hide(error.hint))

    def _caller(self, request: Request) -> Caller | None:
        """Give who asks, if the token that a request came with is in force now. Raises LogNotWritable."""
        address = request.client.host if request.client else ""
        header = request.headers.get("authorization", "")
        return self._recorder.read(lambda state: identify(state, self._believed(), header, address))

    async def _events(self, request: Request, given: Parameters) -> Response:
        query = parse_query(given.get("q", ""), datetime.now(UTC))
        wants_stream = "text/event-stream" in request.headers.get("accept", "")
        if _flag(given, "follow") or wants_stream:
            return await self._follow(request, given)
        limit = _number(given, "limit", 1, LIMIT_MAX, LIMIT_DEFAULT)
        before = _number(given, "before", 0, POSITION_MAX, POSITION_MAX)

        def page(reading: Reading) -> Fields:
            rows: list[msgspec.Raw] = []
            seq, left = 0, PAGE_BYTES_MAX
            try:
                for row in reading.search(query, limit, before=before):
                    rows.append(msgspec.Raw(msgspec.json.encode(row)))
                    seq, left = row.seq, left - len(rows[-1])
                    if left < 0:
                        break
            except TooLong:
                if not rows:
                    raise
                left = -1  # the next page goes on from there
            following = (seq or None) if left < 0 or len(rows) == limit else None
            return {"events": rows, "next": following} | _warnings(_unknown(reading, query, len(rows)))

        return await self._told(request, page)

    async def _follow(self, request: Request, given: Parameters) -> Response:
        """Send the events that come as server-sent events, from the last that the client has seen on."""
        query = parse_query(given.get("q", ""), datetime.now(UTC))
        for name in ("before", "limit"):
            if name in given:
                raise UsageError(f"{name} says nothing about what is followed", "leave it out, or leave out follow")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        seen, owner = request.headers.get("last-event-id", ""), _owner(request)
        notices: list[str] = []
        if seen:
            last = _number({"Last-Event-ID": seen}, "Last-Event-ID", 0, POSITION_MAX, 0)
            tail = Tail(self._workspace.log(), query, last + 1)
        else:
            tail, notices = await self._ask(
                request, lambda reading: (reading.follow(query), _unknown(reading, query, 0))
            )
        if self._followers.total() >= FOLLOWERS_MAX or self._followers[owner] >= FOLLOWERS_MAX // 2:
            raise CouldNotRun("too many clients follow the log", "close one, or ask again later")
        self._followers[owner] += 1  # at once: many may ask in the same moment
        return _Followed(self._stream(tail, request, notices), lambda: self._leave(owner), headers)

    def _leave(self, owner: str) -> None:
        self._followers[owner] -= 1
        self._followers += Counter()  # forgets who follows no more

    async def _stream(self, tail: Tail, request: Request, notices: Sequence[str]) -> AsyncIterator[bytes]:
        def look(deadline: float) -> list[bytes] | None:
            pieces = _told(tail.look(deadline))
            with contextlib.suppress(LogNotWritable):  # nobody can tell now, and nothing is revoked meanwhile
                return pieces if self._caller(request) is not None else None
            return pieces

        owner = _owner(request)
        told = monotonic()
        try:
            yield b": following\n\n"
            for notice in notices:
                yield _notice(notice)
            while not self._stopping.is_set():
                pieces = await self._looks.look(owner, look)
                if pieces is None:
                    raise Refused("the token that it came with is no longer in force", _HINT)
                if tail.notice:
                    yield _notice(tail.notice)
                told = monotonic() if pieces else told
                while pieces:
                    yield pieces.pop(0)
                    await asyncio.sleep(0)  # who takes all at once is not waited for, and others have their turn too
                if monotonic() - told >= KEEPALIVE_S:
                    told = monotonic()
                    yield b": still here\n\n"
                if not tail.behind:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), LOOK_S)
        except PaiError as error:
            if self._stopping.is_set():
                return
            yield b"event: error\ndata: %b\n\n" % msgspec.json.encode(self._said(error))
        finally:
            tail.close()

    async def _usage(self, request: Request, given: Parameters) -> Response:
        query = parse_query(given.get("q", ""), datetime.now(UTC))
        by = _keys(given.get("by", "day,model"))

        def usage(reading: Reading) -> Fields:
            groups = reading.spending(query, by, GROUPS_MAX)
            told = [group.told(by) for group in groups]
            return {"usage": told} | _warnings(_unknown(reading, query, len(groups)))

        return await self._told(request, usage)

    async def _objects(self, request: Request, given: Parameters) -> Response:
        wanted = Wanted(_kind(request), request.path_params.get("name", ""))

        def objects(reading: Reading) -> Fields:
            found = reading.objects([wanted], given.get("at")).of(wanted.kind)
            return found[0] if wanted.name else {"apiVersion": "v1", "kind": "List", "items": found}

        return await self._answered(request, objects)

    async def _history(self, request: Request, _: Parameters) -> Response:
        kind, name = _kind(request), request.path_params["name"]
        return await self._told(request, lambda reading: _fields(reading.versions(kind, name, PAGE_BYTES_MAX)))

    async def _blame(self, request: Request, _: Parameters) -> Response:
        kind, name = _kind(request), request.path_params["name"]
        return await self._told(request, lambda reading: _fields(reading.origins(kind, name)))

    async def _request(self, request: Request, _: Parameters) -> Response:
        return await self._told(request, lambda reading: _fields(reading.story(request.path_params["request"])))

    async def _told(self, request: Request, question: Callable[[Reading], Fields]) -> Response:
        """Answer with what a question finds on the log."""
        return await self._answered(request, lambda reading: question(reading) | _pruned(reading))

    async def _answered(self, request: Request, question: Callable[[Reading], Fields]) -> Response:
        owner = _owner(request)
        pieces = await self._ask(request, lambda reading: written(question(reading)), _size)
        size = _size(pieces)
        return Written(pieces, lambda: self._queries.taken(owner, size))

    async def _ask(
        self, request: Request, question: Callable[[Reading], T], size: Callable[[T], int] = lambda _: 0
    ) -> T:
        return await self._queries.ask(
            _owner(request), lambda log: question(Reading(self._workspace, log, self._day)), size
        )

    async def _state(self, request: Request, given: Parameters) -> Response:
        def told(reading: Reading) -> Fields:
            found = reading.objects([Wanted(kind) for kind in KINDS], given.get("at"))
            head = found.head.commit if found.head else None
            return _fields(found) | {"revision": found.revision or None, "head": head}

        return await self._answered(request, told)

    async def _document(self, _: Request, __: Parameters) -> Response:
        return _json(document())

    async def _nothing(self, request: Request, _: Parameters) -> Response:
        raise NotFound(f"there is nothing at {request.url.path}", "/api/v1/openapi.json says what there is")


class _Followed(StreamingResponse):
    """The stream of a follower; `leave` is called when it has ended, or did not begin."""

    def __init__(self, stream: AsyncIterator[bytes], leave: Callable[[], None], headers: Mapping[str, str]) -> None:
        super().__init__(stream, media_type="text/event-stream", headers=headers)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]


def _owner(request: Request) -> str:
    """Name the token that a request was let in by."""
    owner: str = request.scope["state"]["owner"]
    return owner


def _kind(request: Request) -> Kind:
    return "model" if request.url.path.startswith("/api/v1/models") else "agent"


def _pruned(reading: Reading) -> Fields:
    """Say in an answer that the log was pruned, and where it begins."""
    begin = reading.beginning()
    return {} if begin is None else {"prunedBefore": begin.position}


def _unknown(reading: Reading, query: Query, found: int) -> list[str]:
    """Say what the log does not know of a query; what takes too long to tell is left out, since it is no answer."""
    with contextlib.suppress(TooLong):
        return reading.unknown(query, found=found)
    return []


def _warnings(lines: list[str]) -> Fields:
    """Say in an answer what the question has that the log does not know."""
    return {"warnings": lines} if lines else {}


def _notice(text: str) -> bytes:
    return b"event: notice\ndata: %b\n\n" % msgspec.json.encode({"notice": text})


def _told(rows: Iterable[EventRow]) -> list[bytes]:
    """Write events as server-sent events, in pieces that each are sent at once."""
    return joined(b"id: %d\ndata: %b\n\n" % (row.seq, msgspec.json.encode(row)) for row in rows)


def _fields(told: msgspec.Struct) -> Fields:
    return {name: getattr(told, name) for name in told.__struct_fields__}


def _size(pieces: Sequence[bytes]) -> int:
    return sum(map(len, pieces))


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return _answer(msgspec.json.encode(value), status, headers)


def _answer(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def _error(status: int, message: str, hint: str, headers: Mapping[str, str] | None = None) -> Response:
    more = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return _json(Error(message, hint), status, {**more, **(headers or {})})


def _parameters(request: Request, known: Sequence[str]) -> Parameters:
    """Read the query string: each parameter at most once, and only those that mean something here."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise UsageError(f"unknown parameter {name!r}", f"known here: {', '.join(known) or 'none'}")
        if name in found:
            raise UsageError(f"the parameter {name} is given twice", "give it once")
        found[name] = value
    return found


def _number(given: Parameters, name: str, least: int, most: int, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= 16 and least <= int(text) <= most:
        return int(text)
    raise UsageError(f"{name} {text!r} is no whole number from {least} to {most}", "write it in plain digits")


def _flag(given: Parameters, name: str) -> bool:
    text = given.get(name, "0")
    if text not in ("0", "1"):
        raise UsageError(f"{name} {text!r} is neither 0 nor 1", f"write {name}=1")
    return text == "1"


def _keys(text: str) -> list[Key]:
    names = text.split(",")
    unknown = [name for name in names if name not in KEYS]
    if unknown or len(set(names)) < len(names):
        raise UsageError(f"cannot group by {text!r}", f"name one or more of {', '.join(KEYS)}, each once, with commas")
    return [key for name in names for key in KEYS if key == name]
