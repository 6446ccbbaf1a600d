"""A page of another origin in somebody's browser: it may send what needs no preflight, and reads nothing."""

from __future__ import annotations

import http.client

import pytest

from tests.support_gateway import Bench

ORIGIN = "https://evil.example"
SIMPLE = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a")
"""What a page may send without being asked for: https://fetch.spec.whatwg.org/#cors-safelisted-request-header."""
PAGE = {"origin": ORIGIN, "referer": f"{ORIGIN}/", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
AGENTS = ("/", "/healthz", "/readyz", "/v1/models", "/v1/chat/completions", "/v1/messages", "/nothing")
PEOPLE = (
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/events?follow=1",
    "/api/v1/state",
    "/webhooks/github",
    "/git/config.git/info/refs?service=git-receive-pack",
    "/git/config.git/git-receive-pack",
)
OPEN = ("/healthz", "/readyz", "/metrics")
PORTS = [("agents", path) for path in AGENTS] + [("people", path) for path in PEOPLE]


def _asked(bench: Bench, port: str, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
    number = bench.port if port == "agents" else bench.daemon.port
    connection = http.client.HTTPConnection("127.0.0.1", number, timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, b"{}" if method == "POST" else None, {**PAGE, **sent})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.mark.parametrize(("port", "path"), PORTS)
def test_page_of_another_origin_is_given_nothing(bench: Bench, port: str, path: str) -> None:
    """No answer lets a page read it or remembers anything, and what a page may send without a preflight is refused."""
    before = bench.site.rows()
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "authorization, x-api-key"}
    answers = [_asked(bench, port, "OPTIONS", path, **asked), _asked(bench, port, "GET", path)]
    answers += [_asked(bench, port, "POST", path, content_type=kind) for kind in SIMPLE]
    for answer in answers:
        names = {name.lower() for name in answer.headers}
        assert not {name for name in names if name.startswith("access-control-")}
        assert not names & {"set-cookie", "access-control-allow-origin", "timing-allow-origin"}
        assert answer.status >= 400 or path in OPEN
    types = {row["type"] for row in bench.site.rows()[: len(bench.site.rows()) - len(before)]}
    assert not types - {"request.refused.v1"}
