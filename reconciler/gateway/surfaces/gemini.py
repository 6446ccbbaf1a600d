"""The words of Google's SDK: generateContent, streamed or not, counting, embeddings, models.

Gemini reads every field under two names (`maxOutputTokens`, `max_output_tokens`); what is changed is taken out under
both and written under the first.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call
from reconciler.gateway.growth import normalized, rendered
from reconciler.gateway.judging.references import unrolled
from reconciler.gateway.needs import gemini_field
from reconciler.gateway.refusal import Reason, Refusal
from reconciler.providers.provider import Provider

NAME = "gemini"

PATH = re.compile(r"/models/(?P<name>[^/:]+):(?P<method>[A-Za-z]+)")
"""A path behind its version."""
METHODS = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "generate.count",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
}

SPENT_DAY = "TokensPerDayPerBinding"
"""The quota of a spent day: Gemini CLI tries again for minutes unless it holds `PerDay` (its googleQuotaErrors.ts)."""

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
}


def parse(name: str, method: str, body: Body, fallback: tuple[str, ...]) -> Call:
    """Read a request. Raises Refusal."""
    names = tuple(dict.fromkeys((name, *fallback)))
    return Call(METHODS[method], NAME, names, body, method == "streamGenerateContent", method)


def write(call: Call, model: str, output: int | None, provider: Provider) -> bytes:
    """Give the body that goes upstream; `output` is the limit of each candidate, None to leave it as it is."""
    del provider
    body, path = call.body, f"models/{model}"
    changes: dict[str, Any] = {"model": path} if "model" in body else {}
    if call.method == "batchEmbedContents":
        changes["requests"] = [_with(request, model=path) for request in body.items("requests")]
    elif call.method == "countTokens":
        for field in ("generateContentRequest", "generate_content_request"):
            if field in body:
                changes[field] = _with(body.mapping(field), model=path)
    elif call.operation == "generate" and output is not None:
        config = dict(gemini_field(body, "generationConfig", "generation_config"))
        config.pop("max_output_tokens", None)
        changes["generationConfig"] = config | {"maxOutputTokens": output}
        return body.written(("generation_config",), **changes)
    return body.written(**changes)


def _with(request: Any, **changes: Any) -> dict[str, Any]:
    if not isinstance(request, dict):
        raise Refusal("invalid", "a request must be an object")
    return request | changes


def write_count(call: Call, model: str) -> bytes:
    """Give the body that asks how many tokens the input has."""
    whole = msgspec.Raw(call.body.written(model=f"models/{model}"))
    return msgspec.json.encode({"generateContentRequest": whole})


_SCHEMAS = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")


def uncounted(call: Call) -> int:
    """Give what may become of the answer's schema: the count is said to hold instructions and functions besides."""
    config = gemini_field(call.body, "generationConfig", "generation_config")
    given = {name: config[name] for name in _SCHEMAS if name in config}
    text = msgspec.json.encode(list(given.values()))
    return normalized(text) + rendered(text) + (unrolled(given) or 0) if given else 0


def read_count(answer: Any) -> int | None:
    """Read the answer to that."""
    return answer.get("totalTokens") if isinstance(answer, dict) else None


def error(reason: Reason, status: int, message: str, request_id: str) -> bytes:
    """Give a refusal as Google words it."""
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason.upper().replace("-", "_"),
            "domain": "pai.io",
            "metadata": {"requestId": request_id},
        }
    ]
    if reason == "day-budget":
        spent = {"quotaMetric": "pai.io/tokens", "quotaId": SPENT_DAY, "description": message}
        details.insert(0, {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [spent]})
    body = {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN"), "details": details}
    return msgspec.json.encode({"error": body})


def model(name: str, provider: str, created: int) -> dict[str, Any]:
    """Give one binding as a model."""
    del provider, created
    methods = ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"]
    return {"name": f"models/{name}", "displayName": name, "version": "1", "supportedGenerationMethods": methods}


def models(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Give a list of bindings."""
    return {"models": items}
