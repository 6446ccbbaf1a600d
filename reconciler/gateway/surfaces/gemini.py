"""The words of Google's SDK: generateContent, streamed or not, counting, embeddings, models.

Gemini reads every field under two names (`maxOutputTokens`, `max_output_tokens`); what is changed is taken out under
both and written under the first.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from reconciler.gateway.body import Body, whole
from reconciler.gateway.calls import Call, Needs, Route
from reconciler.gateway.growth import normalized, rendered
from reconciler.gateway.judging.references import unrolled
from reconciler.gateway.needs import acting, bounded, free
from reconciler.gateway.query import check_framing
from reconciler.gateway.refusal import Reason, Refusal
from reconciler.gateway.surfaces.surface import Surface
from reconciler.providers.provider import Provider

_PATH = re.compile(r"/models/(?P<name>[^/:]+):(?P<method>[A-Za-z]+)")
"""A path behind its version."""
_METHODS = {
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
_SCHEMAS = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")


def generate(body: Body, provider: Provider, model: str) -> Needs:
    """Judge generateContent; both spellings of its fields are the provider's own."""
    config = _field(body, "generationConfig", "generation_config")
    output = whole(_either(config, "maxOutputTokens", "max_output_tokens"), "maxOutputTokens")
    choices = whole(_either(config, "candidateCount", "candidate_count"), "candidateCount") or 1
    return bounded(body, "generate", provider, model, output, choices, unbounded=(acting(provider.acts, model),))


def embed(body: Body, provider: Provider, model: str) -> Needs:
    """Judge embeddings: input only."""
    return bounded(body, "embed", provider, model, 0, 0, least=0)


def _field(body: Body, name: str, other: str) -> dict[str, Any]:
    """Give an object that Gemini knows under two names, to be rewritten. Raises Refusal if it is there under both."""
    if name in body and other in body:
        raise Refusal("invalid", f"{name} and {other} are the same field")
    return body.mapping(name, rewritten=True) or body.mapping(other, rewritten=True)


def _either(config: dict[str, Any], name: str, other: str) -> Any:
    """Give a value that may stand under two names. Raises Refusal if it stands under both."""
    if config.get(name) is not None and config.get(other) is not None:
        raise Refusal("invalid", f"{name} and {other} are the same field")
    return config.get(name) if config.get(name) is not None else config.get(other)


def _with(request: Any, **changes: Any) -> dict[str, Any]:
    if not isinstance(request, dict):
        raise Refusal("invalid", "a request must be an object")
    return request | changes


class GeminiWords(Surface):
    """What Google's SDK says and reads."""

    name = "gemini"
    more = ("/v1beta/models/NAME:METHOD",)
    own = re.compile(r"/(?:v1beta|v1alpha)/|[^:]*:")
    headers = frozenset((b"x-goog-api-key",))
    takes_query_key = True
    framed_by_query = True
    count_field = "totalTokens"
    judges: ClassVar = {"generate": generate, "generate.count": free, "embed": embed}
    ways: ClassVar = {"generate": "POST /v1beta/models/NAME:generateContent (Gemini)"}

    def route(self, version: str, rest: str) -> Route | None:
        """Find a path, of which the binding and the method are parts."""
        found = _PATH.fullmatch(rest)
        if found is None or found["method"] not in _METHODS:
            return None
        return Route(self, _METHODS[found["method"]], found["name"], found["method"], version)

    def parse(self, route: Route, body: Body, fallback: tuple[str, ...], query: bytes) -> Call:
        """Read a request. Raises Refusal."""
        check_framing(query)
        names = tuple(dict.fromkeys((route.name, *fallback)))
        return Call(route.operation, self, names, body, route.method == "streamGenerateContent", route.method)

    def write(self, call: Call, model: str, output: int | None, provider: Provider) -> bytes:
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
            config = dict(_field(body, "generationConfig", "generation_config"))
            config.pop("max_output_tokens", None)
            changes["generationConfig"] = config | {"maxOutputTokens": output}
            return body.written(("generation_config",), **changes)
        return body.written(**changes)

    def write_count(self, call: Call, model: str) -> bytes:
        """Give the body that asks how many tokens the input has."""
        whole = msgspec.Raw(call.body.written(model=f"models/{model}"))
        return msgspec.json.encode({"generateContentRequest": whole})

    def uncounted(self, call: Call) -> int:
        """Give what may become of the answer's schema: the count is said to hold instructions and functions besides."""
        config = _field(call.body, "generationConfig", "generation_config")
        given = {name: config[name] for name in _SCHEMAS if name in config}
        text = msgspec.json.encode(list(given.values()))
        return normalized(text) + rendered(text) + (unrolled(given) or 0) if given else 0

    def error(self, reason: Reason, status: int, message: str, request_id: str) -> bytes:
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

    def model(self, name: str, provider: str) -> dict[str, Any]:
        """Give one binding as a model."""
        del provider
        found = {"name": f"models/{name}", "displayName": name, "version": "1"}
        return {**found, "supportedGenerationMethods": list(_METHODS)}

    def models(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Give a list of bindings."""
        return {"models": items}
