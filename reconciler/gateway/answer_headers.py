"""A provider's headers: which of them go to the client.

What an SDK or a person reads goes: request ids, rate limits, retry-after, and what is not known. What would make a
proxy in front of the gateway or a browser behind it do something stays here, and so does what belongs to the
connection with the provider. Line breaks and control characters in a header were refused before, by the parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from typing import Final

from reconciler.gateway.client import Headers
from reconciler.gateway.masking import KEY_BYTES_MIN, Mask

_DROPPED = frozenset(
    (
        # of the connection with the provider: whoever answers frames the answer anew
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
        *("content-length", "content-encoding", "date"),
        # where a client or a proxy is sent instead
        *("location", "content-location", "refresh", "alt-svc", "alternates", "link", "sourcemap"),
        # a proxy's files, buffers and caches
        *("x-sendfile", "x-send-file", "x-lighttpd-send-file", "x-lighttpd-send-tempfile", "x-sendfile2", "x-file"),
        *("x-internal-redirect", "x-original-url", "x-rewrite-url", "x-esi", "x-purge", "x-varnish-ttl", "xkey"),
        *("cache-control", "cache-tag", "cache-tags", "cache-status", "expires", "pragma", "age", "etag", "vary"),
        *("last-modified", "no-vary-search", "use-as-dictionary", "priority"),
        # a browser's memory of this origin, and what pages may do with it
        *("set-cookie", "set-cookie2", "clear-site-data", "service-worker-allowed", "nel", "report-to", "expect-ct"),
        *("strict-transport-security", "www-authenticate", "authentication-info", "set-login", "referrer-policy"),
        *("origin-agent-cluster", "origin-trial", "timing-allow-origin", "speculation-rules", "critical-ch", "p3p"),
        *("supports-loading-mode", "content-disposition", "x-frame-options", "x-xss-protection", "x-sourcemap"),
        *("x-ua-compatible", "x-dns-prefetch-control", "x-download-options", "x-permitted-cross-domain-policies"),
        *("activate-storage-access", "observe-browsing-topics", "shared-storage-write", "delegate-ch", "default-style"),
        *("integrity-policy", "integrity-policy-report-only", "x-content-security-policy", "x-webkit-csp"),
    )
)
_DROPPED_PREFIXES = (
    "x-pai-",  # the gateway's own
    # of the connection with the provider, and credentials for proxies
    *("proxy-", "sec-"),
    # orders to nginx, LiteSpeed, Perlbal, Envoy, HAProxy, Apache Traffic Server, and to the caches of networks
    *("x-accel-", "x-litespeed-", "x-lsadc-", "x-reproxy-", "x-envoy-", "x-haproxy-", "x-ats-", "@"),
    *("surrogate-", "edge-", "akamai-", "x-akamai-", "fastly-", "x-fastly-", "x-cache-tag", "x-drupal-cache-"),
    # what pages of other origins may read, and what a page of this one may do
    *("access-control-", "cross-origin-", "content-security-policy", "permissions-policy", "feature-policy"),
    *("document-policy", "require-document-policy", "reporting-", "public-key-pins", "accept-", "ad-auction-"),
    *("attribution-reporting-", "hx-", "turbo-", "x-turbo-", "x-inertia", "x-pjax", "x-chromelogger", "x-wf-"),
)
_DROPPED_SUFFIXES = ("-cache-control",)  # Cloudflare's, Netlify's, Vercel's and others' own
_REMEMBERED_BYTES_MAX = 64
ESCAPES_MAX: Final = 32
"""Signs that may begin an escape, in one header where all together have more: each may be read in several ways, so
looking for a key takes the longest there. Usual headers have next to none."""
_ESCAPE = re.compile(rb"(?:%|\\+u00)([0-9a-fA-F]{2})")


class Shield:
    """Keeps the provider's keys out of headers; `mask` finds them as they are."""

    def __init__(self, credentials: Iterable[str], mask: Mask) -> None:
        """`credentials` are values of headers that hold a key."""
        keys = (value.removeprefix("Bearer ").encode() for value in credentials)
        self._folded = [_folded(key) for key in keys if len(key) >= KEY_BYTES_MIN]
        self._mask = mask

    def clean(self, text: bytes) -> bool:
        """Tell whether no key stands in a text, as it is or in letters of another case."""
        folded = _folded(text)
        return not any(key in folded for key in self._folded) and self._mask.masked(text) == text

    def headers(self, found: Headers) -> Headers:
        """Mask keys in values; where that does not help, or is a name, the header does not go."""
        masked = [(name, self._mask.masked(value)) for name, value in found]
        return [header for header in masked if all(map(self.clean, header))]


def _folded(text: bytes) -> bytes:
    """Write what reads alike in one way: escapes resolved, small letters, and an underscore as a hyphen."""
    found = _ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), text) if b"%" in text or b"\\" in text else text
    return found.lower().replace(b"_", b"-")


def passed(headers: Iterable[tuple[bytes, bytes]], shield: Shield) -> Headers:
    """Give the headers that go to the client, without the provider's key; what is full of escapes does not go."""
    found = [
        header
        for header in headers
        if (_goes(header[0]) if len(header[0]) <= _REMEMBERED_BYTES_MAX else _goes.__wrapped__(header[0]))
    ]
    text = b"\n".join(chain.from_iterable(found))
    if _escapes(text) > ESCAPES_MAX:
        found = [header for header in found if sum(map(_escapes, header)) <= ESCAPES_MAX]
        text = b"\n".join(chain.from_iterable(found))
    return found if shield.clean(text) else shield.headers(found)


def _escapes(text: bytes) -> int:
    return text.count(b"\\") + text.count(b"%")


@lru_cache(1024)
def _goes(raw: bytes) -> bool:
    """Tell whether a header goes to the client; some servers take an underscore in a name for a hyphen."""
    name = raw.decode("latin-1").lower().replace("_", "-")
    return not (name in _DROPPED or name.startswith(_DROPPED_PREFIXES) or name.endswith(_DROPPED_SUFFIXES))
