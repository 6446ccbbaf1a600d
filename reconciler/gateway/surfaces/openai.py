"""The words of OpenAI's SDK: chat completions, responses, embeddings, models."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from reconciler.gateway.body import Body, numbers_in
from reconciler.gateway.calls import Call, Needs, Route
from reconciler.gateway.judging import look
from reconciler.gateway.needs import answered, bounded, free
from reconciler.gateway.refusal import Reason, Refusal
from reconciler.gateway.surfaces.surface import Surface
from reconciler.providers.models import OUTPUT_CAP_MAX, output_cap
from reconciler.providers.provider import Provider

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

STREAM_OPTIONS = ("include_usage", "include_obfuscation")


def chat(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a chat completion."""
    limits = [body.integer(name) for name in ("max_completion_tokens", "max_tokens")]
    output = max((limit for limit in limits if limit is not None), default=None)
    return answered(body, "chat", provider, model, output)


def responses(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a response of OpenAI's newer API."""
    body.flag("background")
    body.mapping("reasoning")
    needs = answered(body, "responses", provider, model, body.integer("max_output_tokens"), least=16)
    return _compacted(needs, model) if look(body, "responses", provider).compacts else needs


def compact(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a response's input that shall be made shorter."""
    return _compacted(responses(body, provider, model), model)


def _compacted(needs: Needs, model: str) -> Needs:
    """Reserve the most that a model answers: what a compaction writes, no field can limit."""
    most = output_cap(model) or OUTPUT_CAP_MAX
    return needs._replace(output=most, least=most)


def embeddings(body: Body, provider: Provider, model: str) -> Needs:
    """Judge embeddings: input only."""
    raw = bytes(body.fields.get("input", b""))
    tokens = numbers_in(raw) if provider.reads_numbers else None
    extra = 0 if tokens is None else tokens - len(raw)
    return bounded(body, "embeddings", provider, model, 0, 0, least=0, extra=extra)


class OpenAiWords(Surface):
    """What OpenAI's SDK says and reads."""

    name = "openai"
    routes: ClassVar = {
        "/chat/completions": "chat",
        "/responses": "responses",
        "/responses/input_tokens": "responses.count",
        "/responses/compact": "responses.compact",
        "/embeddings": "embeddings",
    }
    judges: ClassVar = {
        "chat": chat,
        "responses": responses,
        "responses.count": free,
        "responses.compact": compact,
        "embeddings": embeddings,
    }
    ways: ClassVar = {
        "chat": "POST /v1/chat/completions (OpenAI)",
        "responses": "POST /v1/responses (OpenAI)",
        "embeddings": "POST /v1/embeddings (OpenAI)",
    }
    counted = (
        *("input", "instructions", "tools", "tool_choice", "reasoning", "text", "truncation", "parallel_tool_calls"),
        *("previous_response_id", "conversation", "personality"),
    )
    unread = frozenset(
        (
            *("model", "models", "route", "stream", "stream_options", "max_output_tokens", "max_tool_calls", "store"),
            *("metadata", "temperature", "top_p", "top_logprobs", "user", "include", "service_tier"),
            *("safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "background"),
            "client_metadata",
        )
    )

    def parse(self, route: Route, body: Body, fallback: tuple[str, ...], query: bytes) -> Call:
        """Read a request. Raises Refusal."""
        del query
        operation = route.operation
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
        return Call(operation, self, found, body, stream, asked_usage=asked or operation != "chat")

    def write(self, call: Call, model: str, output: int | None, provider: Provider) -> bytes:
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

    def error(self, reason: Reason, status: int, message: str, request_id: str) -> bytes:
        """Give a refusal as OpenAI words it."""
        del status, request_id
        kind, code = _TYPES.get(reason, ("invalid_request_error", reason.replace("-", "_")))
        return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})

    def model(self, name: str, provider: str) -> dict[str, Any]:
        """Give one binding as a model."""
        return {"id": name, "object": "model", "created": 0, "owned_by": provider}

    def models(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Give a list of bindings."""
        return {"object": "list", "data": items}
