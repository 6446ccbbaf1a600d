"""The hard budget seen from outside: many at once, near the limit, counted, lowered, refused; never over."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.simulator import Fault
from tests.support import Site, agent, copied
from tests.support_gateway import (
    BIG,
    MODEL_IDS,
    PAIRS,
    ROBOT,
    Bench,
    assert_books_balance,
    bound,
    model_id,
    opened,
    refused,
)

AT_ONCE = 64
SMALL = {
    f"{operation}-{provider}-{day}": (operation, provider, day)
    for operation, provider in PAIRS
    for day in (300, 4000)
    if operation != "array"
}
"""Bindings with budgets that fit few requests: name to API, provider and tokens."""


@pytest.fixture(scope="module")
def tight_template(gateway_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give the shared workspace with small budgets besides, only to be copied."""
    site = copied(gateway_template, tmp_path_factory.mktemp("tight"))
    extra = {name: bound(name, provider, day=day) for name, (_, provider, day) in SMALL.items()}
    for number in range(6):
        extra[f"day-{number}"] = bound(f"day-{number}", "openai", day=2000)
    extra["count-a"] = bound("count-a", "anthropic", day=700)
    extra["count-g"] = bound("count-g", "gemini", day=700)
    extra["count-r"] = bound("count-r", "openai", day=700)
    extra["one-a"] = bound("one-a", "anthropic", request=400)
    extra["one-o"] = bound("one-o", "openai", request=400)
    extra["one-tiny"] = bound("one-tiny", "anthropic", request=60)
    files = {f"models/{name}.yaml": text for name, text in extra.items()}
    names = [*MODEL_IDS, *extra]
    names.remove("hidden")
    site.clone("tight").pushed(files | {"agents/robot.yaml": agent("robot", *names)})
    site.pai("reconcile")
    return site


@pytest.fixture(scope="module")
def tight(tight_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give a running gateway on that workspace."""
    with opened(tight_template, tmp_path_factory.mktemp("running")) as running:
        yield running


def used(bench: Bench, name: str) -> int:
    """Give what a binding has used today."""
    account = bench.site.state().ledger.accounts.get(name)
    return account.used if account else 0


@pytest.mark.parametrize("name", SMALL)
def test_many_at_once_never_pass_the_budget(tight: Bench, name: str) -> None:
    """64 requests at once on a budget that fits few: some are served, the others get their 429, and none is over."""
    operation, provider, day = SMALL[name]
    model = model_id(name, provider)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ask = lambda number: tight.ask(operation, name, limit=30, stream=number % 2 == 1)  # noqa: E731
        answers = list(pool.map(ask, range(AT_ONCE)))
    tight.quiet()
    statuses = Counter(answer.status_code for answer in answers)
    if day == 4000:
        assert statuses[200] >= 1
    assert set(statuses) <= {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert answer.headers["x-should-retry"] == "false"
            assert refused(operation, answer).status == 429
    charged = tight.simulator.total(model=model)
    assert charged.requests == statuses[200]
    assert charged.total <= used(tight, name) <= day
    assert_books_balance(tight)


def test_budget_of_300_and_replies_of_30_is_used_and_never_passed(tight: Bench) -> None:
    """Asked again and again until it refuses, a budget of 300 tokens serves several replies, and ends below 300."""
    name = "messages-anthropic-300"
    statuses = []
    for _ in range(20):
        answer = tight.ask("messages", name, "hi", limit=30)
        statuses.append(answer.status_code)
    assert set(statuses) <= {200, 429}
    assert statuses[-1] == 429
    assert tight.simulator.total(model=model_id(name, "anthropic")).total <= used(tight, name) <= 300
    assert used(tight, name) > 150
    assert_books_balance(tight)


def test_refusal_of_a_spent_day_tells_all_that_is_promised(tight: Bench) -> None:
    """The 429 names used, limit, what the request needed, the reset, and which bindings have room; nobody retries."""
    answer = tight.ask("chat", "day-0", limit=100)
    assert answer.status_code == 200
    spent = used(tight, "day-0")
    answer = tight.ask("chat", "day-0", "word " * 500, limit=100)
    found = refused("chat", answer)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    assert found.status == 429
    assert (answer.headers["x-should-retry"], answer.headers["x-pai-reset"]) == ("false", tomorrow)
    assert f"{spent:,} of 2,000 tokens" in found.message
    needed = int(re.findall(r"needs at least ([\d,]+)", found.message)[0].replace(",", ""))
    assert 2000 - spent < needed < 4000
    assert tomorrow in found.message
    assert "openai" in found.message.partition("with room")[2]
    assert "day-0" not in found.message.partition("with room")[2]
    assert "retry-after" not in answer.headers


def test_answer_tells_what_is_left(tight: Bench) -> None:
    """A whole answer's `x-pai-tokens-remaining` is what the next request may use; free counts do not carry it."""
    answer = tight.ask("chat", "day-1", limit=50)
    assert int(answer.headers["x-pai-tokens-remaining"]) == 2000 - used(tight, "day-1")
    again = tight.ask("chat", "day-1", limit=50)
    assert int(again.headers["x-pai-tokens-remaining"]) == 2000 - used(tight, "day-1")
    body = {"model": "anthropic", "messages": [{"role": "user", "content": "hello"}]}
    counted = tight.client.post("/v1/messages/count_tokens", json=body, headers=MESSAGES)
    assert counted.status_code == 200
    assert counted.json() == {"input_tokens": 5}
    assert "x-pai-tokens-remaining" not in counted.headers
    assert "x-pai-tokens-remaining" not in tight.ask("chat", "openai-free").headers


MESSAGES = {"x-api-key": ROBOT, "anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(
    ("operation", "provider", "field"),
    [
        ("chat", "openai", "max_completion_tokens"),
        ("chat", "anthropic", "max_tokens"),
        ("chat", "gemini", "max_tokens"),
        ("chat", "openrouter", "max_tokens"),
        ("responses", "openai", "max_output_tokens"),
        ("responses", "openrouter", "max_output_tokens"),
        ("generate", "gemini", "maxOutputTokens"),
    ],
)
def test_missing_output_limit_is_put_in_where_there_is_a_budget(
    tight: Bench, operation: str, provider: str, field: str
) -> None:
    """Without an output limit a request to a budgeted binding gets the default one, to a free one none."""
    assert tight.ask(operation, provider, limit=None).status_code == 200
    sent = json.loads(tight.seen(provider)[-1].body)
    assert (sent.get("generationConfig") or sent)[field] == 16384
    if f"{provider}-free" in MODEL_IDS:
        assert tight.ask(operation, f"{provider}-free", limit=None).status_code == 200
        assert field not in tight.seen(f"{provider}-free")[-1].body


@pytest.mark.parametrize("given", ["max_tokens", "max_completion_tokens"])
def test_output_limit_is_lowered_under_the_name_that_the_client_used(tight: Bench, given: str) -> None:
    """Near the end of a day the limit that the client named is lowered; no second name for it is added."""
    name = {"max_tokens": "day-2", "max_completion_tokens": "day-3"}[given]
    answer = tight.ask("chat", name, limit=None, **{given: 50_000})
    assert answer.status_code == 200, answer.text
    sent = json.loads(tight.seen(model_id(name, "openai"))[-1].body)
    assert 1000 < sent[given] < 2000
    assert len({"max_tokens", "max_completion_tokens"} & set(sent)) == 1
    reserved = tight.tokens(name)[-2]["data"]
    assert reserved["output"] == sent[given]
    assert reserved["tokens"] == reserved["input"] + reserved["output"] == 2000


def test_choices_share_what_is_left(tight: Bench) -> None:
    """With several choices each one's limit is lowered, so that all of them together fit."""
    assert tight.ask("chat", "day-4", limit=10_000, n=5).status_code == 200
    sent = json.loads(tight.seen(model_id("day-4", "openai"))[-1].body)
    reserved = tight.tokens("day-4")[-2]["data"]
    assert reserved["output"] == sent["max_tokens"] * 5
    assert reserved["tokens"] == reserved["input"] + reserved["output"] <= 2000
    assert_books_balance(tight)


@pytest.mark.parametrize(
    ("operation", "name", "path"),
    [
        ("messages", "count-a", "/v1/messages/count_tokens"),
        ("generate", "count-g", ":countTokens"),
        ("responses", "count-r", "/v1/responses/input_tokens"),
    ],
)
def test_provider_is_asked_to_count_when_bytes_do_not_fit(tight: Bench, operation: str, name: str, path: str) -> None:
    """A prompt whose bytes pass what is left, and whose tokens do not, is counted for free and served."""
    answer = tight.ask(operation, name, "a word or two " * 100, limit=40)
    assert answer.status_code == 200, answer.text
    provider = {"messages": "anthropic", "generate": "gemini", "responses": "openai"}[operation]
    seen = tight.seen(model_id(name, provider))
    assert path in seen[0].path
    assert len(seen) == 2
    events = [(row["data"]["request"].endswith("-count"), row["type"].split(".")[1]) for row in tight.tokens(name)]
    assert sorted(events) == [(False, "reserved"), (False, "settled"), (True, "reserved"), (True, "voided")]
    assert_books_balance(tight)


def test_count_that_fails_falls_back_to_the_bytes(tight: Bench) -> None:
    """A provider that does not count is no reason to guess low: what does not fit by its bytes is refused."""
    for fault in (Fault(status=500), Fault(garbage=True), Fault(refuse=True), Fault(wait_s=30)):
        tight.simulator.fault(fault)
        answer = tight.ask("messages", "count-a", "a word or two " * 100, limit=10)
        assert refused("messages", answer).status == 429
    tight.simulator.clear()
    assert_books_balance(tight)


@pytest.mark.parametrize("operation", ["messages", "generate", "responses"])
def test_spent_day_asks_nobody_to_count(tight: Bench, operation: str) -> None:
    """An agent that hammers a spent budget costs no request upstream, and two events a minute on the log."""
    name = {"messages": "anthropic-spent", "generate": "gemini-spent", "responses": "openai-spent"}[operation]
    seen, before = len(tight.simulator.requests()), len(tight.site.rows(f"model:{name}"))
    for _ in range(20):
        assert tight.ask(operation, name).status_code == 429
    assert len(tight.simulator.requests()) == seen
    assert len(tight.site.rows(f"model:{name}")) <= before + 2


@pytest.mark.parametrize("operation", ["messages", "responses", "generate"])
def test_spent_day_asks_nobody_to_count_a_document(tight: Bench, operation: str) -> None:
    """Nor for input that only a count could bound; and a tiny document is no way around the refusal."""
    name = {"messages": "anthropic-spent", "generate": "gemini-spent", "responses": "openai-spent"}[operation]
    seen = len(tight.simulator.requests())
    assert tight.ask(operation, name, **_document(operation, 9)).status_code == 429
    assert len(tight.simulator.requests()) == seen


def _document(operation: str, size: int) -> dict[str, Any]:
    """Give the field of a body that holds an inline PDF."""
    data = base64.b64encode(b"%PDF-1.7 " + b"x" * size).decode()
    if operation == "generate":
        part = {"inlineData": {"mimeType": "application/pdf", "data": data}}
        return {"contents": [{"role": "user", "parts": [part, {"text": "hi"}]}]}
    if operation == "responses":
        part = {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}
        return {"input": [{"role": "user", "content": [part]}]}
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    return {"messages": [{"role": "user", "content": [{"type": "document", "source": source}]}]}


@pytest.mark.parametrize(
    ("operation", "name"), [("messages", "anthropic"), ("responses", "openai"), ("generate", "gemini")]
)
def test_document_is_counted_by_its_provider(tight: Bench, operation: str, name: str) -> None:
    """Bytes say nothing of a PDF: the provider counts it before it goes, with or without room for its bytes."""
    seen = len(tight.seen(name))
    assert tight.ask(operation, name, **_document(operation, 3000)).status_code == 200
    assert len(tight.seen(name)) == seen + 2
    for status, told in ((500, 502), (400, 400)):  # it cannot now; it will not
        tight.simulator.fault(Fault(status=status))
        found = refused(operation, tight.ask(operation, name, **_document(operation, 3000)))
        assert found.status == told
        assert "count" in found.message
    assert tight.ask(operation, f"{name}-free", **_document(operation, 3000)).status_code == 200
    assert_books_balance(tight)


def test_request_over_its_own_limit_is_a_400(tight: Bench) -> None:
    """Input that alone passes maxTokensPerRequest is a 400 that names the limit and what was needed."""
    for operation, name in (("messages", "one-a"), ("chat", "one-o"), ("responses", "one-o")):
        answer = tight.ask(operation, name, "word " * 2000)
        found = refused(operation, answer)
        assert found.status == 400
        assert "400 tokens a request" in found.message
        assert int(re.findall(r"at least ([\d,]+)", found.message)[0].replace(",", "")) > 2000
        assert "x-should-retry" not in answer.headers
    assert_books_balance(tight)


@pytest.mark.parametrize(("operation", "name"), [("messages", "one-a"), ("chat", "one-o")])
def test_output_limit_is_lowered_to_what_one_request_has_left(tight: Bench, operation: str, name: str) -> None:
    """Input and output of one request together stay within maxTokensPerRequest."""
    assert tight.ask(operation, name, "a word or two " * 20, limit=5000).status_code == 200
    provider = "anthropic" if operation == "messages" else "openai"
    seen = tight.seen(model_id(name, provider))[-1]
    assert 100 < json.loads(seen.body)["max_tokens"] < 400
    settled = tight.last(name)
    assert settled["charged"] <= 400


def test_tiny_request_fits_a_tiny_limit(tight: Bench) -> None:
    """A request is judged by its tokens as counted, without the margin that only the day's bound needs."""
    answer = tight.ask("messages", "one-tiny", "hi", limit=20)
    assert answer.status_code == 200, answer.text
    sent = json.loads(tight.seen(model_id("one-tiny", "anthropic"))[-1].body)
    assert sent["max_tokens"] == 20


UNBOUNDED = [
    ("chat", {"web_search_options": {}}),
    ("chat", {"tools": [{"type": "web_search"}]}),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]}),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}),
    ("responses", {"previous_response_id": "resp_1"}),
    ("responses", {"background": True}),
    ("responses", {"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}),
    ("responses", {"conversation": "conv_1"}),
    ("responses", {"prompt": {"id": "pmpt_1"}}),
]


@pytest.mark.parametrize(("operation", "more"), UNBOUNDED)
def test_unbounded_input_needs_no_budget_or_a_permission(tight: Bench, operation: str, more: dict[str, Any]) -> None:
    """Input that the body does not bound is a 400 that names what allows it; so, or without a budget, it passes."""
    before = len(tight.tokens("openai"))
    found = refused(operation, tight.ask(operation, "openai", **more))
    assert found.status == 400
    assert "pai.io/unbounded-input: allow" in found.message
    assert len(tight.tokens("openai")) == before
    assert tight.ask(operation, "allowed", **more).status_code == 200
    assert tight.ask(operation, "openai-free", **more).status_code == 200


def test_charge_above_the_bound_is_counted_in_full(tight: Bench) -> None:
    """With the permission a provider may charge more than was reserved: all of it counts, and the log says so."""
    body = {"messages": [{"role": "user", "content": "hello"}], "web_search_options": {}}
    answer = tight.ask("chat", "allowed", **body)
    assert answer.status_code == 200
    assert int(answer.headers["x-pai-tokens-remaining"]) == BIG - used(tight, "allowed")


def test_stream_of_a_large_budget_reserves_and_frees(tight: Bench) -> None:
    """While a stream runs its bound is reserved; at its end only the true usage remains."""
    before = used(tight, "openrouter")
    with tight.client.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": "openrouter", "messages": [{"role": "user", "content": "hello"}], "stream": True},
        headers={"authorization": f"Bearer {ROBOT}"},
    ) as answer:
        assert isinstance(answer, httpx.Response)
        answer.read()
    tight.quiet()
    assert used(tight, "openrouter") - before == tight.last("openrouter")["charged"]
    assert Path(tight.site.root).is_dir()
