"""What a body may cost before it is sent: its output limit, its bound, and whatever its bytes do not bound."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Needs
from reconciler.gateway.growth import rendered
from reconciler.gateway.judging import kinds
from reconciler.gateway.judging.fields import BODY, DEFINITION, PROMPT, SETTINGS
from reconciler.gateway.refusal import Refusal
from reconciler.providers import PROVIDERS
from tests.support_judging import NEEDS

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "recorded-traffic"
HOME = {
    "chat": ("openai", "gpt-4o"),
    "responses": ("openai", "gpt-4o"),
    "messages": ("anthropic", "claude-sonnet-4-6"),
    "generate": ("gemini", "gemini-2.0-flash"),
    "embeddings": ("openai", "text-embedding-3-small"),
    "embed": ("gemini", "gemini-embedding-2"),
}
PNG = "data:image/png;base64," + "A" * 400
GIF = "R0lGODlhAQABAAAAACw="
PDF = "data:application/pdf;base64," + "A" * 400


def needs(operation: str, body: object, provider: str = "", model: str = "") -> Needs:
    """Judge a body, by default one for the API's own provider; bytes are taken as they are."""
    home, home_model = HOME[operation]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return NEEDS[operation](Body(raw), PROVIDERS[provider or home], model or home_model)


def content(operation: str, *parts: object) -> dict[str, Any]:
    """Give a body whose user says these parts."""
    if operation == "generate":
        return {"contents": [{"role": "user", "parts": list(parts)}]}
    if operation == "embed":
        return {"content": {"parts": list(parts)}}
    if operation == "embeddings":
        return {"input": [{"content": list(parts)}]}
    return {"input" if operation == "responses" else "messages": [{"role": "user", "content": list(parts)}]}


def tools(operation: str, *found: object) -> dict[str, Any]:
    """Give a body with tools."""
    return {**content(operation), "tools": list(found)}


FUNCTION = {"type": "function", "name": "f", "parameters": {"properties": {"tools": {"type": "web_search"}}}}
COMPUTERS = ("computer_20241022", "computer_20250124", "computer_20251124", "text_editor_20250728")
CLEAR_THINKING = {"type": "clear_thinking_20251015", "keep": "all"}
CLEAR_TOOL_USES = {"type": "clear_tool_uses_20250919", "trigger": {"type": "input_tokens", "value": 1000}}
SAFE = [
    ("chat", {"messages": [{"role": "user", "content": "see https://example.com/a.png, file_id and cachedContent"}]}),
    ("chat", content("chat", {"type": "text", "text": '{"url": "https://example.com"}'})),
    ("chat", content("chat", {"type": "image_url", "image_url": {"url": PNG}})),
    ("chat", tools("chat", {"type": "function", "function": {"name": "f", "parameters": {"url": {"type": "string"}}}})),
    ("chat", tools("chat", {"type": "custom", "custom": {"name": "f"}})),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": '{"url":"https://x"}'}}]}]}),
    ("chat", {"messages": [{"role": "assistant", "content": "x", "annotations": [{"url_citation": {"url": "u"}}]}]}),
    ("chat", {"messages": [{"role": "assistant", "audio": None, "content": "x"}]}),
    ("chat", {"modalities": ["text", "audio"], "audio": {"voice": "alloy"}, "messages": []}),
    ("chat", {"plugins": [], "mcp_servers": None, "messages": []}),
    ("responses", {"input": "text"}),
    ("responses", content("responses", {"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": PNG})),
    ("responses", {"input": [{"type": "function_call", "arguments": "{}"}, {"type": "function_call_output"}]}),
    ("responses", {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA", "summary": []}]}),
    ("responses", {"input": "x", "background": False, "reasoning": {"effort": "low", "mode": "standard"}}),
    ("responses", {"input": "x", "text": {"format": {"type": "json_schema", "schema": {"url": {"type": "string"}}}}}),
    (
        "messages",
        content("messages", {"type": "image", "source": {"type": "base64", "data": "AA", "media_type": "image/png"}}),
    ),
    (
        "messages",
        content("messages", {"type": "document", "source": {"type": "text", "data": "hi", "media_type": "text/plain"}}),
    ),
    ("messages", content("messages", {"type": "tool_use", "id": "t", "name": "n", "input": {"url": "https://x"}})),
    ("messages", content("messages", {"type": "tool_result", "tool_use_id": "t", "content": "https://x"})),
    ("messages", content("messages", {"type": "thinking", "thinking": "hm", "signature": "x"})),
    ("messages", content("messages", {"type": "redacted_thinking", "data": "EmwKAhgB"})),
    ("messages", content("messages", {"type": "text", "text": "x", "citations": [{"url": "https://x"}]})),
    ("messages", tools("messages", {"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"})),
    (
        "messages",
        tools("messages", {"type": "bash_20250124", "name": "bash"}, {"type": "memory_20250818", "name": "m"}),
    ),
    *(("messages", tools("messages", {"type": kind, "name": "x", "display_width_px": 1})) for kind in COMPUTERS),
    ("messages", content("messages", {"type": "compaction", "content": "what was said", "cache_control": None})),
    ("messages", {"context_management": {"edits": [CLEAR_THINKING, CLEAR_TOOL_USES]}, "messages": []}),
    ("messages", {"context_management": {"edits": []}, "messages": []}),
    ("responses", {"input": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}]}),
    ("responses", tools("responses", {"type": "namespace", "name": "crm", "description": "d", "tools": [FUNCTION]})),
    ("responses", tools("responses", {"type": "local_shell"}, {"type": "apply_patch"})),
    ("responses", tools("responses", {"type": "shell", "environment": {"type": "local", "skills": [{"path": "x"}]}})),
    ("responses", tools("responses", {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}})),
    ("responses", {"input": [{"type": "additional_tools", "role": "developer", "tools": [FUNCTION]}]}),
    ("responses", {"input": [{"type": "tool_search_output", "execution": "client", "tools": [FUNCTION]}]}),
    ("responses", {"input": [{"type": "tool_search_call", "execution": "client", "arguments": {"query": "x"}}]}),
    ("responses", {"input": "x", "tool_choice": {"type": "allowed_tools", "tools": [{"type": "web_search"}]}}),
    ("responses", {"input": "x", "client_metadata": {"session": "x"}, "include": ["reasoning.encrypted_content"]}),
    ("chat", {"messages": [{"role": "user", "content": "x", "not_known_yet": 5}], "not_known_yet": 0.5}),
    ("generate", content("generate", {"text": "https://www.youtube.com/watch?v=x"})),
    ("generate", content("generate", {"inlineData": {"mimeType": "image/png", "data": GIF}})),
    ("generate", content("generate", {"inline_data": {"mime_type": "image/jpeg", "data": GIF}})),
    ("generate", content("generate", {"functionCall": {"name": "f", "args": {"url": "https://x"}}})),
    (
        "generate",
        content("generate", {"functionResponse": {"name": "f", "response": {"url": "https://x", "data": "d"}}}),
    ),
    ("generate", tools("generate", {"functionDeclarations": []}, {"function_declarations": []})),
    ("embeddings", {"input": ["https://example.com", [1, 2, 3]]}),
    ("embed", content("embed", {"text": "x"})),
]


@pytest.mark.parametrize(("operation", "body"), SAFE, ids=lambda value: str(value)[:60])
def test_input_that_is_all_there_is_bounded_by_its_bytes(operation: str, body: dict[str, Any]) -> None:
    """Text that looks like an address, inline images, a client's own tools and their results have a bound."""
    found = needs(operation, body)
    assert (found.unbounded, found.uncertain) == ("", "")


REMOTE = "https://example.com/x"
UNBOUNDED = [
    ("chat", {"web_search_options": {}}),
    ("chat", {"plugins": [{"id": "web"}]}),
    ("chat", {"preset": "mine"}),
    ("chat", {"cached_content": "cachedContents/1"}),
    ("chat", {"mcp_servers": [{"url": "https://x"}]}),
    ("chat", {"extra_body": {"google": {"cached_content": "cachedContents/1"}}}),
    ("chat", {"extra_body": {"anything": "x"}}),
    ("chat", {"extra_body": {"anything": {}}}),
    ("chat", tools("chat", {"type": "web_search"})),
    ("chat", tools("chat", {"type": "openrouter:web_search"})),
    ("chat", tools("chat", {"type": "google_search"})),
    ("chat", tools("chat", {"name": "no type"})),
    ("chat", tools("chat", "no object")),
    ("chat", content("chat", {"type": "image_url", "image_url": {"url": REMOTE}})),
    ("chat", content("chat", {"type": "image_url", "image_url": REMOTE})),
    ("chat", content("chat", {"type": "video_url", "video_url": {"url": REMOTE}})),
    ("chat", content("chat", {"type": "file", "file": {"file_id": "file-1"}})),
    ("chat", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
    ("chat", {"messages": [{"role": "user", "type": "function_call", "content": [{"image_url": {"url": REMOTE}}]}]}),
    ("responses", {"previous_response_id": "resp_1"}),
    ("responses", {"conversation": "conv_1"}),
    ("responses", {"prompt": {"id": "pmpt_1"}}),
    ("responses", {"background": True}),
    ("responses", {"reasoning": {"mode": "pro"}}),
    ("responses", {"context_management": [{"type": "compaction"}]}),
    ("responses", tools("responses", {"type": "web_search"})),
    ("responses", tools("responses", {"type": "file_search", "vector_store_ids": ["vs_1"]})),
    ("responses", tools("responses", {"type": "code_interpreter", "container": {"type": "auto"}})),
    ("responses", tools("responses", {"type": "mcp", "server_url": "https://x"})),
    ("responses", tools("responses", {"type": "image_generation"})),
    ("responses", content("responses", {"type": "input_file", "file_url": REMOTE})),
    ("responses", content("responses", {"type": "input_file", "file_id": "file-1"})),
    ("responses", content("responses", {"type": "input_image", "image_url": REMOTE})),
    ("responses", content("responses", {"type": "input_image", "file_id": "file-1"})),
    ("responses", {"input": [{"type": "mcp_approval_response", "approve": True, "approval_request_id": "x"}]}),
    ("messages", {"mcp_servers": [{"type": "url", "url": "https://x"}]}),
    ("messages", {"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}),
    ("messages", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
    ("messages", {"context_management": {"edits": [CLEAR_THINKING, {"type": "compact_20260112"}]}}),
    ("messages", {"context_management": {"edits": [{"type": "not_known_yet"}]}}),
    ("messages", {"context_management": {"edits": {"type": "compact_20260112"}}}),
    ("messages", {"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
    ("messages", {"compaction": {"type": "summarize"}}),
    ("messages", {"billing_policy": {"type": "billing_policy", "bill_to": "user_profile"}}),
    ("messages", {"not_known_yet": {"a": "b"}}),
    ("messages", {"not_known_yet": True}),
    (
        "messages",
        {
            "messages": [
                {
                    "role": "system",
                    "content": [
                        {
                            "type": "tool_addition",
                            "tool": {"type": "tool_definition", "definition": {"type": "web_search_20260318"}},
                        }
                    ],
                }
            ]
        },
    ),
    ("responses", {"input": [{"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}]}),
    ("responses", {"input": [{"type": "tool_search_output", "tools": [{"type": "code_interpreter"}]}]}),
    ("responses", tools("responses", {"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]})),
    ("responses", tools("responses", {"type": "tool_search"})),
    ("responses", tools("responses", {"type": "tool_search", "execution": "server"})),
    ("responses", tools("responses", {"type": "shell"})),
    ("responses", tools("responses", {"type": "shell", "environment": {"type": "container_auto"}})),
    ("responses", tools("responses", {"type": "shell", "environment": "local"})),
    ("responses", tools("responses", {"type": "shell", "environment": [{"type": "local"}]})),
    ("responses", tools("responses", {"type": "programmatic_tool_calling"})),
    ("responses", tools("responses", FUNCTION | {"not_known_yet": {}})),
    ("responses", {"input": "x", "modalities": ["text", "image"]}),
    ("responses", {"input": [{"type": "configuration_update", "reasoning": {"mode": "pro"}}]}),
    ("responses", {"input": "x", "text": {"format": {"type": "not_known_yet"}}}),
    ("chat", {"messages": [], "response_format": {"type": "not_known_yet"}}),
    ("chat", {"messages": [], "best_of": 20}),
    ("chat", {"messages": [], "search_parameters": {"mode": "auto"}}),
    ("chat", {"messages": [], "thread": {"type": "create"}}),
    ("generate", {"contents": [], "thread": "x"}),
    ("generate", {"contents": [], "generationConfig": {"responseModalities": [2]}}),
    ("generate", {"contents": [], "generationConfig": {"notKnownYet": "x"}}),
    ("generate", {"contents": [], "generationConfig": {"routingConfig": {"autoMode": {}}}}),
    ("generate", {"contents": [], "tools": [{"functionDeclarations": [{"name": "f", "googleSearch": {}}]}]}),
    ("messages", {"fallbacks": [{"model": "x"}]}),
    *(
        ("messages", tools("messages", {"type": kind, "name": "x"}))
        for kind in (
            "web_search_20250305",
            "web_fetch_20250910",
            "code_execution_20250825",
            "advisor_20260301",
            "tool_search_tool_bm25_20251119",
            "mcp_toolset",
            "not_known_yet",
        )
    ),
    ("messages", content("messages", {"type": "image", "source": {"type": "url", "url": REMOTE}})),
    ("messages", content("messages", {"type": "document", "source": {"type": "file", "file_id": "file_1"}})),
    ("messages", content("messages", {"type": "container_upload", "file_id": "file_1"})),
    (
        "messages",
        content("messages", {"type": "tool_result", "content": [{"type": "image", "source": {"url": REMOTE}}]}),
    ),
    ("generate", {"cachedContent": "cachedContents/1"}),
    ("generate", {"cached_content": "cachedContents/1"}),
    *(
        ("generate", tools("generate", {kind: {}}))
        for kind in (
            "googleSearch",
            "google_search",
            "googleSearchRetrieval",
            "urlContext",
            "url_context",
            "codeExecution",
            "code_execution",
            "fileSearch",
            "googleMaps",
            "mcpServers",
            "notKnownYet",
        )
    ),
    ("generate", tools("generate", {"functionDeclarations": [], "googleSearch": {}})),
    ("generate", content("generate", {"fileData": {"fileUri": "https://www.youtube.com/watch?v=x"}})),
    ("generate", content("generate", {"file_data": {"file_uri": "https://x/y.pdf", "mime_type": "application/pdf"}})),
    ("generate", {"systemInstruction": {"parts": [{"fileData": {"fileUri": REMOTE}}]}}),
    ("generate", {"system_instruction": {"parts": [{"file_data": {"file_uri": REMOTE}}]}}),
    ("generate", content("generate", {"functionResponse": {"parts": [{"fileData": {"fileUri": REMOTE}}]}})),
    ("generate", content("generate", {"type": "tool_use", "fileData": {"fileUri": REMOTE}})),
    ("embeddings", content("embeddings", {"type": "image_url", "image_url": {"url": REMOTE}})),
    ("embed", content("embed", {"fileData": {"fileUri": REMOTE}})),
    ("embed", {"requests": [{"content": {"parts": [{"file_data": {"file_uri": REMOTE}}]}}]}),
]


@pytest.mark.parametrize(("operation", "body"), UNBOUNDED, ids=lambda value: str(value)[:60])
def test_input_that_the_provider_fetches_or_keeps_is_unbounded(operation: str, body: dict[str, Any]) -> None:
    """Server tools, addresses, ids of files, responses, caches and containers, in either spelling, have no bound."""
    assert needs(operation, body).unbounded


@pytest.mark.parametrize(("operation", "body"), UNBOUNDED, ids=lambda value: str(value)[:60])
def test_escaped_names_hide_nothing(operation: str, body: dict[str, Any]) -> None:
    """The same holds when every letter of every name and value is written as an escape."""

    def escaped(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{escaped(name)}: {escaped(item)}" for name, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(escaped, value)) + "]"
        return '"' + "".join(f"\\u{ord(c):04X}" for c in value) + '"' if isinstance(value, str) else json.dumps(value)

    raw = escaped(body).encode()
    assert json.loads(raw) == body
    assert needs(operation, raw).unbounded


@pytest.mark.parametrize(
    ("provider", "model", "unbounded"),
    [
        ("openai", "gpt-4o-search-preview", True),
        ("openai", "gpt-5-search-api", True),
        ("openai", "o3-deep-research", True),
        ("openai", "gpt-4o", False),
        ("openrouter", "openai/gpt-4o:online", True),
        ("openrouter", "@preset/mine", True),
        ("openrouter", "openai/gpt-4o@preset/mine", True),
        ("openrouter", "perplexity/sonar", True),
        ("openrouter", "relace/relace-search", True),
        ("openrouter", "alibaba/tongyi-deepresearch-30b-a3b", True),
        ("openrouter", "google/gemini-2.5-flash-image", True),
        ("openrouter", "google/gemini-nano-banana-2.1", True),
        ("openrouter", "openrouter/fusion", True),
        ("openrouter", "openrouter/fusion:nitro", True),
        ("openrouter", "x-ai/grok-4.20-multi-agent", True),
        ("openrouter", "x-ai/Grok-4.20-Multi-Agent-beta", True),
        ("openrouter", "openrouter/auto", False),
        ("openrouter", "nousresearch/hermes-4-70b", False),
        ("openrouter", "x-ai/grok-4", False),
    ],
)
def test_model_that_searches_by_itself_is_unbounded(provider: str, model: str, unbounded: bool) -> None:
    """A model's name alone may mean that the web, or what several models wrote, is read into the prompt."""
    for operation in ("chat", "responses") + (("messages",) if provider == "openrouter" else ()):
        assert bool(needs(operation, {}, provider, model).unbounded) == unbounded


UNCERTAIN = [
    ("chat", content("chat", {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}})),
    ("chat", content("chat", {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}})),
    ("chat", content("chat", {"type": "input_audio", "input_audio": {"data": "UklGR", "format": "wav"}})),
    ("responses", content("responses", {"type": "input_file", "filename": "a.pdf", "file_data": PDF})),
    ("responses", {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}),
    ("responses", {"input": [{"type": "web_search_call", "id": "ws_1"}]}),
    ("responses", {"input": [{"type": "image_generation_call", "id": "ig_1"}]}),
    ("responses", {"input": [{"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1"}]}),
    ("responses", {"input": [{"type": "not_known_yet"}]}),
    ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    ("responses", {"input": [{"type": "compaction", "id": "cmp_1"}]}),
    ("responses", tools("responses", {"type": "computer_use_preview", "display_width": 1, "environment": "browser"})),
    ("messages", content("messages", {"type": "compaction", "content": None})),
    ("messages", content("messages", {"type": "tool_result", "content": [{"type": "tool_reference"}]})),
    ("messages", tools("messages", {"type": "computer_toolset_20260801", "configs": {"wait": {"enabled": True}}})),
    ("generate", tools("generate", {"computerUse": {"environment": "ENVIRONMENT_BROWSER"}})),
    (
        "messages",
        content(
            "messages", {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "J"}}
        ),
    ),
    ("messages", content("messages", {"type": "document", "source": {"type": "base64", "data": "J"}})),
    ("generate", content("generate", {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}})),
    ("generate", content("generate", {"inline_data": {"mime_type": "application/pdf", "data": "AAAA"}})),
    ("generate", content("generate", {"inlineData": {"data": "AAAA"}})),
    ("embed", content("embed", {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}})),
]


@pytest.mark.parametrize(("operation", "body"), UNCERTAIN, ids=lambda value: str(value)[:60])
def test_input_of_which_bytes_say_little_has_to_be_counted(operation: str, body: dict[str, Any]) -> None:
    """Inline documents, sound, films, and items that the provider may have kept more of, are for it to count."""
    found = needs(operation, body)
    assert found.unbounded == ""
    assert found.uncertain


def test_image_counts_as_the_dearest_of_its_model_instead_of_its_bytes() -> None:
    """A large file is not charged by its bytes, a tiny one not by them either; several images add up."""
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}} for size in (4, 50_000)]
    body = json.dumps(content("chat", *parts)).encode()
    found = needs("chat", body, model="gpt-4o-mini")
    images = sum(len(part["image_url"]["url"]) for part in parts)
    assert len(body) + found.extra == len(body) - images + 2 * (2833 + 5667 * 8) + 64 + rendered(body) - 1
    assert needs("chat", body, model="gpt-4o").extra < found.extra
    assert needs("chat", body, model="not-known-yet").extra == found.extra


def test_text_cannot_pass_for_an_image() -> None:
    """What the provider reads as text counts by its bytes, although it says that it is an image."""
    text = "word " * 100_000
    claims = [
        ("generate", content("generate", {"functionResponse": {"response": {"url": f"data:image/png,{text}"}}})),
        ("generate", content("generate", {"functionCall": {"args": {"data": text, "mimeType": "image/png"}}})),
        ("messages", content("messages", {"type": "tool_use", "input": {"url": f"data:image/png,{text}"}})),
        (
            "messages",
            content(
                "messages", {"type": "document", "source": {"type": "text", "media_type": "image/png", "data": text}}
            ),
        ),
    ]
    for operation, body in claims:
        assert needs(operation, body).extra > 0


@pytest.mark.parametrize(
    ("operation", "body", "output", "choices"),
    [
        ("chat", {"max_tokens": 5}, 5, 1),
        ("chat", {"max_completion_tokens": 7, "n": 3}, 7, 3),
        ("chat", {"max_tokens": 5, "max_completion_tokens": 7}, 7, 1),
        ("chat", {"max_tokens": 9, "max_completion_tokens": 7}, 9, 1),
        ("chat", {}, None, 1),
        ("responses", {"max_output_tokens": 20}, 20, 1),
        ("responses", {"max_output_tokens": 20, "input": [{"type": "compaction_trigger"}]}, 16_384, 1),
        ("messages", {"max_tokens": 0}, 0, 1),
        ("generate", {"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}, 5, 2),
        ("generate", {"generation_config": {"max_output_tokens": 5, "candidate_count": 2}}, 5, 2),
        ("generate", {"generationConfig": {"max_output_tokens": 5}}, 5, 1),
        ("embeddings", {"input": "x"}, 0, 0),
        ("embed", {"content": {}}, 0, 0),
    ],
)
def test_output_limit_is_read_wherever_it_stands(
    operation: str, body: dict[str, Any], output: int | None, choices: int
) -> None:
    """Under any of its names, the highest if there are several, and with the number of choices."""
    found = needs(operation, body)
    assert (found.output, found.choices) == (output, choices)


def test_thinking_needs_room_for_its_budget() -> None:
    """An output limit cannot be lowered below what the request says the model may think, plus one."""
    assert needs("messages", {"thinking": {"type": "enabled", "budget_tokens": 4096}}).least == 4097
    assert needs("messages", {"thinking": {"type": "adaptive"}}).least == 1


def test_client_side_tools_of_anthropic_add_their_prompt() -> None:
    """Each of them brings a hidden prompt, on top of that for tools at all."""
    plain, with_bash = (
        tools("messages", *given) for given in ([{"name": "f"}], [{"name": "f"}, {"type": "bash_20250124"}])
    )
    more = rendered(json.dumps(with_bash).encode()) - rendered(json.dumps(plain).encode())
    assert needs("messages", with_bash).extra == needs("messages", plain).extra + 2048 + more


def test_prediction_may_be_charged_as_output() -> None:
    """A prediction that is not taken is charged, so that its bytes count once more."""
    prediction = {"type": "content", "content": "x" * 500}
    assert needs("chat", {"prediction": prediction}).extra >= needs("chat", {}).extra + 500
    grows = {"type": "content", "content": "\ufdfa" * 500}  # each is 33 bytes where text is normalized
    assert needs("chat", {"prediction": grows}).extra >= needs("chat", {}).extra + 500 * 33


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from([*kinds.ITEMS, *kinds.TOOLS, *kinds.FORMATS, "bash_20250124", "data:image/png;base64,AA"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "x", *PROMPT, *SETTINGS, *DEFINITION]) | st.just("type"),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        *("messages", "input", "contents", "content", "requests", "tools", "thinking", "reasoning", "functions"),
        *("generationConfig", "generation_config", "systemInstruction", "extra_body", "instructions", "system"),
        *("n", "max_tokens", "background", "prediction"),
        *BODY,
    ]
)


@settings(max_examples=80, deadline=None)
@given(operation=st.sampled_from(sorted(HOME)), body=st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_body_is_judged_or_refused(operation: str, body: dict[str, Any]) -> None:
    """Whatever stands where, a body is judged or refused; nothing else is ever raised."""
    reason, found = "invalid", Needs(0, 0)
    try:
        found = needs(operation, body)
    except Refusal as refusal:
        reason = refusal.reason
    assert reason == "invalid"
    assert found.least >= 0
    assert found.output is None or found.output >= 0


OPERATIONS = {
    "chat": "chat",
    "responses": "responses",
    "messages": "messages",
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "embeddings": "embeddings",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
}
NOT_SERVER_SIDE = {"gemini/048", "gemini/056", "openai/089", "openai/111", "openai/128"}
"""Recordings that carry the tag by mistake: plain text, a client's functions, and a search for tools that the client
runs, bounded by their bytes."""


@cache
def recorded() -> list[tuple[str, dict[str, Any], Needs, int]]:
    """Give the recorded requests whose input is known: name, record, what was judged, and the size of the body."""
    found = []
    for path in sorted(RECORDED.glob("*/*.json")):
        record = json.loads(path.read_text())
        body = (record["request"] or {}).get("body")
        if not body or record["api"] not in OPERATIONS or (record["expected"] or {}).get("input") is None:
            continue
        raw = (body if isinstance(body, str) else json.dumps(body)).encode()
        request = record["request"]["path"]
        model = request.partition("/models/")[2].partition(":")[0] or str(json.loads(raw).get("model"))
        name = f"{path.parent.name}/{path.stem}"
        found.append((name, record, needs(OPERATIONS[record["api"]], raw, record["provider"], model), len(raw)))
    return found


def test_bound_holds_for_every_recorded_request() -> None:
    """Of every recorded request that is judged bounded, the input that was counted is within the bound."""
    judged = recorded()
    assert len(judged) > 200, f"the recordings are missing: {RECORDED}"
    over = {
        name: (size + found.extra, record["expected"]["input"])
        for name, record, found, size in judged
        if not found.unbounded and not found.uncertain and size + found.extra < record["expected"]["input"]
    }
    assert over == {}


def test_recorded_input_of_the_servers_is_judged_unbounded() -> None:
    """Every recorded request with input that a server fetched, kept or made is judged unbounded."""
    missed = {
        name
        for name, record, found, _ in recorded()
        if "server-side-input" in record["tags"] and not found.unbounded and not found.uncertain
    }
    assert missed == NOT_SERVER_SIDE
