"""Credentials and refusals: where each provider looks for a key, and how it says no.

Invariants: a credential is looked for where the real provider looks, and nowhere else; every refusal has the body and
the headers by which the provider's own SDK tells what happened.
"""

from __future__ import annotations

from typing import Any, Literal

from reconciler.simulator.shapes import Api, Declined, Json, Provider
from reconciler.simulator.writing import encode, pretty

Headers = list[tuple[bytes, bytes]]
Style = Literal["openai", "anthropic", "google", "google-list", "openrouter"]

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_OPENAI_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def style(provider: Provider, api: Api | None, sse: bool) -> Style:
    """Tell in which provider's way an endpoint says no."""
    if api in ("messages", "count_tokens"):
        return "anthropic"
    if provider == "gemini":
        listed = api in ("chat", "embeddings") or (api == "streamGenerateContent" and not sse)
        return "google-list" if listed else "google"
    if provider == "anthropic":
        return "openai" if api == "chat" else "anthropic"
    return provider


def body(how: Style, no: Declined, request_id: str, retry_after: str | None) -> bytes:
    """Write the error body."""
    if how == "anthropic":
        kind = _ANTHROPIC_TYPES.get(no.status, "api_error" if no.status >= 500 else "invalid_request_error")
        return encode({"type": "error", "error": {"type": kind, "message": no.message}, "request_id": request_id})
    if how == "openrouter":
        return encode({"error": {"message": no.message, "code": no.status}})
    if how == "openai":
        kind = "server_error" if no.status >= 500 else "invalid_request_error"
        code = no.code or _OPENAI_CODES.get(no.status)
        return pretty({"error": {"message": no.message, "type": kind, "param": no.param, "code": code}})
    error = _google(no, retry_after)
    return pretty([error] if how == "google-list" else error) + b"\n"


def _google(no: Declined, retry_after: str | None) -> Json:
    error: Json = {"code": no.status, "message": no.message, "status": _GOOGLE_STATUSES.get(no.status, "INTERNAL")}
    details: list[Json] = []
    if no.reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        details.append({"@type": kind, "reason": no.reason, "domain": "googleapis.com"})
    if retry_after is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after}s"})
    if details:
        error["details"] = details
    return {"error": error}


def headers(provider: Provider, status: int, retry_after: str | None) -> Headers:
    """Give the headers that a refusal has besides those of every answer."""
    found: Headers = []
    if provider == "anthropic":
        again = status in (408, 409, 429) or status >= 500
        found.append((b"x-should-retry", b"true" if again else b"false"))
    if retry_after is not None and provider != "gemini":
        found.append((b"retry-after", retry_after.encode()))
    return found


def credential(provider: Provider, api: Api, sent: dict[bytes, bytes], query: dict[str, str]) -> str:
    """Give the credential that the request has for this provider, or decline it."""
    bearer = _bearer(sent.get(b"authorization", b""))
    if provider == "gemini" and api not in ("chat", "embeddings"):
        found = _text(sent.get(b"x-goog-api-key", b"")) or query.get("key", "")
        if found:
            return found
        if bearer:
            raise Declined(401, "The access token is not valid.")
        raise Declined(403, "Requests without an API key are not served.")
    if api in ("messages", "count_tokens") or provider == "anthropic":
        found = _text(sent.get(b"x-api-key", b"")) or bearer
        if found and provider == "anthropic" and api != "chat" and b"anthropic-version" not in sent:
            raise Declined(400, "anthropic-version: this header is required.")
    else:
        found = bearer
    if not found:
        raise wrong_key(provider, "An API key is required, and was not sent.")
    return found


def wrong_key(provider: Provider, message: str) -> Declined:
    """Say no to a credential as the provider does."""
    if provider == "gemini":
        return Declined(400, message, reason="API_KEY_INVALID")
    return Declined(401, message, code="invalid_api_key")


def _bearer(value: bytes) -> str:
    scheme, _, token = value.partition(b" ")
    return _text(token).strip() if scheme.lower() == b"bearer" else ""


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def retry_text(value: Any) -> str | None:
    """Give a number of seconds, or a date, as the header has it."""
    if value is None:
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)
