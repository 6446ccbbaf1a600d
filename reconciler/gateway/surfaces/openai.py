"""The words of OpenAI's SDK: chat completions, responses, embeddings, models."""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call
from reconciler.gateway.refusal import Reason, Refusal
from reconciler.providers.provider import Provider

NAME = "openai"

ROUTES = {
    "/chat/completions": "chat",
    "/responses": "responses",
    "/responses/input_tokens": "responses.count",
    "/responses/compact": "responses.compact",
    "/embeddings": "embeddings",
}
"""Paths behind their version."""

_TYPES: dict[Reason, tuple[str, str]] = {
    "unauthenticated": ("invalid_request_error", "invalid_api_key"),
    "forbidden": ("permission_error", "binding_not_allowed"),
    "no-binding": ("invalid_request_error", "model_not_found"),
    "no-path": ("invalid_request_error", "unknown_url"),
    "unbounded": ("invalid_request_error", "unbounded_input"),
    "unsupported": ("invalid_request_error", "unsupported_surface"),
    "too-large": ("invalid_request_error", "request_too_large"),
    "request-budget": ("invalid_request_error", "max_tokens_per_request_exceeded"),
    "day-budget": ("insufficient_quota", "insufficient_quota"),  # OpenAI's own code, by which clients do not try again
    "not-ready": ("api_error", "binding_not_ready"),
    "log": ("api_error", "log_not_writable"),
    "internal": ("api_error", "internal_error"),
    "upstream": ("api_error", "upstream_unreachable"),
    "broken": ("api_error", "upstream_broken"),
    "stopping": ("api_error", "stopping"),
    "busy": ("api_error", "busy"),
}


def parse(operation: str, body: Body, fallback: tuple[str, ...]) -> Call:
    """Read a request. Raises Refusal."""
    names = [body.text("model")]
    for name in body.items("models"):
        if not isinstance(name, str):
            raise Refusal("invalid", "models must be a list of names")
        names.append(name)
    names += fallback
    found = tuple(dict.fromkeys(name for name in names if name))
    if not found:
        raise Refusal("invalid", "model is missing: it names a binding")
    stream = body.flag("stream") and operation in ("chat", "responses")
    asked = body.mapping("stream_options").get("include_usage") is True or "usage" in body
    return Call(operation, NAME, found, body, stream, asked_usage=asked or operation != "chat")


STREAM_OPTIONS = ("include_usage", "include_obfuscation")


def write(call: Call, model: str, output: int | None, provider: Provider) -> bytes:
    """Give the body that goes upstream; `output` is the limit of each choice, None to leave it as it is."""
    changes: dict[str, Any] = {"model": model}
    without = ("models", "route")
    if call.operation == "chat":
        if output is not None:
            given = [name for name in ("max_completion_tokens", "max_tokens") if name in call.body]
            changes |= dict.fromkeys(given or [provider.output_field], output)
        if call.stream:
            options = call.body.mapping("stream_options")  # others may have a usage said before the last
            kept = {name: options[name] for name in STREAM_OPTIONS if name in options}
            changes["stream_options"] = kept | {"include_usage": True}
    elif call.operation == "responses" and output is not None:
        changes["max_output_tokens"] = output
    return call.body.written(without, **changes)


_COUNTED = (
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "reasoning",
    "text",
    "truncation",
    "parallel_tool_calls",
    "previous_response_id",
    "conversation",
    "personality",
)
_NO_PROMPT = frozenset(
    (
        *("model", "models", "route", "stream", "stream_options", "max_output_tokens", "max_tool_calls", "store"),
        *("metadata", "temperature", "top_p", "top_logprobs", "user", "include", "service_tier", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "background", "client_metadata"),
    )
)
"""Fields that no model reads."""


def write_count(call: Call, model: str) -> bytes:
    """Give the body that asks how many tokens the input of a response has."""
    return call.body.only(_COUNTED, model=model)


def uncounted(call: Call) -> int:
    """Give what may become of the fields that are not in that body, and that a model may read."""
    return call.body.size_without(_NO_PROMPT.union(_COUNTED))


def read_count(answer: Any) -> int | None:
    """Read the answer to that."""
    return answer.get("input_tokens") if isinstance(answer, dict) else None


def error(reason: Reason, status: int, message: str, request_id: str) -> bytes:
    """Give a refusal as OpenAI words it."""
    del status, request_id
    kind, code = _TYPES.get(reason, ("invalid_request_error", reason.replace("-", "_")))
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def model(name: str, provider: str, created: int) -> dict[str, Any]:
    """Give one binding as a model."""
    return {"id": name, "object": "model", "created": created, "owned_by": provider}


def models(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Give a list of bindings."""
    return {"object": "list", "data": items}
