"""Requests that are wrong: each is refused in the words of its SDK, costs nothing, and reaches no provider."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.support import until
from tests.support_gateway import (
    BIG,
    ELSEWHERE,
    EXPIRED,
    NEARBY,
    OUTSIDER,
    PAIRS,
    PROVIDER_KEYS,
    PROVIDERS,
    ROBOT,
    Bench,
    asked,
    assert_books_balance,
    headers_of,
    key_of,
    refused,
)

OPERATIONS = ("chat", "responses", "messages", "generate")
HOME = {"chat": "openai", "responses": "openai", "messages": "anthropic", "generate": "gemini"}
"""The binding that each API is tried with."""


def untouched(bench: Bench) -> tuple[int, int]:
    """Give what changes when anything is reserved or sent: events of the ledger, and what was charged."""
    return len(bench.tokens()), sum(amount.requests for amount in bench.simulator.charged.values())


def body_of(operation: str, name: str, **more: Any) -> bytes:
    """Give a request's body as bytes."""
    return json.dumps(asked(operation, name, **more)[1]).encode()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b'{"model": }',
        b'{"model": "openai"} {}',
        b"\xef\xbb\xbf{}",
        b'{"model": "\xff\xfe"}',
        b'{"m\x00del": 1}',
        b"{'model': 'openai'}",
        b'{"model": NaN}',
    ],
)
def test_body_that_is_no_json_object_is_refused(bench: Bench, operation: str, body: bytes) -> None:
    """What is no JSON object in UTF-8 gets a 400 in the words of the SDK, and nothing is reserved."""
    before = untouched(bench)
    answer = bench.raw(operation, HOME[operation], body)
    assert refused(operation, answer).status == 400
    assert untouched(bench) == before


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        ("chat", "model", 7),
        ("chat", "model", None),
        ("chat", "model", ""),
        ("chat", "models", "openai"),
        ("chat", "models", [1]),
        ("chat", "stream", "yes"),
        ("chat", "stream_options", [True]),
        ("chat", "n", "2"),
        ("chat", "n", 0),
        ("chat", "n", -1),
        ("chat", "n", 1.5),
        ("chat", "n", True),
        ("chat", "max_tokens", -1),
        ("chat", "max_tokens", "many"),
        ("chat", "max_tokens", 10**30),
        ("chat", "max_tokens", 2.5),
        ("chat", "max_completion_tokens", -5),
        ("chat", "max_completion_tokens", [5]),
        ("chat", "tools", {"a": 1}),
        ("responses", "max_output_tokens", -1),
        ("responses", "max_output_tokens", 1e400),
        ("responses", "reasoning", "high"),
        ("responses", "background", 1),
        ("messages", "max_tokens", -1),
        ("messages", "max_tokens", "1000"),
        ("messages", "thinking", True),
        ("messages", "thinking", {"type": "enabled", "budget_tokens": -1}),
        ("messages", "tools", "bash"),
        ("generate", "generationConfig", 5),
        ("generate", "generationConfig", {"maxOutputTokens": -1}),
        ("generate", "generationConfig", {"maxOutputTokens": "100"}),
        ("generate", "generationConfig", {"candidateCount": 0}),
        ("generate", "generationConfig", {"maxOutputTokens": 1, "max_output_tokens": 1000}),
        ("generate", "generation_config", {"maxOutputTokens": 1}),
        ("generate", "tools", {"googleSearch": {}}),
    ],
)
def test_field_of_a_wrong_type_is_refused(bench: Bench, operation: str, field: str, value: object) -> None:
    """A field that the gateway has to judge, and cannot, is a 400; it never goes upstream unjudged."""
    before = untouched(bench)
    _, body = asked(operation, HOME[operation])
    answer = bench.raw(operation, HOME[operation], json.dumps(body | {field: value}).encode())
    assert refused(operation, answer).status == 400
    assert untouched(bench) == before


@pytest.mark.parametrize("depth", [70, 5_000, 200_000])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_deep_nesting_is_refused(bench: Bench, operation: str, depth: int) -> None:
    """Content that is nested too deeply to be looked through is refused with 400, however deep it is."""
    before = untouched(bench)
    nest = "[" * depth + '{"type": "image_url", "image_url": {"url": "data:,"}}' + "]" * depth
    field = {"generate": "contents", "responses": "input"}.get(operation, "messages")
    _, body = asked(operation, HOME[operation])
    sent = json.dumps(body | {field: "HERE"}).replace('"HERE"', nest)
    assert refused(operation, bench.raw(operation, HOME[operation], sent.encode())).status == 400
    assert untouched(bench) == before


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
def test_compressed_body_is_refused(bench: Bench, coding: str) -> None:
    """A compressed request is refused, since its bytes would bound nothing."""
    before = untouched(bench)
    body = gzip.compress(body_of("chat", "openai"))
    answer = bench.raw("chat", "openai", body, headers={"content-encoding": coding})
    assert refused("chat", answer).status == 400
    assert untouched(bench) == before


@pytest.mark.parametrize("operation", OPERATIONS)
def test_unknown_binding_is_a_404(bench: Bench, operation: str) -> None:
    """A name that is no binding, also a provider's own model id, is a 404 that says so."""
    before = untouched(bench)
    for name in ("gpt-4o", "nothing", "no such\nthing" if operation != "generate" else "nothing-at-all"):
        found = refused(operation, bench.ask(operation, name))
        assert found.status == 404
        assert "binding" in found.message
    assert untouched(bench) == before


@pytest.mark.parametrize("operation", OPERATIONS)
def test_binding_of_others_is_a_403(bench: Bench, operation: str) -> None:
    """A binding that exists, and is not in the agent's list, is a 403, and is recorded as refused."""
    found = refused(operation, bench.ask(operation, HOME[operation], key=OUTSIDER))
    assert found.status == 403
    assert "hidden" in found.message
    terms = ("type:request.refused", f"model:{HOME[operation]}", "agent:outsider")
    rows = until("the refusal on the log", lambda: bench.site.rows(*terms))
    assert {row["data"]["reason"] for row in rows} == {"forbidden"}


@pytest.mark.parametrize(
    "key", [EXPIRED, ELSEWHERE, key_of("unknown"), "sk-canary-openai", "pak_", "pak_ä", "x" * 9000]
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_key_that_is_not_in_force_is_a_401(bench: Bench, operation: str, key: str) -> None:
    """Expired, from another network, unknown, a provider's own key, malformed: each is a 401 and reserves nothing."""
    before = untouched(bench)
    headers = {name: value.encode() for name, value in headers_of(operation, key).items()}
    path, body = asked(operation, HOME[operation])
    answer = bench.client.post(path, json=body, headers=headers)
    found = refused(operation, answer)
    assert found.status == 401
    assert key[:40] not in answer.text or len(key) < 8
    assert untouched(bench) == before


def test_request_without_a_key_is_a_401(bench: Bench) -> None:
    """No credential at all is a 401 on every surface."""
    for operation in OPERATIONS:
        path, body = asked(operation, HOME[operation])
        assert refused(operation, bench.client.post(path, json=body)).status == 401
        assert bench.client.post(path, json=body, headers={"authorization": "Basic cm9ib3Q6eA=="}).status_code == 401


@pytest.mark.parametrize(
    "place",
    [
        {"authorization": f"Bearer {ROBOT}"},
        {"authorization": f"bearer   {ROBOT}"},
        {"x-api-key": ROBOT},
        {"x-goog-api-key": ROBOT},
        {"authorization": f"Bearer {ROBOT}", "x-api-key": ROBOT},
    ],
)
@pytest.mark.parametrize(("operation", "provider"), PAIRS)
def test_key_is_taken_from_any_header_on_any_surface(
    bench: Bench, operation: str, provider: str, place: dict[str, str]
) -> None:
    """Whichever header has the key, and also twice the same, the request is served, and the key does not go on."""
    path, body = asked(operation, provider)
    answer = bench.client.post(path, json=body, headers={"anthropic-version": "2023-06-01", **place})
    assert answer.status_code == 200, answer.text
    assert ROBOT not in str(bench.seen(provider)[-1])


@pytest.mark.parametrize("key", [NEARBY])
def test_key_bound_to_networks_is_taken_from_inside(bench: Bench, key: str) -> None:
    """A key with networks works from one of them."""
    assert bench.ask("chat", "openai", key=key).status_code == 200


@pytest.mark.parametrize(("operation", "provider"), PAIRS)
def test_key_in_the_query_is_taken_and_not_forwarded(bench: Bench, operation: str, provider: str) -> None:
    """`?key=` authenticates on any surface; the provider sees neither it nor a method or headers said there."""
    path, body = asked(operation, provider)
    answer = bench.client.post(
        path,
        params={"key": ROBOT, "extra": "1", "$httpMethod": "GET", "$httpHeaders": f"x-goog-api-key:{ROBOT}"},
        json=body,
        headers={"anthropic-version": "2023-06-01"},
    )
    assert answer.status_code == 200, answer.text
    seen = bench.seen(provider)[-1]
    assert seen.query == "extra=1"
    assert ROBOT not in str(seen)


def test_two_different_credentials_are_a_401(bench: Bench) -> None:
    """Two credentials that differ are refused, wherever they stand, even if both are good."""
    before = untouched(bench)
    path, body = asked("chat", "openai")
    pairs: list[dict[str, Any]] = [
        {"headers": {"authorization": f"Bearer {ROBOT}", "x-api-key": NEARBY}},
        {"headers": {"authorization": f"Bearer {ROBOT}", "x-goog-api-key": "other"}},
        {"headers": {"x-api-key": ROBOT}, "params": {"key": NEARBY}},
        {"headers": [("x-api-key", ROBOT), ("x-api-key", NEARBY)]},
        {"headers": {"authorization": "Basic abc", "x-api-key": ROBOT}},
        {"params": [("key", ROBOT), ("key", NEARBY)]},
    ]
    for pair in pairs:
        answer = bench.client.post(path, json=body, **pair)
        assert (answer.status_code, "two different" in answer.text) == (401, True), pair
    assert untouched(bench) == before


@pytest.mark.parametrize(("operation", "provider"), PAIRS)
def test_client_headers_that_are_none_of_the_providers_business_stay_here(
    bench: Bench, operation: str, provider: str
) -> None:
    """The provider gets its own key and what the SDK says of itself, and no credential, cookie or method override."""
    sent = {
        "cookie": "session=canary",
        "x-http-method-override": "DELETE",
        "openai-organization": "org-canary",
        "openai-project": "proj-canary",
        "x-goog-user-project": "canary",
        "proxy-authorization": "Basic canary",
        "x-forwarded-for": "10.1.2.3",
        "forwarded": "for=10.1.2.3",
        "x-pai-fallback": "",
        "accept-encoding": "gzip, br",
        "x-stainless-lang": "python",
        "anthropic-beta": "some-beta-2026-01-01",
        "user-agent": "the-agent/1.0",
    }
    answer = bench.ask(operation, provider, headers=sent)
    assert answer.status_code == 200, answer.text
    seen = bench.seen(provider)[-1]
    headers = dict(seen.headers)
    assert len(headers) == len(seen.headers), "a header went out twice"
    assert "canary" not in str({name: value for name, value in headers.items() if name not in CREDENTIALS})
    assert not {"cookie", "x-http-method-override", "x-forwarded-for", "forwarded", "x-pai-fallback"} & set(headers)
    assert [value.removeprefix("Bearer ") for name, value in headers.items() if name in CREDENTIALS] == [
        PROVIDER_KEYS[provider]
    ]
    assert headers["x-stainless-lang"] == "python"
    assert headers["anthropic-beta"] == "some-beta-2026-01-01"
    assert headers["user-agent"] == "the-agent/1.0"
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == bench.simulator.origin(seen.provider).removeprefix("http://")


def test_list_in_several_headers_is_passed_on_whole(bench: Bench) -> None:
    """Betas that an SDK sends in headers of the same name all reach the provider."""
    path, body = asked("messages", "anthropic")
    betas = [("anthropic-beta", "one-2026-01-01"), ("anthropic-beta", "two-2026-01-01")]
    assert bench.client.post(path, json=body, headers=[*headers_of("messages").items(), *betas]).status_code == 200
    assert dict(bench.seen("anthropic")[-1].headers)["anthropic-beta"] == "one-2026-01-01, two-2026-01-01"


CREDENTIALS = ("authorization", "x-api-key", "x-goog-api-key")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_unknown_host_is_a_421(bench: Bench, host: str) -> None:
    """A page that resolves its own name to this machine is refused before its key is looked at."""
    before = untouched(bench)
    for path, operation in (("/v1/chat/completions", "chat"), ("/v1/messages", "messages"), ("/v1/nothing", "chat")):
        answer = bench.client.post(path, json={}, headers={"host": host, **headers_of(operation)})
        assert refused(operation, answer).status == 421
    assert untouched(bench) == before


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8000", "192.168.7.9:1"])
def test_known_host_is_served(bench: Bench, host: str) -> None:
    """This machine's names and addresses are answered, in any case and with any port."""
    assert bench.ask("chat", "openai", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        ("chat", "max_tokens", 2**53 - 1),
        ("chat", "max_completion_tokens", 10**12),
        ("responses", "max_output_tokens", 2**53 - 1),
        ("messages", "max_tokens", 2**53 - 1),
        ("generate", "generationConfig", {"maxOutputTokens": 2**53 - 1, "candidateCount": 2}),
        ("generate", "generationConfig", {"max_output_tokens": 2**53 - 1}),
    ],
)
def test_absurd_output_limit_is_lowered_to_what_is_left(
    bench: Bench, operation: str, field: str, value: object
) -> None:
    """An output limit beyond any budget goes upstream lowered, so that all that was asked still fits the day."""
    name = HOME[operation]
    _, body = asked(operation, name, limit=None)
    answer = bench.raw(operation, name, json.dumps(body | {field: value}).encode())
    assert answer.status_code == 200, answer.text
    (sent,) = {_limit_sent(json.loads(bench.seen(name)[-1].body))}
    assert 1 <= sent < BIG
    assert_books_balance(bench)


def _limit_sent(body: dict[str, Any]) -> int:
    """Give the one output limit of an upstream body; under two names it has to be the same."""
    config = body.get("generationConfig", {})
    found = {
        value
        for place in (body, config)
        for name, value in place.items()
        if name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
    }
    (limit,) = found
    assert isinstance(limit, int)
    return limit * config.get("candidateCount", 1)


def test_million_choices_do_not_fit(bench: Bench) -> None:
    """`n: 1000000` needs more than the day has, and is refused as such, whatever each choice may hold."""
    before = untouched(bench)
    for limit in (100, 1000, 2**40):
        answer = bench.ask("chat", "openai", n=1_000_000, limit=limit)
        if answer.status_code == 200:
            pytest.fail("a million choices were let through")
        assert answer.status_code in (400, 429), answer.text
    answer = bench.ask("chat", "openai", n=2**53 - 1)
    assert refused("chat", answer).status == 429
    del before
    assert_books_balance(bench)


@pytest.mark.parametrize(
    ("operation", "twice"),
    [
        ("chat", '"max_tokens": 7, "max_tokens": 5'),
        ("chat", '"max_tokens": 5000000000, "max_tokens": 5'),
        ("chat", '"n": 100, "n": 1'),
        ("chat", '"model": "hidden", "model": "openai"'),
        ("chat", '"m\\u006fdel": "hidden", "model": "openai"'),
        ("chat", '"stream": true, "stream": false'),
        ("messages", '"max_tokens": 7, "max_tokens": 5'),
        ("responses", '"max_output_tokens": 50, "max_output_tokens": 20'),
        ("responses", '"background": true, "background": false'),
        ("generate", '"generationConfig": {"maxOutputTokens": 9}, "generationConfig": {"maxOutputTokens": 5}'),
        ("generate", '"generationConfig": {"maxOutputTokens": 9, "maxOutputTokens": 5}'),
    ],
)
def test_field_given_twice_is_sent_once_as_judged(bench: Bench, operation: str, twice: str) -> None:
    """A name that stands twice goes upstream once, with the value that was judged: nobody can read another one."""
    name = HOME[operation]
    _, body = asked(operation, name, limit=None)
    sent = json.dumps(body)[:-1] + ", " + twice + "}"
    answer = bench.raw(operation, name, sent.encode())
    assert answer.status_code == 200, answer.text
    upstream = bench.seen(name)[-1].body
    pairs: list[str] = []
    json.loads(upstream, object_pairs_hook=lambda found: pairs.extend(sorted(name for name, _ in found)))
    assert len([key for key in pairs if key in ("model", "max_tokens", "n", "stream", "maxOutputTokens")]) == len(
        {key for key in pairs if key in ("model", "max_tokens", "n", "stream", "maxOutputTokens")}
    )
    assert "hidden" not in upstream
    assert '"background":true' not in upstream.replace(" ", "")


@pytest.mark.parametrize(
    ("operation", "field", "nested"),
    [
        ("chat", "messages", '[{"role":"user","content":[{"type":"image_url","image_url":{"url":"U","url":"D"}}]}]'),
        ("chat", "tools", '[{"type":"web_search","type":"function","function":{"name":"f"}}]'),
        (
            "messages",
            "messages",
            '[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"U","url":"D"}}]}]',
        ),
        ("messages", "tools", '[{"type":"web_search_20250305","type":"custom","name":"f"}]'),
        ("responses", "tools", '[{"type":"web_search","type":"function","name":"f"}]'),
        ("generate", "contents", '[{"parts":[{"fileData":{"fileUri":"U"},"fileData":{}}]}]'),
        ("generate", "tools", '[{"functionDeclarations":[],"functionDeclarations":[]}]'),
    ],
)
def test_nested_field_given_twice_cannot_smuggle(bench: Bench, operation: str, field: str, nested: str) -> None:
    """A nested name that stands twice is refused where it is judged: providers differ in which value they read."""
    before = untouched(bench)
    name = HOME[operation]
    _, body = asked(operation, name)
    body.pop(field, None)
    value = nested.replace('"U"', '"https://example.com/x.png"').replace('"D"', '"data:image/png;base64,AAAA"')
    answer = bench.raw(operation, name, (json.dumps(body)[:-1] + f', "{field}": {value}' + "}").encode())
    found = refused(operation, answer)
    assert found.status == 400
    assert "twice" in found.message
    assert untouched(bench) == before


@pytest.mark.parametrize(
    ("operation", "provider", "needle"),
    [
        ("responses", "anthropic", "/v1/messages"),
        ("responses", "gemini", "generateContent"),
        ("messages", "openai", "/v1/chat/completions"),
        ("messages", "gemini", "generateContent"),
        ("generate", "openai", "/v1/chat/completions"),
        ("generate", "anthropic", "/v1/messages"),
        ("generate", "openrouter", "/v1/chat/completions"),
        ("embeddings", "anthropic", "/v1/messages"),
        ("embed", "openai", "/v1/embeddings"),
    ],
)
def test_surface_that_the_provider_lacks_is_a_400_with_the_right_one(
    bench: Bench, operation: str, provider: str, needle: str
) -> None:
    """A binding asked in words that its provider does not speak is a 400 whose message names the path that works."""
    found = refused(operation, bench.ask(operation, provider))
    assert found.status == 400
    assert needle in found.message


@pytest.mark.parametrize("provider", PROVIDERS)
def test_binding_without_its_secret_is_a_503_that_says_why(bench: Bench, provider: str) -> None:
    """A binding whose key is missing is a 503 that names the secret, on every surface; asking again is no use."""
    for operation in {operation for operation, of in PAIRS if of == provider}:
        answer = bench.ask(operation, f"{provider}-keyless")
        found = refused(operation, answer)
        assert found.status == 503
        assert "missing" in found.message
        assert answer.headers["x-should-retry"] == "false"


def test_other_paths_and_methods_are_told(bench: Bench) -> None:
    """Unknown paths are 404, wrong methods 405, both in the words of the likely SDK and before any body is read."""
    for path in ("/v1/completions", "/v1/files", "/v1beta/models/openai:predict", "/metrics", "/"):
        assert bench.client.post(path, json={}, headers=headers_of("chat")).status_code == 404, path
    assert bench.client.get("/v1/chat/completions", headers=headers_of("chat")).status_code == 405
    assert bench.client.post("/v1/models", json={}, headers=headers_of("chat")).status_code == 405
    assert bench.client.delete("/v1/models/openai", headers=headers_of("chat")).status_code == 405
    assert refused("messages", bench.client.get("/v1/messages", headers=headers_of("messages"))).status == 405


def test_probes_need_no_key(bench: Bench) -> None:
    """/healthz and /readyz answer on the agents' port, to anybody who calls it by a name of its own."""
    assert bench.client.get("/healthz").status_code == 200
    ready = bench.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})
