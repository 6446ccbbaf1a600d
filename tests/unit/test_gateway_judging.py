"""What a thing can do is judged wherever it stands: wrapped at any depth, in any spelling, beside anything harmless."""

from __future__ import annotations

import contextlib
import json
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.gateway.body import VALUES_MAX, Body
from reconciler.gateway.calls import Needs
from reconciler.gateway.growth import rendered
from reconciler.gateway.judging import look
from reconciler.gateway.refusal import Refusal
from reconciler.providers import PROVIDERS
from tests.support_judging import NEEDS

HOME = {"chat": "openai", "responses": "openai", "messages": "anthropic", "generate": "gemini"}
Wrap = Callable[[Any], Any]


def judged(operation: str, body: dict[str, Any], provider: str = "") -> Needs:
    """Give what a body needs."""
    return NEEDS[operation](Body(json.dumps(body).encode()), PROVIDERS[provider or HOME[operation]], "m")


FUNCTION = {
    "chat": {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
    "responses": {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": None},
    "messages": {"name": "f", "description": "d", "input_schema": {"type": "object"}},
    "generate": {"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]},
}
CLIENT_TOOLS: dict[str, list[Any]] = {
    "chat": [FUNCTION["chat"], {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}],
    "responses": [
        FUNCTION["responses"],
        {"type": "custom", "name": "c"},
        {"type": "local_shell"},
        {"type": "apply_patch"},
        {"type": "tool_search", "execution": "client"},
        {"type": "shell", "environment": {"type": "local"}},
    ],
    "messages": [
        FUNCTION["messages"],
        {"type": "custom", "name": "c", "input_schema": {}},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "e", "max_characters": 10},
        {"type": "memory_20250818", "name": "memory"},
        {"type": "computer_20251124", "name": "computer", "display_width_px": 1, "display_height_px": 1},
    ],
    "generate": [FUNCTION["generate"], {"function_declarations": []}],
}
SERVER_TOOLS: dict[str, list[Any]] = {
    "chat": [{"type": kind} for kind in ("web_search", "openrouter:web_search", "not_known_yet")] + [{"name": "x"}],
    "responses": [
        *(
            {"type": kind}
            for kind in ("web_search", "web_search_2025_08_26", "mcp", "code_interpreter", "image_generation", "shell")
        ),
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "tool_search", "execution": "server"},
        {"type": "not_known_yet"},
        {"name": "no type"},
        {"type": ["function"]},
    ],
    "messages": [
        *(
            {"type": f"{kind}_20270101", "name": "x"}
            for kind in ("web_search", "web_fetch", "code_execution", "advisor", "tool_search_tool_bm25", "not_known")
        ),
        {"type": "mcp_toolset", "mcp_server_name": "x"},
        {"type": "bash", "name": "bash"},
    ],
    "generate": [
        *({kind: {}} for kind in ("googleSearch", "google_search", "urlContext", "codeExecution", "notKnownYet")),
        {"functionDeclarations": [], "googleSearch": {}},
        {"name": "x"},
    ],
}
TOOLS_IN: dict[str, list[Wrap]] = {
    "chat": [],
    "responses": [lambda tool: {"type": "namespace", "name": "n", "description": "d", "tools": [tool]}],
    "messages": [],
    "generate": [],
}
"""What one more tool may stand in."""
TOOLS_AT: dict[str, list[Wrap]] = {
    "chat": [lambda tool: {"messages": [], "tools": [tool]}],
    "responses": [
        lambda tool: {"input": "x", "tools": [tool]},
        lambda tool: {"input": [{"type": "additional_tools", "role": "developer", "tools": [tool]}]},
        lambda tool: {"input": [{"type": "tool_search_output", "execution": "client", "tools": [tool]}]},
    ],
    "messages": [
        lambda tool: {"messages": [], "tools": [tool]},
        lambda tool: {"messages": [{"role": "system", "content": [_added(tool)]}]},
        lambda tool: {
            "messages": [
                {"role": "user", "content": [{"type": "compaction", "content": "c", "tool_changes": [_added(tool)]}]}
            ]
        },
    ],
    "generate": [lambda tool: {"contents": [], "tools": [tool]}],
}


def _added(tool: Any) -> dict[str, Any]:
    return {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}


URL = "https://example.com/x"
REFERENCES: dict[str, list[Any]] = {
    "chat": [
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "video_url", "video_url": {"url": URL}},
    ],
    "responses": [
        {"type": "input_image", "image_url": URL},
        {"type": "input_file", "file_url": URL},
        {"type": "input_image", "file_id": "file-1"},
    ],
    "messages": [
        {"type": "image", "source": {"type": "url", "url": URL}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "container_upload", "file_id": "file_1"},
    ],
    "generate": [{"fileData": {"fileUri": URL}}, {"file_data": {"file_uri": "gs://x"}}],
}
TEXTS: dict[str, list[Any]] = {
    "chat": [{"type": "text", "text": URL}, {"type": "refusal", "refusal": "no"}],
    "responses": [
        {"type": "input_text", "text": URL},
        {"type": "output_text", "text": "x", "annotations": [{"type": "url_citation", "url": URL}], "logprobs": []},
    ],
    "messages": [
        {"type": "text", "text": URL, "cache_control": {"type": "ephemeral"}},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"url": URL, "tools": [{"type": "web_search"}]}},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
    ],
    "generate": [{"text": URL}, {"functionCall": {"name": "f", "args": {"fileUri": URL}}, "thoughtSignature": "s"}],
}
BLOCKS_IN: dict[str, list[Wrap]] = {
    "chat": [],
    "responses": [],
    "messages": [
        lambda block: {"type": "tool_result", "tool_use_id": "t", "content": [block]},
        lambda block: {"type": "document", "source": {"type": "content", "content": [block]}},
        lambda block: {"type": "search_result", "source": "s", "title": "t", "content": [block]},
    ],
    "generate": [lambda part: {"functionResponse": {"name": "f", "response": {"output": URL}, "parts": [part]}}],
}
BLOCKS_AT: dict[str, list[Wrap]] = {
    "chat": [
        lambda block: {"messages": [{"role": "user", "content": [block], "name": "n"}]},
        lambda block: {"messages": [{"role": "tool", "content": [{"type": "text", "text": "x"}, block]}]},
        lambda block: {"messages": [], "prediction": {"type": "content", "content": [block]}},
    ],
    "responses": [
        lambda block: {"input": [{"role": "user", "content": [block]}]},
        lambda block: {"input": [{"type": "message", "role": "user", "content": [block], "status": "completed"}]},
        lambda block: {"input": [{"type": "function_call_output", "call_id": "c", "output": [block]}]},
        lambda block: {"input": [{"type": "custom_tool_call_output", "call_id": "c", "output": [block]}]},
    ],
    "messages": [
        lambda block: {"messages": [{"role": "user", "content": [block]}]},
        lambda block: {"messages": [], "system": [block]},
    ],
    "generate": [
        lambda part: {"contents": [{"role": "user", "parts": [part]}]},
        lambda part: {"contents": {"parts": [part]}},
        lambda part: {"contents": [], "systemInstruction": {"parts": [part]}},
        lambda part: {"contents": [], "system_instruction": {"parts": [part]}},
    ],
}


@st.composite
def wrapped(
    draw: st.DrawFn, things: dict[str, list[Any]], inner: dict[str, list[Wrap]], at: dict[str, list[Wrap]]
) -> Any:
    """Give an API and a body in which one of the things stands somewhere, up to twelve wrappers deep."""
    operation = draw(st.sampled_from(sorted(HOME)))
    thing = draw(st.sampled_from(things[operation]))
    wraps = inner[operation]
    for wrap in draw(st.lists(st.sampled_from(wraps), max_size=12)) if wraps else ():
        thing = wrap(thing)
    return operation, draw(st.sampled_from(at[operation]))(thing)


def escaped(value: object) -> str:
    """Write JSON with every letter as an escape."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{escaped(name)}:{escaped(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(escaped, value)) + "]"
    return '"' + "".join(f"\\u{ord(c):04x}" for c in value) + '"' if isinstance(value, str) else json.dumps(value)


@settings(max_examples=100, deadline=None)
@given(wrapped(SERVER_TOOLS, TOOLS_IN, TOOLS_AT) | wrapped(REFERENCES, BLOCKS_IN, BLOCKS_AT))
def test_what_nothing_bounds_is_refused_at_any_depth(found: tuple[str, dict[str, Any]]) -> None:
    """A tool that the provider runs, and what it fetches or keeps, is seen wherever it stands, in any spelling."""
    operation, body = found
    assert judged(operation, body).unbounded, body
    raw = Body(escaped(body).encode())
    assert NEEDS[operation](raw, PROVIDERS[HOME[operation]], "m").unbounded, body


@settings(max_examples=100, deadline=None)
@given(wrapped(CLIENT_TOOLS, TOOLS_IN, TOOLS_AT) | wrapped(TEXTS, BLOCKS_IN, BLOCKS_AT))
def test_what_the_client_runs_and_says_is_accepted_at_any_depth(found: tuple[str, dict[str, Any]]) -> None:
    """Functions, tools that the client runs, and texts are bounded by their bytes wherever they stand."""
    operation, body = found
    needs = judged(operation, body)
    assert (needs.unbounded, needs.uncertain) == ("", ""), body


SWITCHES: list[Any] = [{"max_results": 5}, {"google": {}}, {"enabled": None}, [{}], [[]], [1, 2, [3]]]
"""What asks for something by being there, without a word in it."""


@pytest.mark.parametrize("name", ["not_known_yet", "Tools", "TOOLS", "tools ", "source", "data", "url"])
@pytest.mark.parametrize("value", ["x", True, {}, {"type": "web_search"}, [{"id": "x"}], [[["x"]]], *SWITCHES])
@pytest.mark.parametrize("operation", sorted(HOME))
def test_field_at_the_top_that_is_not_known_is_refused(operation: str, name: str, value: Any) -> None:
    """Whatever could name, define or switch something on is refused there, also what is known further below."""
    assert judged(operation, {name: value}).unbounded


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"tools": [1.5]}, "the tool 1.5"),
        ({"tools": [1e300]}, "the tool 1e+300"),
        ({"tools": [True]}, "the tool true"),
        ({"tools": ["x" * 100]}, f"the tool {'x' * 40}"),
        ({"tools": [{"type": 2.5}]}, "the tool 2.5 without a type"),
        ({"tools": [{"type": {"a": [1.5]}}]}, "the tool {...} without a type"),
        ({"text": {"format": {"type": 0.5}}}, "settings of the kind 0.5"),
        ({"reasoning": {"mode": 0.5}}, "the mode 0.5"),
        ({"context_management": {"edits": [{"type": [0.5]}]}}, "the edit [...]"),
    ],
)
def test_refusal_tells_what_was_sent_in_its_own_words(body: dict[str, Any], said: str) -> None:
    """A number with a fraction is kept as it was written: what is told of it, and of all else, is the JSON."""
    assert judged("responses", body).unbounded == said


@pytest.mark.parametrize("value", [None, False, 0, 1.5, "", []])
@pytest.mark.parametrize("operation", sorted(HOME))
def test_unknown_numbers_and_nothings_pass(operation: str, value: Any) -> None:
    """A number neither names something nor switches it on: a new knob of a model is no reason to refuse."""
    assert judged(operation, {"not_known_yet": value}) == judged(operation, {})


@pytest.mark.parametrize("value", ["x", True, {"a": "b"}, [{"id": "x"}]])
def test_unknown_field_of_a_block_is_counted(value: Any) -> None:
    """Below the top of a prompt, what is not known is read before the model answers: the provider counts it."""
    bodies = {
        "messages": {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "not_known_yet": value}]}]
        },
        "generate": {"contents": [{"parts": [{"text": "x", "notKnownYet": value}]}]},
        "responses": {"input": [{"role": "user", "content": "x", "not_known_yet": value}]},
        "chat": {"messages": [{"role": "user", "content": "x", "not_known_yet": value}]},
    }
    for operation, body in bodies.items():
        found = judged(operation, body)
        assert found.uncertain, operation
        assert found.unbounded == "", operation


@pytest.mark.parametrize("name", ["modalities", "responseModalities", "response_modalities"])
@pytest.mark.parametrize("operation", sorted(HOME))
def test_images_in_the_answer_are_judged_alike_in_all_apis(operation: str, name: str) -> None:
    """What is refused in one API is refused in all, wherever its own field stands."""
    config = {"generationConfig": {name: ["TEXT", "IMAGE"]}} if operation == "generate" else {}
    for body in ({name: ["text", "image"]}, {name: ["text", "video"]}, config or {name: "image"}):
        assert judged(operation, body).unbounded
    assert judged(operation, {name: ["text", "audio"]}).unbounded == ""


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("responses", {"tools": [{"type": "apply_patch"}]}),
        ("responses", {"input": [{"type": "additional_tools", "tools": [{"type": "local_shell"}]}]}),
        ("messages", {"tools": [{"type": "computer_20250124", "name": "computer"}]}),
        ("messages", TOOLS_AT["messages"][1]({"type": "bash_20250124", "name": "bash"})),
    ],
)
def test_tool_of_the_providers_that_the_client_runs_brings_its_prompt(operation: str, body: dict[str, Any]) -> None:
    """What such a tool adds to the prompt out of sight is in the bound, wherever it stands."""
    provider = PROVIDERS[HOME[operation]]
    assert judged(operation, body).extra == provider.hidden_tools + 2048 + rendered(json.dumps(*body.values()).encode())


def test_tokens_to_embed_are_counted_by_their_number() -> None:
    """Arrays of tokens are as many tokens as numbers, however many, and are not taken apart."""
    arrays = [[7] * 299, [123_456] * 298_701]
    body = json.dumps({"model": "m", "input": arrays}).encode()
    found = NEEDS["embeddings"](Body(body), PROVIDERS["openai"], "text-embedding-3-small")
    assert (found.unbounded, found.uncertain) == ("", "")
    sent = len(body) - len(json.dumps(arrays))
    assert len(body) + found.extra == sent + 299_000 + PROVIDERS["openai"].hidden
    one = Body(json.dumps({"input": [1, 2, 3]}, separators=(",", ":")).encode())
    assert one.size + NEEDS["embeddings"](one, PROVIDERS["openai"], "m").extra == len('{"input":}') + 3 + 64


@pytest.mark.parametrize("value", [5, "5", [1.5], [-1], ["1"], [[1], "x"], [{"a": 1}], [True], [None], {}, [1e3]])
def test_what_is_not_all_tokens_is_judged_as_ever(value: Any) -> None:
    """Numbers in a text, floats, and whatever else stands among tokens, are bounded by their bytes."""
    body = Body(json.dumps({"input": value}).encode())
    assert NEEDS["embeddings"](body, PROVIDERS["openai"], "m").extra == 64


def test_tokens_for_others_are_bounded_by_their_bytes() -> None:
    """A provider that is not OpenAI may read the text of tokens anew: their number is no bound there."""
    body = Body(json.dumps({"input": [[7] * (VALUES_MAX + 1)]}).encode())
    assert NEEDS["embeddings"](body, PROVIDERS["openrouter"], "m").extra == PROVIDERS["openrouter"].hidden


def test_body_is_looked_through_once_for_all_bindings() -> None:
    """A request may name sixteen: what its body holds is the same for all of one provider."""
    body = Body(json.dumps({"messages": "x", "tools": [{"type": "function"}]}).encode())
    first = look(body, "chat", PROVIDERS["openai"])
    assert look(body, "chat", PROVIDERS["openai"]) is first
    assert look(body, "chat", PROVIDERS["openrouter"]).tools


def test_judgement_can_be_made_elsewhere() -> None:
    """A judgement is a value that depends on the body's bytes alone."""
    found = judged("messages", {"messages": [], "tools": [{"type": "web_search_20250305"}]})
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301


@pytest.mark.parametrize("place", ["messages", "not_known_yet", "tools", "response_format"])
def test_deep_body_is_judged_or_refused(place: str) -> None:
    """However deep something stands, it is judged, or refused as nested too deeply; nothing else is raised."""
    for depth in (60, 70, 500, 100_000):
        raw = b'{"%s":%s{"type":"web_search"}%s}' % (place.encode(), b'[{"a":' * depth, b"}]" * depth)
        needs = Needs(0, 0, unbounded="refused as nested too deeply")
        with contextlib.suppress(Refusal):
            needs = NEEDS["chat"](Body(raw), PROVIDERS["openai"], "m")
        assert needs.unbounded or needs.uncertain


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("chat", {"generation_config": {"maxOutputTokens": 65536}}),
        ("chat", {"generation_config": {"candidateCount": 8}}),
        ("chat", {"extra_body": {"google": {"candidate_count": 8}}}),
        ("chat", {"extra_body": {"google": {"max_output_tokens": 65536}}}),
        ("chat", {"max_output_tokens": 65536}),
        ("chat", {"maxOutputTokens": 65536}),
        ("responses", {"max_tokens": 65536}),
        ("responses", {"max_completion_tokens": 65536}),
        ("responses", {"reasoning": {"max_output_tokens": 65536}}),
        ("messages", {"max_output_tokens": 65536}),
        ("messages", {"max_completion_tokens": 65536}),
        ("messages", {"output_config": {"candidateCount": 8}}),
        ("generate", {"max_tokens": 65536}),
        ("generate", {"n": 8}),
        ("chat", {"maxTokens": 65536}),
        ("chat", {"Max_Tokens": 65536}),
        ("chat", {"N": 8}),
        ("chat", {"max_new_tokens": 65536}),
        ("chat", {"num-return-sequences": 8}),
        ("chat", {"extra_body": {"n": 8, "maxNewTokens": 65536}}),
        ("responses", {"MAX_OUTPUT_TOKENS": 65536}),
        ("generate", {"generationConfig": {"max_new_tokens": 65536}}),
    ],
)
def test_limit_in_the_words_of_another_api_is_refused(operation: str, body: dict[str, Any]) -> None:
    """Only the limit in the API's own words is read and lowered; a provider that hears others' would answer more."""
    assert look(Body(json.dumps(body).encode()), operation, PROVIDERS["openrouter"]).unbounded
    empty = json.loads(
        json.dumps(body),
        object_pairs_hook=lambda pairs: {name: None if value in (8, 65536) else value for name, value in pairs},
    )
    assert not look(Body(json.dumps(empty).encode()), operation, PROVIDERS["openrouter"]).unbounded


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("chat", {"max_tokens": 5, "max_completion_tokens": 5, "n": 2, "reasoning": {"max_tokens": 5}}),
        ("responses", {"max_output_tokens": 5}),
        ("messages", {"max_tokens": 5}),
        ("generate", {"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}),
    ],
)
def test_limit_in_the_words_of_its_api_is_not(operation: str, body: dict[str, Any]) -> None:
    """Nor what limits a part of the answer."""
    assert not look(Body(json.dumps(body).encode()), operation, PROVIDERS["openrouter"]).unbounded


@pytest.mark.parametrize("name", ["video_url", "audio_url", "video"])
@pytest.mark.parametrize("url", ["data:image/gif;base64,R0lGODlh", "data:image/png;base64,iVBO", "data:text/plain,a"])
@pytest.mark.parametrize("within", [False, True])
def test_film_is_counted_whatever_it_says_it_is(name: str, url: str, within: bool) -> None:
    """An image that moves is priced by its frames, and what is said to be one need not be."""
    part = {"type": name, name: {"url": url} if within else url}
    body = Body(json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode())
    found = look(body, "chat", PROVIDERS["openrouter"])
    assert found.uncertain


@pytest.mark.parametrize("form", ["wav", "image/png", "text/plain"])
def test_sound_is_counted_whatever_its_format_is_called(form: str) -> None:
    """No API tells by `format` that something is an image: it would be priced as one, however long it is."""
    part = {"type": "input_audio", "input_audio": {"data": "UklGR" * 9, "format": form}}
    body = Body(json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode())
    found = look(body, "chat", PROVIDERS["openrouter"])
    assert found.uncertain
    assert not found.images


LIMITS = (
    *(
        "num_predict",
        "n_predict",
        "nPredict",
        "max_new_tokens",
        "MAX_NEW_TOKENS",
        "maxTokens ",
        "max.tokens",
        "max\u017ftokens",
    ),
    *(
        "Max_Tokens",
        "max_to\u212aens",
        "max_total_tokens",
        "max_response_tokens",
        "output_tokens",
        "tokens",
        "max_length",
    ),
    *("num_generations", "num_beams", "num_samples", "num_outputs", "num_return_sequences", "num_not_known_yet", "N"),
    *("candidateCount", "candidate_count", "best_of", "bestOf", "thinking_budget", "reasoning_max_tokens", "samples"),
    *("max_turns", "max_steps", "parallel", "max_attempts"),
)
"""What others call a limit of an answer, or the number of answers."""
AT: dict[str, list[Wrap]] = {
    "chat": [
        lambda field: field,
        lambda field: {"extra_body": field},
        lambda field: {"extra_body": {"google": field}},
        lambda field: {"generation_config": field},
        lambda field: {"reasoning": field},
        lambda field: {"thinking": field},
        lambda field: {"response_format": field},
    ],
    "responses": [lambda field: field, lambda field: {"reasoning": field}, lambda field: {"text": {"format": field}}],
    "messages": [lambda field: field, lambda field: {"thinking": field}, lambda field: {"output_config": field}],
    "generate": [lambda field: {"generationConfig": field}],  # Google refuses what it does not know
}
"""Where a provider, or one behind it, may look for that."""


@pytest.mark.parametrize("operation", sorted(HOME))
@pytest.mark.parametrize("name", LIMITS)
def test_limit_in_others_words_is_never_passed_silently(operation: str, name: str) -> None:
    """A number that somebody may take for more than was reserved is refused, or reserved, in any place and spelling."""
    for wrap in AT[operation]:
        provider = "" if operation == "generate" else "openrouter"
        needs = judged(operation, wrap({name: 99_999}), provider)
        reserved = (needs.output or 0) >= 99_999 or needs.least > 99_999 or needs.choices == 99_999
        assert needs.unbounded or reserved, wrap({name: 99_999})


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens", "budget_tokens", "n"])
@pytest.mark.parametrize("operation", sorted(HOME))
def test_limit_in_a_place_that_is_not_its_own_is_refused(operation: str, name: str) -> None:
    """Only the output limit that is reserved stands where the provider looks, and thinking where that is read."""
    for wrap in AT[operation]:
        if (body := wrap({name: 99_999})).keys() == {name}:
            continue
        needs = judged(operation, body, "" if operation == "generate" else "openrouter")
        assert needs.unbounded or needs.least > 99_999 or needs.output == 99_999, body


@pytest.mark.parametrize(
    "name",
    [
        *("min_p", "top_a", "typical_p", "mirostat_tau", "dry_multiplier", "xtc_probability", "repetition_penalty"),
        *("no_repeat_ngram_size", "top_n_sigma", "length_penalty", "min_tokens", "truncate_prompt_tokens", "n_probs"),
    ],
)
def test_knob_of_sampling_passes(name: str) -> None:
    """What only chooses among the tokens that are reserved is no limit."""
    assert judged("chat", {"messages": [], name: 5}, "openrouter") == judged("chat", {"messages": []}, "openrouter")


def test_output_limit_of_0_is_one_where_it_is_documented() -> None:
    """Anthropic reads the input into its cache then; elsewhere 0 may be no limit at all."""
    assert not judged("messages", {"messages": [], "max_tokens": 0}).unbounded
    assert judged("messages", {"messages": [], "max_tokens": 0}, "openrouter").unbounded


def test_what_is_wished_of_those_behind_a_router_is_known() -> None:
    """Options that are handed on unread may say anything, also another output limit."""
    for wish in ({"options": {"openai": {"max_tokens": 9}}}, {"not_known_yet": True}):
        assert judged("chat", {"messages": [], "provider": wish}, "openrouter").unbounded
    known = {"order": ["openai"], "sort": "price", "max_price": {"prompt": 1}, "allow_fallbacks": False}
    assert not judged("chat", {"messages": [], "provider": known}, "openrouter").unbounded


@pytest.mark.parametrize("operation", ["chat", "responses", "messages"])
@pytest.mark.parametrize("choices", [1, 5])
def test_prediction_is_reserved_for_each_answer(operation: str, choices: int) -> None:
    """What an answer does not take of a prediction is charged as output, as often as there are answers."""
    prediction = {"type": "content", "content": "x" * 1000}
    with_it = judged(operation, {"prediction": prediction, "n": choices}, "openrouter")
    without = judged(operation, {"n": choices}, "openrouter")
    assert with_it.unbounded or with_it.extra - without.extra >= 1000 * choices


@pytest.mark.parametrize("field", ["reasoning", "thinking"])
def test_thinking_that_is_raised_is_reserved_as_it_will_be(field: str) -> None:
    """OpenRouter lets models of Anthropic's think 1,024 tokens at least: a lower output limit would not hold that."""
    asked = {"messages": [], field: {"max_tokens" if field == "reasoning" else "budget_tokens": 5}}
    assert judged("chat", {**asked, "max_tokens": 10}, "openrouter").unbounded
    assert not judged("chat", {**asked, "max_tokens": 1025}, "openrouter").unbounded
    assert judged("chat", asked, "openrouter").least == 1025


EFFORTS: list[dict[str, Any]] = [
    {"reasoning_effort": "high"},
    {"reasoning": {"effort": "low"}},
    {"reasoning": {"enabled": True}},
]


@pytest.mark.parametrize("operation", ["chat", "responses", "messages"])
@pytest.mark.parametrize("effort", EFFORTS)
def test_effort_that_becomes_a_budget_is_below_the_output_limit(operation: str, effort: dict[str, Any]) -> None:
    """OpenRouter makes a budget of 1,024 tokens at least of it for models of Anthropic's, and of nobody else's."""

    def asked(limit: int, model: str, more: dict[str, Any]) -> Needs:
        name = "max_output_tokens" if operation == "responses" else "max_tokens"
        return NEEDS[operation](Body(json.dumps({name: limit, **more}).encode()), PROVIDERS["openrouter"], model)

    assert asked(1024, "anthropic/claude-sonnet-4", effort).unbounded
    assert not asked(1025, "anthropic/claude-sonnet-4", effort).unbounded
    assert not asked(20, "openai/gpt-5", effort).unbounded
    for none in ({"reasoning_effort": "none"}, {"reasoning": {"effort": None, "enabled": False}}, {"reasoning": {}}):
        assert not asked(20, "anthropic/claude-sonnet-4", none).unbounded


def test_name_without_end_is_not_looked_into() -> None:
    """It is refused where the budget holds, in few words, and no object is made of each of its signs."""
    body = {"model": "m", "messages": [], "\u0436" * 3_000_000: 1}
    tracemalloc.start()
    needs = judged("chat", body, "openrouter")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert needs.unbounded
    assert len(needs.unbounded) < 300
    assert peak < 80 << 20
