"""The words of Anthropic's SDK: messages, counting, models."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call, Needs, Route
from reconciler.gateway.needs import answered, free
from reconciler.gateway.refusal import Reason, Refusal
from reconciler.gateway.surfaces.surface import Surface
from reconciler.providers.provider import Provider

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


def messages(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a message."""
    return answered(body, "messages", provider, model, body.integer("max_tokens", 0))


class AnthropicWords(Surface):
    """What Anthropic's SDK says and reads."""

    name = "anthropic"
    own = re.compile(r"(?:/(?:v1|v1beta|v1alpha))?/messages")
    headers = frozenset((b"anthropic-version",))
    routes: ClassVar = {"/messages": "messages", "/messages/count_tokens": "messages.count"}
    judges: ClassVar = {"messages": messages, "messages.count": free}
    ways: ClassVar = {"messages": "POST /v1/messages (Anthropic)"}
    counted = (
        *("messages", "system", "tools", "tool_choice", "thinking", "mcp_servers", "output_config"),
        "context_management",
    )
    unread = frozenset(
        (
            *("model", "models", "route", "max_tokens", "stream", "metadata", "stop_sequences", "temperature", "top_p"),
            *("top_k", "service_tier", "inference_geo", "speed", "cache_control", "diagnostics", "betas"),
        )
    )

    def parse(self, route: Route, body: Body, fallback: tuple[str, ...], query: bytes) -> Call:
        """Read a request. Raises Refusal."""
        del query
        name = body.text("model")
        if not name:
            raise Refusal("invalid", "model is missing: it names a binding")
        stream = body.flag("stream") and route.operation == "messages"
        return Call(route.operation, self, tuple(dict.fromkeys((name, *fallback))), body, stream)

    def write(self, call: Call, model: str, output: int | None, provider: Provider) -> bytes:
        """Give the body that goes upstream; `output` is the output limit, None to leave it as it is."""
        changes: dict[str, Any] = {"model": model}
        if output is not None and call.operation == "messages":
            changes["max_tokens"] = output
        return call.body.written(provider.rerouting, **changes)  # to models that nobody judged

    def error(self, reason: Reason, status: int, message: str, request_id: str) -> bytes:
        """Give a refusal as Anthropic words it."""
        del reason
        kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
        return msgspec.json.encode(body)

    def model(self, name: str, provider: str) -> dict[str, Any]:
        """Give one binding as a model."""
        del provider
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}

    def models(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Give a list of bindings."""
        ends = (
            {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
        )
        return {"data": items, "has_more": False, **ends}
