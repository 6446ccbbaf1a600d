"""The words of Anthropic's SDK: messages, counting, models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call
from reconciler.gateway.refusal import Reason, Refusal
from reconciler.providers.provider import Provider

NAME = "anthropic"

ROUTES = {"/messages": "messages", "/messages/count_tokens": "messages.count"}
"""Paths behind their version."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


def parse(operation: str, body: Body, fallback: tuple[str, ...]) -> Call:
    """Read a request. Raises Refusal."""
    name = body.text("model")
    if not name:
        raise Refusal("invalid", "model is missing: it names a binding")
    stream = body.flag("stream") and operation == "messages"
    return Call(operation, NAME, tuple(dict.fromkeys((name, *fallback))), body, stream)


def write(call: Call, model: str, output: int | None, provider: Provider) -> bytes:
    """Give the body that goes upstream; `output` is the output limit, None to leave it as it is."""
    changes: dict[str, Any] = {"model": model}
    if output is not None and call.operation == "messages":
        changes["max_tokens"] = output
    return call.body.written(provider.rerouting, **changes)  # to models that nobody judged


_COUNTED = (
    *("messages", "system", "tools", "tool_choice", "thinking", "mcp_servers", "output_config"),
    "context_management",
)
_NO_PROMPT = frozenset(
    (
        *("model", "models", "route", "max_tokens", "stream", "metadata", "stop_sequences", "temperature", "top_p"),
        *("top_k", "service_tier", "inference_geo", "speed", "cache_control", "diagnostics", "betas"),
    )
)
"""Fields that no model reads."""


def write_count(call: Call, model: str) -> bytes:
    """Give the body that asks how many tokens the input of a message has."""
    return call.body.only(_COUNTED, model=model)


def uncounted(call: Call) -> int:
    """Give what may become of the fields that are not in that body, and that a model may read."""
    return call.body.size_without(_NO_PROMPT.union(_COUNTED))


def read_count(answer: Any) -> int | None:
    """Read the answer to that."""
    return answer.get("input_tokens") if isinstance(answer, dict) else None


def error(reason: Reason, status: int, message: str, request_id: str) -> bytes:
    """Give a refusal as Anthropic words it."""
    del reason
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return msgspec.json.encode(body)


def model(name: str, provider: str, created: int) -> dict[str, Any]:
    """Give one binding as a model."""
    del provider
    when = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": name, "display_name": name, "created_at": when}


def models(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Give a list of bindings."""
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
    return {"data": items, "has_more": False, **ends}
