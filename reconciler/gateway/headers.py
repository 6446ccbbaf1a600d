"""A client's headers: which of them go upstream, and what those for the gateway itself say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

from reconciler.gateway.client import Headers
from reconciler.gateway.refusal import Refusal

_DROPPED = frozenset(
    (
        # of this connection
        *("host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
        *("content-length", "content-type", "content-encoding", "accept-encoding"),
        # credentials
        *("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"),
        # of the agents' network
        *("forwarded", "via", "x-real-ip"),
        # what would make it another request
        *("x-http-method", "x-http-method-override", "x-method-override"),
        # what would leave the usage out of the answer
        *("range", "if-range", "x-goog-fieldmask", "x-goog-field-mask"),
    )
)
_DROPPED_PREFIXES = (
    *("proxy-", "x-forwarded-", "x-pai-", "cf-"),
    # orders to proxies in front of a provider: another path, another time to wait
    *("x-original-", "x-rewrite-", "x-override-", "x-envoy-"),
    # of other clouds' accounts, and of Google's: its internal ones, and who pays
    *("x-amz-", "x-ms-", "ocp-apim-", "x-goog-iam-", "x-goog-ext-", "x-goog-authenticated-", "x-goog-quota-"),
    *("x-goog-request-params", "x-goog-visibilities"),
)
_ACCOUNTS = (
    *("organization", "organisation", "org", "project", "workspace", "account", "tenant"),
    *("subscription", "profile", "billing", "customer"),
)
_CREDENTIALS = ("authorization", "credential", "credentials", "api-key", "apikey", "secret")
_TOKENS = ("access", "auth", "security", "session", "bearer")
_CHOOSES_ACCOUNT = (
    *(f"-{word}{ending}" for word in _ACCOUNTS for ending in ("", "-id", "-ids")),
    *(f"-{word}" for word in _CREDENTIALS),
    *(f"-{word}-token" for word in _TOKENS),
)
"""How names end, behind a hyphen before all of them, that choose whom a credential stands for, whatever provider's name
stands before it, and credentials by any name: `openai-organization`, `anthropic-workspace-id`,
`anthropic-user-profile-id`, `x-goog-user-project`, `chatgpt-account-id`, `x-openai-actor-authorization`. Only the end
of a name is looked at: it may have 64 KiB."""
_REMEMBERED_BYTES_MAX = 64
PARTS_MAX = 100
"""Of `x-pai-fallback`, with those between two commas that name nothing: each is looked at."""


FIELD_BYTES = 100
"""What a field of a head takes in memory beyond its characters."""


def head_bytes(scope: Mapping[str, Any]) -> int:
    """Give what a request's head takes in memory."""
    headers: Headers = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(map(len, chain(*headers)))
    return size + FIELD_BYTES * len(headers)


def fallback_of(headers: Headers) -> tuple[str, ...]:
    """Name the bindings of the header `x-pai-fallback`, in order. Raises Refusal if it has too many parts."""
    given = [value for name, value in headers if name == b"x-pai-fallback"]
    if not given:
        return ()
    text = b",".join(given).decode("latin-1")
    if text.count(",") >= PARTS_MAX:
        raise Refusal("invalid", f"x-pai-fallback has more than {PARTS_MAX} parts")
    return tuple(name for part in text.split(",") if (name := part.strip()))


def kept_headers(headers: Headers) -> dict[str, str]:
    """Pick the client's headers that go upstream."""
    kept = {"content-type": "application/json", "accept-encoding": "identity"}
    for raw, value in headers:
        if _goes(raw) if len(raw) <= _REMEMBERED_BYTES_MAX else _goes.__wrapped__(raw):
            name = raw.decode("latin-1")
            text = _text(value)
            kept[name] = f"{kept[name]}, {text}" if name in kept else text  # several lines are one list
    return kept


@lru_cache(maxsize=1024)
def _goes(raw: bytes) -> bool:
    """Tell whether a header goes upstream; servers take an underscore in a name for a hyphen."""
    name = raw.decode("latin-1").replace("_", "-")
    return not (name in _DROPPED or name.startswith(_DROPPED_PREFIXES) or f"-{name}".endswith(_CHOOSES_ACCOUNT))


def _text(value: bytes) -> str:
    """Read a header's value so that it is written with the same bytes again, if they are UTF-8 at all."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
