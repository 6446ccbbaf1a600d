"""What is asked of a provider before the request: the free count of its input; and what is put into the request."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support import Site, agent
from tests.support_gateway import Bench, asked, assert_books_balance, bound, headers_of, opened
from tests.support_upstream import RawProvider, framed


def put(bench: Bench, **bindings: str) -> str:
    """Put bindings into force, and give a key of an agent that may use them."""
    files = {f"models/{name}.yaml": text for name, text in bindings.items()}
    bench.site.clone().pushed({**files, "agents/counter.yaml": agent("counter", *bindings)})
    bench.site.pai("reconcile")
    return key_for(bench.site)


def key_for(site: Site) -> str:
    """Give a new key of the agent."""
    return site.pai("add", "key", "counter").out.strip()


PROMPT = "a word or two " * 100


@pytest.mark.parametrize(
    ("operation", "provider", "count", "query"),
    [
        ("messages", "anthropic", "/v1/messages/count_tokens", "beta=true"),
        ("responses", "openai", "/v1/responses/input_tokens", ""),
        ("generate", "gemini", ":countTokens", ""),
    ],
)
def test_count_is_asked_as_the_request_is(own: Bench, operation: str, provider: str, count: str, query: str) -> None:
    """Betas, version and query of the request decide how its input is read: the count has them too."""
    key = put(own, small=bound("small", provider, day=700, model=f"m-{provider}"))
    path, body = asked(operation, "small", PROMPT, limit=40)
    sent = {
        "anthropic-beta": "interleaved-2026-01-01, context-1m-2025-08-07",
        "anthropic-version": "2026-10-21",
        "openai-beta": "responses=v2",
        "x-goog-api-client": "genai/3",
        "anthropic-workspace-id": "canary",
        "openai-organization": "canary",
        "x-goog-user-project": "canary",
    }
    answer = own.client.post(path, params=query, json=body, headers={**headers_of(operation, key), **sent})
    assert answer.status_code == 200, answer.text
    counted, real = own.simulator.requests()
    assert count in counted.path
    assert (counted.query, real.query) == (query, query)
    for seen in (counted, real):
        headers = dict(seen.headers)
        assert {name: headers[name] for name in sent if sent[name] != "canary"} == {
            name: value for name, value in sent.items() if value != "canary"
        }
        assert "canary" not in str([headers.get(name) for name in sent])
    assert_books_balance(own)


@pytest.mark.parametrize(
    ("operation", "provider", "model", "limit"),
    [
        ("generate", "gemini", "gemini-2.0-flash", 8_192),
        ("chat", "gemini", "gemini-2.0-flash-001", 8_192),
        ("chat", "openai", "gpt-4-0613", 4_096),
        ("responses", "openai", "gpt-4o-2024-08-06", 16_384),
        ("chat", "openrouter", "openai/gpt-3.5-turbo", 4_096),
        ("chat", "anthropic", "claude-opus-4-6", 16_384),
        ("chat", "openai", "not-known-yet", 16_384),
    ],
)
def test_limit_that_is_put_in_is_one_that_the_model_takes(
    own: Bench, operation: str, provider: str, model: str, limit: int
) -> None:
    """The default output limit is never above the model's own, which its provider would refuse."""
    key = put(own, capped=bound("capped", provider, model=model))
    assert own.ask(operation, "capped", key=key, limit=None).status_code == 200
    assert limit_of(own) == limit


def test_limit_that_is_lowered_is_one_that_the_model_takes(own: Bench) -> None:
    """A client's limit above the model's own goes as it is while it fits, and is lowered to no more than that."""
    key = put(
        own,
        roomy=bound("roomy", "openai", model="gpt-4-0613"),
        tight=bound("tight", "openai", day=60_000, model="gpt-4-0314"),
    )
    assert own.ask("chat", "roomy", key=key, limit=100_000).status_code == 200
    assert limit_of(own) == 100_000
    assert own.ask("chat", "tight", key=key, limit=100_000).status_code == 200
    assert limit_of(own) == 4_096


def limit_of(bench: Bench) -> Any:
    """Give the output limit of the last request that reached a provider."""
    body = json.loads(bench.simulator.requests()[-1].body)
    found = {**body, **body.get("generationConfig", {})}
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
    (limit,) = [found[name] for name in names if name in found]
    return limit


def test_count_above_the_bound_is_believed(gateway_template: Site, tmp_path: Path) -> None:
    """It shows that the bytes are no bound there: what it says is reserved, or refused."""
    provider = RawProvider()

    def answer(sock: socket.socket, request: bytes) -> None:
        counted = b"/count_tokens" in request
        body = {"input_tokens": 50_000} if counted else {"usage": {"input_tokens": 50_000, "output_tokens": 1}}
        sock.sendall(framed(json.dumps(body).encode()))

    provider.answer = answer
    with opened(gateway_template, tmp_path, **provider.environment) as bench:
        key = put(
            bench,
            tight=bound("tight", "anthropic", day=2000),
            roomy=bound("roomy", "anthropic", day=54_000),
        )
        for name, status in (("tight", 429), ("roomy", 200)):
            path, body = asked("messages", name, "x" * 1500, limit=60_000)
            assert bench.client.post(path, json=body, headers=headers_of("messages", key)).status_code == status
        assert bench.last("roomy")["charged"] == 50_001
        assert_books_balance(bench)
    assert sum(b"/count_tokens" in request for request in provider.requests) == 2
    assert sum(b"/count_tokens" not in request for request in provider.requests) == 1
    provider.close()


def test_count_of_nothing_is_none(gateway_template: Site, tmp_path: Path) -> None:
    """A provider whose counting is broken says 0: the bytes bound the input then, and nothing is sent."""
    provider = RawProvider()
    provider.says(framed(b'{"input_tokens":0,"totalTokens":0}'))
    with opened(gateway_template, tmp_path, **provider.environment) as bench:
        bindings = {name: bound(name, name, day=2000) for name in ("anthropic", "gemini")}
        key = put(bench, **bindings)
        for operation, name in (("messages", "anthropic"), ("generate", "gemini")):
            path, body = asked(operation, name, "x" * 4000, limit=1)
            assert bench.client.post(path, json=body, headers=headers_of(operation, key)).status_code == 429
    assert len(provider.requests) == 2
    assert all(b"count" in request[:200] for request in provider.requests)
    provider.close()


def test_what_is_not_in_the_count_counts_as_what_it_may_become(gateway_template: Site, tmp_path: Path) -> None:
    """A schema that a model reads, and that the count endpoint does not take, may become eleven times as long."""
    provider = RawProvider()

    def answer(sock: socket.socket, request: bytes) -> None:
        counted = b"/count_tokens" in request
        body = {"input_tokens": 100} if counted else {"usage": {"input_tokens": 34_000, "output_tokens": 1}}
        sock.sendall(framed(json.dumps(body).encode()))

    provider.answer = answer
    with opened(gateway_template, tmp_path, **provider.environment) as bench:
        key = put(bench, schema=bound("schema", "anthropic", day=20_000))
        path, body = asked("messages", "schema", limit=1)
        body["output_format"] = {"type": "json_schema", "schema": {"description": "\ufdfa" * 1000}}
        assert bench.client.post(path, json=body, headers=headers_of("messages", key)).status_code == 429
        body["output_format"]["schema"]["description"] = "a" * 3000
        body["messages"][0]["content"] = "a" * 20_000  # which the provider counts as less
        assert bench.client.post(path, json=body, headers=headers_of("messages", key)).status_code == 200
    provider.close()


def test_schema_is_reserved_as_what_its_references_become(gateway_template: Site, tmp_path: Path) -> None:
    """Gemini writes them out: a body of 2 KB was 400,000 tokens, and its count need not hold the answer's schema."""
    provider = RawProvider()

    def answer(sock: socket.socket, request: bytes) -> None:
        usage = {"promptTokenCount": 400_000, "candidatesTokenCount": 1, "totalTokenCount": 400_001}
        body = {"totalTokens": 10} if b":countTokens" in request else {"usageMetadata": usage}
        sock.sendall(framed(json.dumps(body).encode()))

    provider.answer = answer
    defs = {f"d{n}": {"properties": {name: {"$ref": f"#/$defs/d{n + 1}"} for name in "ab"}} for n in range(14)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**defs, "d14": {"description": "some words of a leaf"}}}
    with opened(gateway_template, tmp_path, **provider.environment) as bench:
        key = put(bench, schema=bound("schema", "gemini", day=50_000), roomy=bound("roomy", "gemini"))
        for name, status in (("schema", 429), ("roomy", 200)):
            path, body = asked("generate", name)
            body["generationConfig"] |= {"responseMimeType": "application/json", "responseJsonSchema": schema}
            assert bench.client.post(path, json=body, headers=headers_of("generate", key)).status_code == status
        assert bench.last("roomy")["reason"] == ""  # and not that it was more than was reserved
    provider.close()


@pytest.mark.parametrize("signs", [100, 6_000, 40_000])
def test_body_is_reserved_as_what_it_becomes_wherever_it_is_judged(own: Bench, signs: int) -> None:
    """By the loop, or by another process because it is dear or large: each sign is 33 bytes to who normalizes it."""
    key = put(own, wide=bound("wide", "openrouter", model="vendor/wide"))
    path, body = asked("chat", "wide", "\ufdfa" * signs)
    raw = json.dumps(body, ensure_ascii=False).encode()
    sent = {**headers_of("chat", key), "content-type": "application/json"}
    assert own.client.post(path, content=raw, headers=sent).status_code == 200
    own.quiet()
    reserved = next(row["data"] for row in own.tokens("wide") if row["type"] == "tokens.reserved.v1")
    assert reserved["input"] >= 33 * signs


def test_stream_is_asked_for_no_usage_but_the_last(own: Bench) -> None:
    """Some providers say one in every chunk if they are asked to: of a cut stream the first would be taken for all."""
    options = {"continuous_usage_stats": True, "include_obfuscation": False, "include_usage": False}
    path, body = asked("chat", "openai", stream=True)
    answer = own.client.post(path, json={**body, "stream_options": options}, headers=headers_of("chat"))
    assert answer.status_code == 200
    sent = json.loads(own.simulator.requests()[-1].body)
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}
