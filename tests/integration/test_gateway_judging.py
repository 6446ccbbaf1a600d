"""What a request asks for, as clients ask it: bounded input is served on a budget, all other is refused or counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.simulator import Fault
from tests.support_gateway import ROBOT, Bench, asked, assert_books_balance, headers_of, refused

FUNCTION = {"type": "function", "name": "shell", "description": "d", "parameters": {"type": "object"}, "strict": False}
SEARCHED = {"type": "tool_search_output", "execution": "client", "call_id": "c1", "status": "completed"}
CODEX: dict[str, Any] = {
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "additional_tools", "role": "developer", "tools": [FUNCTION, {"type": "local_shell"}]},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be brief"}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "user",
            "content": [{"type": "input_text", "text": "hi"}],
            "internal_chat_message_metadata_passthrough": {"turn_id": "t", "content_item_kinds": ["user.text"]},
        },
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAA"},
        {"type": "tool_search_call", "execution": "client", "call_id": "c1", "arguments": {"query": "mail"}},
        {**SEARCHED, "tools": [{"type": "namespace", "name": "mail", "description": "d", "tools": [FUNCTION]}]},
        {"type": "compaction", "encrypted_content": "gAAA"},
    ],
    "tools": [
        FUNCTION,
        {
            "type": "custom",
            "name": "apply",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"},
        },
        {"type": "namespace", "name": "mcp__mail", "description": "d", "tools": [FUNCTION]},
        {"type": "local_shell"},
        {"type": "apply_patch"},
        {"type": "tool_search", "execution": "client", "description": "d", "parameters": {"type": "object"}},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto", "context": "all_turns"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "7f2c",
    "text": {"verbosity": "low"},
    "client_metadata": {"session": "7f2c"},
}
CLAUDE_CODE: dict[str, Any] = {
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc"},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "tools": [{"name": "Bash", "description": "d", "input_schema": {"type": "object"}, "eager_input_streaming": True}],
    "metadata": {"user_id": "u"},
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
}


@pytest.mark.parametrize(
    ("operation", "provider", "more"),
    [
        ("responses", "openai", CODEX),
        ("responses", "openrouter", {name: value for name, value in CODEX.items() if name != "input"}),
        ("messages", "anthropic", CLAUDE_CODE),
        (
            "messages",
            "anthropic",
            {"tools": [{"type": "computer_20251124", "name": "computer", "display_width_px": 9}]},
        ),
        ("messages", "anthropic", {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
    ],
)
def test_what_the_client_runs_or_what_shrinks_the_input_is_served(
    bench: Bench, operation: str, provider: str, more: dict[str, Any]
) -> None:
    """The requests of coding agents, whose tools they run themselves, are served on a budget, and pass unchanged."""
    answer = bench.ask(operation, provider, **more)
    assert answer.status_code == 200, answer.text
    (*_, sent) = [json.loads(seen.body) for seen in bench.seen(provider)]
    assert {name: sent[name] for name in more} == more
    assert_books_balance(bench)


UNBOUNDED: list[tuple[str, str, dict[str, Any]]] = [
    ("messages", "anthropic", {"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
    ("messages", "anthropic", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
    ("messages", "anthropic", {"not_known_yet": {"id": "x"}}),
    ("responses", "openai", {"input": [{"type": "additional_tools", "tools": [{"type": "web_search"}]}]}),
    ("responses", "openai", {"input": [{**SEARCHED, "tools": [{"type": "mcp", "server_url": "https://x"}]}]}),
    ("responses", "openai", {"modalities": ["text", "image"]}),
    ("responses", "openai", {"previous_response_id": "resp_1"}),
    ("responses", "openrouter", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    ("chat", "openai", {"modalities": ["text", "image"]}),
    ("chat", "openai", {"not_known_yet": "x"}),
    ("generate", "gemini", {"notKnownYet": ["x"]}),
]


@pytest.mark.parametrize(("operation", "provider", "more"), UNBOUNDED, ids=lambda value: str(value)[:50])
def test_what_nothing_bounds_reaches_only_a_binding_without_a_budget(
    bench: Bench, operation: str, provider: str, more: dict[str, Any]
) -> None:
    """Held state, server tools and fields that nobody knows are refused on a budget, and pass unchanged without one."""
    found = refused(operation, bench.ask(operation, provider, **more))
    assert found.status == 400
    assert "has a budget" in found.message or "nobody counts" in found.message
    name = f"{provider}-free"
    assert bench.ask(operation, name, **more).status_code == 200
    sent = json.loads(bench.seen(name)[-1].body)
    assert {name: sent[name] for name in more} == more


def test_reference_is_counted_where_the_provider_counts(bench: Bench) -> None:
    """The second step of a loop names items of the first: the provider counts what they stand for, and then answers."""
    before = len(bench.seen("openai"))
    items = [{"role": "user", "content": "hi"}, {"type": "item_reference", "id": "fc_1"}]
    answer = bench.ask("responses", "openai", input=items)
    assert answer.status_code == 200, answer.text
    counted, real = bench.seen("openai")[before:]
    assert counted.path.endswith("/input_tokens")
    assert json.loads(counted.body)["input"] == json.loads(real.body)["input"] == items
    assert_books_balance(bench)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(status=500), 502),
        (Fault(status=429), 502),
        (Fault(refuse=True), 502),
        (Fault(garbage=True), 502),
        (Fault(status=404, message="Item fc_1 not found"), 400),
    ],
)
def test_count_that_fails_says_whether_to_try_again(bench: Bench, fault: Fault, status: int) -> None:
    """What cannot be counted now is the provider's failure; what it refuses to count is the request's."""
    bench.simulator.fault(fault)
    before = bench.outcomes("openai").count("settled")
    found = refused("responses", bench.ask("responses", "openai", input=[{"type": "item_reference", "id": "fc_1"}]))
    assert found.status == status
    assert "count" in found.message
    bench.simulator.clear()
    assert bench.outcomes("openai").count("settled") == before
    assert_books_balance(bench)


def test_compaction_on_the_way_reserves_what_a_model_answers_at_most(bench: Bench) -> None:
    """Codex asks for a compaction by an item: what it writes no field limits, so that the most is reserved."""
    items = [{"role": "user", "content": "hi"}, {"type": "compaction_trigger"}]
    assert bench.ask("responses", "openai", input=items).status_code == 200
    reserved = [row["data"] for row in bench.tokens("openai") if row["type"].startswith("tokens.reserved")][-1]
    assert reserved["output"] == 128_000
    assert_books_balance(bench)


def test_many_tokens_to_embed_pass_as_arrays(bench: Bench) -> None:
    """A batch of 299,000 tokens is served, and settles what it was reserved for: as many tokens as numbers."""
    path, body = asked("embeddings", "openai")
    arrays = [[number % 100_000] * 598 for number in range(500)]
    answer = bench.client.post(path, json={**body, "input": arrays}, headers=headers_of("embeddings", ROBOT))
    assert answer.status_code == 200, answer.text[:300]
    reserved = [row["data"] for row in bench.tokens("openai") if row["type"].startswith("tokens.reserved")][-1]
    assert 299_000 <= reserved["tokens"] < 299_200
    assert bench.last("openai")["charged"] <= reserved["tokens"]
    assert_books_balance(bench)
