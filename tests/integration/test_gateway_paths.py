"""Paths and queries through the whole gateway: what the provider is asked is what the client asked, and no more."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types as genai_types

from tests.support_gateway import (
    MODEL_IDS,
    PAIRS,
    ROBOT,
    Bench,
    asked,
    assert_books_balance,
    headers_of,
    refused,
)

VERSIONS = ("v1", "v1beta", "v1alpha")
QUERIES = ("api-version=2024-10-21&a=2&a=1", "beta=true", "x=%C3%A9%20&y", "prettyPrint=false&$.xgafv=2")


def without_version(path: str) -> str:
    """Give a path as an SDK sends it whose base URL lacks the version."""
    return path.replace("/v1beta/", "/").replace("/v1/", "/")


@pytest.mark.parametrize(("operation", "provider"), PAIRS)
@pytest.mark.parametrize("stream", [False, True])
def test_path_without_its_version_is_served(bench: Bench, operation: str, provider: str, stream: bool) -> None:
    """A base URL without `/v1` works on every surface; upstream it is the provider's own path."""
    path, body = asked(operation, provider, stream=stream)
    assert bench.client.post(path, json=body, headers=headers_of(operation)).status_code == 200
    answer = bench.client.post(without_version(path), json=body, headers=headers_of(operation))
    assert answer.status_code == 200, answer.text
    whole, short = bench.seen(provider)[-2:]
    assert (short.path, short.query) == (whole.path, whole.query)
    assert_books_balance(bench)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(("operation", "provider"), PAIRS)
def test_query_goes_upstream_as_it_came(bench: Bench, operation: str, provider: str, query: str) -> None:
    """Every provider gets the client's parameters, in their order and spelling, without the key among them."""
    path, body = asked(operation, provider)
    answer = bench.client.post(f"{path}?{query}&key={ROBOT}&fields=id", json=body, headers=headers_of(operation))
    assert answer.status_code == 200, answer.text
    assert bench.seen(provider)[-1].query == query


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "countTokens", "embedContent"])
def test_version_goes_upstream_as_it_came(bench: Bench, version: str, method: str) -> None:
    """Gemini's versions differ in what they take: the provider is asked in the one that the client speaks."""
    _, body = asked("embed" if method == "embedContent" else "generate", "gemini")
    path = (
        f"/{version}/models/gemini:{method}?alt=sse"
        if method.startswith("stream")
        else f"/{version}/models/gemini:{method}"
    )
    answer = bench.client.post(path, json=body, headers=headers_of("generate"))
    assert answer.status_code == 200, answer.text
    assert bench.seen("gemini")[-1].path == f"/{version}/models/{MODEL_IDS['gemini']}:{method}"
    assert_books_balance(bench)


def test_stream_is_framed_as_asked_under_both_names(bench: Bench) -> None:
    """`$alt` is `alt`: events where it says so, an array where it does not."""
    _, body = asked("generate", "gemini")
    for query in ("alt=sse", "%24alt=sse", "x=1&alt=sse"):
        path = f"/v1beta/models/gemini:streamGenerateContent?{query}"
        answer = bench.client.post(path, json=body, headers=headers_of("generate"))
        assert bench.seen("gemini")[-1].query == query
        assert answer.status_code == 200
    answer = bench.client.post(
        "/v1beta/models/gemini:generateContent?alt=proto", json=body, headers=headers_of("generate")
    )
    assert refused("generate", answer).status == 400
    assert_books_balance(bench)


def test_masks_of_the_answer_never_hide_its_usage(bench: Bench) -> None:
    """However a mask of fields is written, the provider does not see it, and the answer is settled by its usage."""
    path, body = asked("generate", "gemini")
    for mask in (
        "fields=a",
        "%24fields=a",
        "$fields=a",
        "FIELDS=a",
        "a=1;fields=b",
        "x-goog-fieldmask=a",
        "$httpHeaders=x",
    ):
        answer = bench.client.post(f"{path}?{mask}", json=body, headers=headers_of("generate"))
        assert answer.status_code == 200, answer.text
        assert "usageMetadata" in answer.json()
        assert bench.seen("gemini")[-1].query in ("", "a=1")
        assert bench.last("gemini")["charged"] > 0
    assert_books_balance(bench)


INPUT_TOKENS = "/v1/responses/input_tokens"


@pytest.mark.parametrize("path", [INPUT_TOKENS, "/responses/input_tokens"])
def test_input_of_a_response_is_counted_for_free(bench: Bench, path: str) -> None:
    """Agents may ask how much an input is: it costs nothing, stands on the log, and needs no bound."""
    used = bench.site.state().ledger.accounts.get("openai")
    headers = headers_of("responses")
    body: dict[str, Any] = {"model": "openai", "input": "Hello there", "previous_response_id": "resp_1"}
    answer = bench.client.post(path, json=body, headers=headers)
    assert (answer.status_code, answer.json()["object"]) == (200, "response.input_tokens")
    assert "x-pai-tokens-remaining" not in answer.headers
    seen = bench.seen("openai")[-1]
    assert seen.path == INPUT_TOKENS
    assert json.loads(seen.body) == {**body, "model": MODEL_IDS["openai"]}
    assert bench.outcomes("openai")[-1] == "settled"
    assert bench.site.state().ledger.accounts["openai"].used == (used.used if used else 0)
    assert_books_balance(bench)


def test_count_of_an_input_is_free_on_a_spent_day(bench: Bench) -> None:
    """Counting needs no budget."""
    for path, body, headers in (
        (INPUT_TOKENS, {"model": "openai-spent", "input": "Hello"}, headers_of("responses")),
        ("/v1/messages/count_tokens", asked("messages", "anthropic-spent")[1], headers_of("messages")),
        ("/v1alpha/models/gemini-spent:countTokens", asked("generate", "gemini-spent")[1], headers_of("generate")),
    ):
        assert bench.client.post(path, json=body, headers=headers).status_code == 200


COMPACT = "/v1/responses/compact"


@pytest.mark.parametrize("path", [COMPACT, "/responses/compact"])
def test_compaction_is_reserved_and_settled_by_its_usage(bench: Bench, path: str) -> None:
    """Making an input shorter costs tokens: the most that may come of it is held, and what it cost is counted."""
    charged = bench.simulator.total().total
    answer = bench.client.post(path, json={"model": "openai", "input": "Hello there"}, headers=headers_of("responses"))
    assert (answer.status_code, answer.json()["object"]) == (200, "response.compaction")
    assert [item["type"] for item in answer.json()["output"]] == ["message", "compaction"]
    last = bench.last("openai")
    assert last["charged"] == answer.json()["usage"]["total_tokens"] == bench.simulator.total().total - charged > 0
    reserved = next(row["data"] for row in reversed(bench.tokens("openai")) if row["type"] == "tokens.reserved.v1")
    assert reserved["tokens"] > 128_000, "the model is not known: the most that any answers"
    assert json.loads(bench.seen("openai")[-1].body) == {"model": MODEL_IDS["openai"], "input": "Hello there"}
    assert "x-pai-tokens-remaining" in answer.headers
    assert_books_balance(bench)


def test_compaction_that_does_not_fit_is_refused(bench: Bench) -> None:
    """Its output cannot be limited: a day or a request that has no room for the most of it refuses it."""
    for name, status in (("openai-spent", 429), ("openai-small", 400)):
        body = {"model": name, "input": "Hello there"}
        answer = bench.client.post(COMPACT, json=body, headers=headers_of("responses"))
        assert refused("responses", answer).status == status
    body = {"model": "openai", "input": [], "previous_response_id": "resp_1"}
    assert bench.client.post(COMPACT, json=body, headers=headers_of("responses")).status_code == 400
    body["model"] = "openai-free"
    assert bench.client.post(COMPACT, json=body, headers=headers_of("responses")).status_code == 200
    assert_books_balance(bench)


@pytest.mark.parametrize("path", [INPUT_TOKENS, COMPACT])
@pytest.mark.parametrize("provider", ["openrouter", "anthropic", "gemini"])
def test_other_providers_have_no_such_path(bench: Bench, path: str, provider: str) -> None:
    """Who lacks it is told what to use instead."""
    body = {"model": provider, "input": "Hello there"}
    answer = bench.client.post(path, json=body, headers=headers_of("responses"))
    found = refused("responses", answer)
    assert found.status == 400
    assert "; use POST /v1" in found.message


@pytest.mark.parametrize("base", ["/v1", "", "/"])
def test_openai_sdk_works_with_and_without_the_version(bench: Bench, base: str) -> None:
    """All that the SDK offers of these paths works, whichever base URL it was given."""
    with openai.OpenAI(base_url=f"{bench.origin}{base}", api_key=ROBOT, max_retries=0) as client:
        said: Any = [{"role": "user", "content": "Hello there"}]
        assert client.chat.completions.create(model="openai", messages=said).choices[0].message.content
        assert client.responses.create(model="openai", input="Hello there").output_text
        assert client.embeddings.create(model="openai", input="Hello there").data
        counted = client.responses.input_tokens.count(model="openai", input="Hello there")
        compacted = client.responses.compact(model="openai", input="Hello there")
        assert compacted.output[-1].type == "compaction"
        assert compacted.usage.input_tokens == counted.input_tokens > 0
        assert {model.id for model in client.models.list()} >= {"openai", "anthropic"}
        assert client.models.retrieve("gemini").id == "gemini"
    assert_books_balance(bench)


@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_google_sdk_works_in_every_version(bench: Bench, version: str | None) -> None:
    """Whichever version the SDK is told to speak, the provider is asked in it."""
    options = genai_types.HttpOptions(base_url=bench.origin, api_version=version)
    with genai.Client(api_key=ROBOT, vertexai=False, http_options=options) as client:
        assert client.models.generate_content(model="gemini", contents="Hello there").text
        path = bench.seen("gemini")[-1].path
        assert path.startswith(f"/{version}/" if version else "/v1")
        assert "".join(
            chunk.text or "" for chunk in client.models.generate_content_stream(model="gemini", contents="x")
        )
        assert client.models.count_tokens(model="gemini", contents="Hello there").total_tokens
    assert_books_balance(bench)
