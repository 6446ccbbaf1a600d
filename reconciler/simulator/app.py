"""One simulated provider as an ASGI application: from the request to the reply, and the control paths beside it.

It routes, checks the credential, lets the modules of the formats read and write, and charges. It knows no format
itself.

Invariants: what is charged is what was planned, and it is charged before the first byte of the answer. A request that
is refused costs nothing. Control paths begin with `/_simulator/` and are neither recorded nor charged.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from typing import Any, NamedTuple, get_args
from urllib.parse import parse_qsl

import msgspec

from reconciler.simulator import chat, gemini, messages, refusing, responses
from reconciler.simulator.books import SimulatedAccount, SimulatorState, seen
from reconciler.simulator.embeddings import COUNTERS, EMBEDDERS, counted
from reconciler.simulator.faults import Fault
from reconciler.simulator.planning import plan
from reconciler.simulator.refusing import Headers
from reconciler.simulator.replying import WIRE, Receive, Reply, Send, deliver, read_body
from reconciler.simulator.shapes import (
    Api,
    Declined,
    Flow,
    Json,
    Provider,
    Scope,
    SimulatedAnswer,
    SimulatedAsk,
    SimulatedRequest,
    SimulatorSettings,
)
from reconciler.simulator.writing import encode, kept

CONTROL = "/_simulator/"
_APIS: tuple[str, ...] = get_args(Api)
_GEMINI_PATH = re.compile(r"/(?:v1beta|v1alpha|v1)/models/([^:]+):(\w+)")
_PATHS: dict[str, dict[str, Api]] = {
    "openai": {
        "/v1/chat/completions": "chat",
        "/v1/responses": "responses",
        "/v1/responses/input_tokens": "input_tokens",
        "/v1/responses/compact": "responses_compact",
        "/v1/embeddings": "embeddings",
    },
    "anthropic": {
        "/v1/messages": "messages",
        "/v1/messages/count_tokens": "count_tokens",
        "/v1/chat/completions": "chat",
    },
    "gemini": {
        "/v1beta/openai/chat/completions": "chat",
        "/v1beta/openai/embeddings": "embeddings",
    },
    "openrouter": {
        "/api/v1/chat/completions": "chat",
        "/api/v1/responses": "responses",
        "/api/v1/embeddings": "embeddings",
        "/api/v1/messages": "messages",
        "/api/v1/messages/count_tokens": "count_tokens",
    },
}
_CONTENT_TYPES: dict[str, tuple[bytes, bytes]] = {
    "openai": (b"application/json", b"text/event-stream; charset=utf-8"),
    "anthropic": (b"application/json", b"text/event-stream; charset=utf-8"),
    "gemini": (b"application/json; charset=UTF-8", b"text/event-stream"),
    "openrouter": (b"application/json", b"text/event-stream"),
}
_HEADERS: dict[str, Headers] = {
    "openai": [
        (b"openai-version", b"2020-10-01"),
        (b"openai-processing-ms", b"1"),
        (b"x-ratelimit-limit-requests", b"10000"),
        (b"x-ratelimit-limit-tokens", b"10000000"),
        (b"x-ratelimit-remaining-requests", b"9999"),
        (b"x-ratelimit-remaining-tokens", b"9999000"),
        (b"x-ratelimit-reset-requests", b"6ms"),
        (b"x-ratelimit-reset-tokens", b"0s"),
    ],
    "anthropic": [
        (b"anthropic-ratelimit-requests-limit", b"10000"),
        (b"anthropic-ratelimit-requests-remaining", b"9999"),
        (b"anthropic-ratelimit-tokens-limit", b"6000000"),
        (b"anthropic-ratelimit-tokens-remaining", b"6000000"),
    ],
    "gemini": [],
    "openrouter": [],
}
_REQUEST_ID: dict[str, bytes] = {"openai": b"x-request-id", "anthropic": b"request-id"}
_NO_FAULT = Fault()
_AT_ONCE = SimulatorSettings()


class Format(NamedTuple):
    """How one API is read and written."""

    read: Callable[[SimulatedRequest], SimulatedAsk]
    whole: Callable[[SimulatedAnswer], bytes]
    flow: Callable[[SimulatedAnswer], Flow]
    failure: Callable[[SimulatedAnswer, int], bytes]


_FORMATS: dict[str, Format] = {
    "chat": Format(chat.read, kept(chat.whole), kept(chat.flow), chat.failure),
    "responses": Format(responses.read, kept(responses.whole), kept(responses.flow), responses.failure),
    "responses_compact": Format(
        responses.read_compaction, kept(responses.compaction), kept(responses.flow), responses.failure
    ),
    "messages": Format(messages.read, kept(messages.whole), kept(messages.flow), messages.failure),
    "generateContent": Format(gemini.read, kept(gemini.whole), kept(gemini.flow), gemini.failure),
}
_FORMATS["streamGenerateContent"] = _FORMATS["generateContent"]


class ProviderApp:
    """The ASGI application of one provider."""

    def __init__(self, provider: Provider, state: SimulatorState) -> None:
        self.provider: Provider = provider
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        raw = await read_body(receive)
        if raw is None:
            return
        path: str = scope["path"]
        visit = seen(self.provider, scope, raw)
        if path.startswith(CONTROL):
            status, told = self._control(scope["method"], path, raw)
            reply = Reply(status, [(b"content-type", b"application/json")], told)
            await deliver(reply, _NO_FAULT, visit, scope["state"][WIRE], receive, send, _AT_ONCE)
            return
        self._state.seen.append(visit)
        api, model = _route(self.provider, path)
        body, problem = _decoded(raw)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"))) if scope["query_string"] else {}
        fault = self._state.faults.take(self.provider, model or str(body.get("model", "")), path) or _NO_FAULT
        try:
            if fault.status is not None:
                message = fault.message or http.client.responses.get(fault.status, "Overloaded")
                raise Declined(fault.status, message)
            if api is None or scope["method"] != "POST":
                raise Declined(404, f"Unknown request: {scope['method']} {path}.")
            key = refusing.credential(self.provider, api, dict(scope["headers"]), query)
            known = self._state.settings.keys
            if known is not None and key not in known.get(self.provider, (key,)):
                raise refusing.wrong_key(self.provider, "The API key is not valid.")
            if problem is not None:
                raise problem
            reply = self._answer(SimulatedRequest(self.provider, api, model, body, raw, query), key, fault)
        except Declined as no:
            reply = self._refusal(no, api, "sse" in query.get("alt", ""), fault)
        await deliver(reply, fault, visit, scope["state"][WIRE], receive, send, self._state.settings)

    def _refusal(self, no: Declined, api: Api | None, sse: bool, fault: Fault) -> Reply:
        how = refusing.style(self.provider, api, sse)
        after = refusing.retry_text(fault.retry_after)
        number = self._number()
        headers = self._headers(api, False, number) + refusing.headers(self.provider, no.status, after)
        return Reply(no.status, headers, refusing.body(how, no, number, after))

    def _answer(self, incoming: SimulatedRequest, key: str, fault: Fault) -> Reply:
        """Give the answer, and charge for it."""
        api = incoming.api
        if api in COUNTERS:
            return self._json(api, counted(incoming))
        if fault.refuse:
            return self._json(api, b"")
        if api in EMBEDDERS:
            done = EMBEDDERS[api](incoming, fault.usage)
            self._state.charge(SimulatedAccount(self.provider, done.model, key), done.tokens, 0)
            return self._json(api, done.body)
        form = _FORMATS[api]
        ask = form.read(incoming)
        answer = plan(ask, incoming, key, self._state.settings, self._state.cache, fault.usage)
        account = SimulatedAccount(self.provider, answer.model, key)
        if not ask.stream:
            self._state.charge(account, answer.input, answer.output)
            return self._json(api, form.whole(answer))
        flow = form.flow(answer)
        output = answer.output
        if fault.error_after is not None:
            chunks = min(fault.error_after, len(flow.chunks))
            output = answer.choices * (answer.spoken_after(chunks) + answer.reasoning)
            flow = Flow(flow.head, flow.chunks[:chunks], (form.failure(answer, chunks),))
        self._state.charge(account, answer.input, output)
        return Reply(200, self._headers(api, answer.sse, self._number()), flow)

    def _json(self, api: Api, body: bytes) -> Reply:
        return Reply(200, self._headers(api, False, self._number()), body)

    def _number(self) -> str:
        return f"req_{next(self._state.numbers):012d}"

    def _headers(self, api: Api | None, events: bool, number: str) -> Headers:
        plain, stream = _CONTENT_TYPES[self.provider]
        if self.provider == "gemini" and api in ("chat", "embeddings"):
            plain = b"application/json"
        headers = [(b"content-type", stream if events else plain), *_HEADERS[self.provider]]
        name = _REQUEST_ID.get(self.provider)
        if name:
            headers.append((name, number.encode()))
        return headers

    def _control(self, method: str, path: str, raw: bytes) -> tuple[int, bytes]:
        """Answer a control path with status and JSON."""
        name = path.removeprefix(CONTROL)
        if name == "charged" and method == "GET":
            accounts = self._state.charged.items()
            return 200, encode([{**a._asdict(), **c._asdict(), "total": c.total} for a, c in accounts])
        if name == "requests" and method == "GET":
            return 200, encode(list(self._state.seen))
        if name != "faults" or method not in ("GET", "POST", "DELETE"):
            return 404, encode({"error": "There are GET charged, GET requests, and GET, POST, DELETE faults."})
        if method == "POST":
            try:
                queued = msgspec.json.decode(raw, type=Fault | list[Fault])
            except msgspec.DecodeError as error:
                return 400, encode({"error": str(error)})
            self._state.faults.add(queued if isinstance(queued, list) else [queued])
        elif method == "DELETE":
            self._state.faults.clear()
        return 200, encode(self._state.faults.waiting())


def _route(provider: Provider, path: str) -> tuple[Api | None, str]:
    """Give the API that a path belongs to, and the model if the path names it."""
    api = _PATHS[provider].get(path)
    if api is None and provider == "gemini":
        found = _GEMINI_PATH.fullmatch(path)
        if found and found[2] in _APIS:
            named: Any = found[2]
            return named, found[1]
    return api, ""


def _decoded(raw: bytes) -> tuple[Json, Declined | None]:
    """Give the body's object; an empty one and the reason why not, if it has none."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}, Declined(400, "The body is not valid JSON.")
    if not isinstance(body, dict):
        return {}, Declined(400, "The body is not a JSON object.")
    return body, None
