"""A provider's headers, kind by kind: which go to the client, and which stay."""

from __future__ import annotations

import pytest

from reconciler.gateway import masking
from reconciler.gateway.answer_headers import Shield, passed
from reconciler.gateway.masking import Mask

KEY = "sk-canary-0123456789"

GO = """
content-type x-request-id request-id anthropic-ratelimit-tokens-remaining anthropic-organization-id
openai-processing-ms openai-version openai-model x-ratelimit-limit-requests x-ratelimit-reset-tokens retry-after
retry-after-ms x-should-retry x-goog-generation x-gemini-service-tier server server-timing cf-ray via x-robots-tag
x-own x-content-type-options x-envelope request-cost warning content-language x-ms-region apim-request-id sunset
"""
STAY = """
connection keep-alive proxy-authenticate proxy-connection proxy-status te trailer transfer-encoding upgrade
content-length content-encoding date http2-settings
location content-location refresh alt-svc link sourcemap x-sourcemap
x-accel-redirect x-accel-buffering x-accel-charset x-accel-expires x-accel-limit-rate X-Accel-Redirect x_accel_redirect
x-sendfile X-Sendfile x-lighttpd-send-file x-litespeed-location x-litespeed-cache x-litespeed-tag
x-lsadc-backend x-reproxy-url x-reproxy-file x-envoy-immediate-health-check-fail x-envoy-degraded
surrogate-control surrogate-key cdn-cache-control cloudflare-cdn-cache-control edge-control akamai-origin-hop
fastly-debug cache-control cache-tag x-cache-tags expires pragma age etag vary last-modified
set-cookie Set-Cookie2 clear-site-data service-worker-allowed nel report-to reporting-endpoints expect-ct
access-control-allow-origin access-control-allow-credentials cross-origin-opener-policy strict-transport-security
public-key-pins public-key-pins-report-only content-security-policy content-security-policy-report-only
x-content-security-policy x-webkit-csp permissions-policy feature-policy document-policy referrer-policy
www-authenticate authentication-info x-frame-options x-xss-protection content-disposition timing-allow-origin
accept-ch accept-ranges critical-ch origin-trial origin-agent-cluster speculation-rules no-vary-search
use-as-dictionary sec-websocket-accept sec-session-registration hx-redirect x-pai-binding x-pai-reset
"""


def shield(credentials: list[str]) -> Shield:
    """Keep keys out of headers."""
    return Shield(credentials, Mask(credentials))


@pytest.mark.parametrize("name", GO.split())
def test_header_that_people_and_sdks_read_goes(name: str) -> None:
    """Ids, limits, hints for retries, and what nobody knows."""
    header = (name.encode(), b"value")
    assert passed([header], shield([KEY])) == [header]


@pytest.mark.parametrize("name", STAY.split())
def test_header_that_acts_stays(name: str) -> None:
    """What a proxy or a browser would obey, what belongs to the connection, and what passes for the gateway's own."""
    assert passed([(name.encode(), b"value")], shield([KEY])) == []


@pytest.mark.parametrize("value", [KEY, f"Bearer {KEY}", f"a={KEY};b", KEY.replace("s", "\\u0073"), "%73" + KEY[1:]])
def test_key_is_masked_in_a_header(value: str) -> None:
    """The rest of the value goes."""
    ((name, shown),) = passed([(b"x-own", value.encode())], shield([f"Bearer {KEY}"]))
    assert (name, shown.count(b"***"), KEY.encode() in shown) == (b"x-own", 1, False)


@pytest.mark.parametrize("fill", [b"\\", b"%", b"\\u00", b"%2"])
@pytest.mark.parametrize("count", [1, 250])
def test_headers_full_of_escapes_make_little_work(monkeypatch: pytest.MonkeyPatch, fill: bytes, count: int) -> None:
    """A provider knows its key, and may fill a head with what nearly is one; other headers go as ever."""
    looked: list[int] = []
    escapes = masking._escapes
    monkeypatch.setattr(masking, "_escapes", lambda text, at, last: looked.append(at) or escapes(text, at, last))
    text = KEY.encode()[:16] + fill * (60_000 // count // len(fill))
    found = [*((b"x-%d" % number, text) for number in range(count)), (b"x-own", b"a " + KEY.encode())]
    assert passed(found, shield([KEY])) == [(b"x-own", b"a ***")]
    assert len(looked) < 1000, len(looked)


def test_header_named_by_the_key_stays() -> None:
    """A name cannot be masked and stay a name."""
    assert passed([(KEY.encode(), b"1"), (b"x-own", b"2")], shield([KEY])) == [(b"x-own", b"2")]


MIXED = "sk-Canary_0123456789-aB"
WRITTEN = (
    *(MIXED, MIXED.lower(), MIXED.upper(), MIXED.swapcase(), MIXED.replace("_", "-"), f"x-{MIXED}-y"),
    *("".join(f"%{ord(sign):02x}" for sign in how) for how in (MIXED, MIXED.upper())),
    *("".join(f"\\u{ord(sign):04X}" for sign in how) for how in (MIXED, MIXED.lower())),
)


@pytest.mark.parametrize("credential", [MIXED, f"Bearer {MIXED}"])
@pytest.mark.parametrize("written", WRITTEN)
def test_key_never_shows_in_a_header_however_it_is_written(written: str, credential: str) -> None:
    """As a name or in a value, in any case, with escapes: whoever knows how it is spelled knows most of it."""
    own = (b"x-own", b"1")
    for header in ((written.encode(), b"v"), (b"x-other", written.encode()), (b"x-other", f"a {written} b".encode())):
        shown = passed([own, header], shield([credential]))
        text = b"".join(name + value for name, value in shown[1:])
        assert shown[0] == own
        assert text in (b"", b"x-other***", b"x-othera *** b", b"x-otherx-***-y", b"x-othera x-***-y b"), text
