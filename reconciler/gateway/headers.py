"""A client's headers: which of them go upstream, and what those for the gateway itself say."""

from __future__ import annotations

from reconciler.gateway.client import Headers

_DROPPED = frozenset(
    (
        # of this connection
        "host",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "content-length",
        "content-type",
        "accept-encoding",
        # credentials, and what chooses whom a credential stands for
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "cookie",
        "openai-organization",
        "openai-project",
        "x-goog-user-project",
        # of the agents' network
        "forwarded",
        "via",
        "x-real-ip",
        # what would make it another request
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        # what would leave the usage out of the answer
        "x-goog-fieldmask",
        "x-goog-field-mask",
    )
)
_DROPPED_PREFIXES = ("proxy-", "x-forwarded-", "x-pai-", "x-goog-iam-", "cf-")


def fallback_of(headers: Headers) -> tuple[str, ...]:
    """Name the bindings of the header `x-pai-fallback`, in order."""
    given = b",".join(value for name, value in headers if name == b"x-pai-fallback")
    return tuple(name for part in given.decode("latin-1").split(",") if (name := part.strip()))


def kept_headers(headers: Headers) -> dict[str, str]:
    """Pick the client's headers that go upstream."""
    kept = {"content-type": "application/json", "accept-encoding": "identity"}
    for raw, value in headers:
        name = raw.decode("latin-1")
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES):
            text = _text(value)
            kept[name] = f"{kept[name]}, {text}" if name in kept else text  # several lines are one list
    return kept


def _text(value: bytes) -> str:
    """Read a header's value so that it is written with the same bytes again, if they are UTF-8 at all."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
