"""What a body may cost beyond its bytes is seen in whatever words it is said, and nothing else is taken for it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from reconciler.gateway.body import VALUES_MAX, Body
from reconciler.gateway.calls import Needs, Route
from reconciler.gateway.growth import rendered
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.surfaces import SURFACES
from reconciler.providers import PROVIDERS
from tests.support_judging import NEEDS

URL = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
PDF = "JVBERi0xLjcK" * 1000


def judged(operation: str, provider: str, body: dict[str, Any], model: str = "m") -> Needs:
    """Give what a body needs."""
    return NEEDS[operation](Body(json.dumps(body).encode()), PROVIDERS[provider], model)


def said(*content: Any, **more: Any) -> dict[str, Any]:
    """Give a chat, or a message, of one user's parts."""
    return {"messages": [{"role": "user", "content": list(content), **more}]}


def parts(*given: Any, **config: Any) -> dict[str, Any]:
    """Give a Gemini body of one user's parts."""
    return {"contents": [{"role": "user", "parts": list(given)}], "generationConfig": config}


@pytest.mark.parametrize(
    ("operation", "provider", "body"),
    [
        ("embeddings", "openrouter", {"input": [{"content": [URL]}]}),
        ("chat", "openai", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
        ("chat", "openrouter", said(URL, type="function_call")),
        ("chat", "openrouter", said({"type": ["image_url"], "image_url": {"url": "HTTPS://x"}})),
        ("chat", "openrouter", said({"type": "image_url", "image_url": ["https://x"]})),
        ("chat", "openrouter", said(annotations=[{"type": "file", "file": {"content": [URL]}}])),
        ("chat", "openrouter", said("x") | {"modalities": ["image", "text"]}),
        ("chat", "gemini", said("x") | {"extra_body": {"google": {"cached_content": "cachedContents/1"}}}),
        ("chat", "gemini", said("x") | {"extra_body": {"tools": [{"google_search": {}}]}}),
        ("generate", "gemini", parts({"text": "x"}, responseModalities=["IMAGE"])),
        ("generate", "gemini", parts({"text": "x"}, response_modalities=["Text", "Image"])),
        (
            "generate",
            "gemini",
            parts({"functionResponse": {"response": {}, "parts": [{"fileData": {"fileUri": "gs://x"}}]}}),
        ),
    ],
)
def test_input_that_no_body_bounds_is_seen_however_it_is_said(
    operation: str, provider: str, body: dict[str, Any]
) -> None:
    """What is fetched, remembered or not limited is found under any name, spelling and disguise."""
    assert judged(operation, provider, body).unbounded


@pytest.mark.parametrize("model", ["gpt-4o-search-preview", "gpt-5-search-api", "o4-mini-deep-research"])
def test_model_that_searches_by_itself_is_unbounded(model: str) -> None:
    """A model that reads the web unasked has no bound of its input."""
    assert judged("chat", "openai", said("x"), model).unbounded


@pytest.mark.parametrize(
    ("operation", "provider", "body"),
    [
        ("chat", "openrouter", said({"type": "file", "file": {"file_data": PDF, "format": "image/png"}})),
        ("chat", "openai", said({"type": "file", "file": {"file_data": f"data:text/plain;base64,{PDF}"}})),
        ("chat", "openrouter", said({"type": "image_url", "image_url": {"url": f"data:image/svg+xml;base64,{PDF}"}})),
        (
            "generate",
            "gemini",
            parts({"inlineData": {"mimeType": "text/plain", "mime_type": "application/pdf", "data": PDF}}),
        ),
        (
            "generate",
            "gemini",
            parts({"inlineData": {"mimeType": "image/png", "mime_type": "application/pdf", "data": PDF}}),
        ),
        (
            "generate",
            "gemini",
            parts({"inlineData": {"type": "text", "mimeType": "application/pdf", "data": PDF}}),
        ),
        *(
            (
                "chat",
                "openrouter",
                said({"type": "input_audio", "input_audio": {"type": kind, "format": form, "data": PDF}}),
            )
            for kind in ("text", "redacted_thinking", "reasoning.encrypted")
            for form in ("wav", "mp3", "flac")
        ),
        ("responses", "openai", {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}),
        ("responses", "openai", {"input": [{"id": "msg_1"}]}),
        ("responses", "openai", {"input": [{"id": "msg_1", "type": None}]}),
        ("responses", "openai", {"input": [{"id": "msg_1", "type": "ITEM_REFERENCE"}]}),
        ("responses", "openai", {"input": [{"id": "msg_1", "content": "x"}]}),
        (
            "messages",
            "anthropic",
            said({"type": "document", "source": {"type": "text", "data": "a."}, "citations": {"enabled": True}}),
        ),
        ("responses", "openai", {"input": [{"id": "ig_1", "type": "image_generation_call"}]}),
        ("responses", "openai", {"input": [{"id": "x", "type": {"a": 1}}]}),
        (
            "chat",
            "openrouter",
            said({"type": "file", "file": {"file_data": "https://x/y.pdf", "format": "text/plain"}}),
        ),
    ],
)
def test_media_in_disguise_has_to_be_counted(operation: str, provider: str, body: dict[str, Any]) -> None:
    """What its bytes do not bound is never taken for text or an image by a type that the client names beside it."""
    needs = judged(operation, provider, body)
    assert needs.uncertain
    assert needs.extra >= 0


@pytest.mark.parametrize(
    ("operation", "provider", "body"),
    [
        (
            "generate",
            "gemini",
            parts({"functionResponse": {"name": "f", "response": {"url": "https://x", "data": "y"}}}),
        ),
        ("chat", "openrouter", said("x", reasoning_details=[{"type": "reasoning.encrypted", "data": "b64"}])),
        (
            "chat",
            "openrouter",
            said(
                "x", reasoning_details=[{"type": "reasoning.encrypted", "data": "b64", "format": "anthropic-claude-v1"}]
            ),
        ),
        (
            "messages",
            "anthropic",
            said({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}),
        ),
        ("messages", "openrouter", said({"type": "redacted_thinking", "data": "b64"})),
        ("messages", "anthropic", said({"type": "text", "text": "x", "citations": [{"url": "https://x"}]})),
        ("messages", "anthropic", said({"type": "tool_use", "name": "f", "input": {"url": "https://x"}})),
        ("chat", "openai", said("x", annotations=[{"type": "url_citation", "url_citation": {"url": "https://x"}}])),
        ("chat", "gemini", said("x") | {"extra_body": {"google": {"thinking_config": {"thinking_budget": 1}}}}),
        ("responses", "openrouter", {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}),
        ("responses", "openai", {"input": [{"type": "reasoning", "encrypted_content": "b64", "summary": []}]}),
        (
            "responses",
            "openai",
            {"input": [{"role": "user", "content": "x"}, {"type": "function_call_output", "output": "y"}]},
        ),
        ("generate", "gemini", parts({"text": "x"}, responseModalities=["TEXT"])),
    ],
)
def test_text_is_not_taken_for_anything_else(operation: str, provider: str, body: dict[str, Any]) -> None:
    """What functions and models said may hold addresses and data: it is text, and bounded by its bytes."""
    needs = judged(operation, provider, body)
    assert (needs.unbounded, needs.uncertain) == ("", "")


@pytest.mark.parametrize("unit", [b"[],", b'"",', b"1,", b"{},", b'{"a":1},', b'"\\\\",', b"[[[]]],"])
def test_body_of_too_many_values_is_refused_before_it_is_taken_apart(unit: bytes) -> None:
    """A body that is nothing but structure is refused: judging eleven million lists would keep all others waiting."""
    raw = b'{"messages":[' + unit * (2 * VALUES_MAX + 1) + b'{"url":"data:"}]}'
    with pytest.raises(Refusal, match="more than"):
        NEEDS["chat"](Body(raw), PROVIDERS["openai"], "m")


def test_values_are_counted_in_the_whole_body() -> None:
    """What no field holds too much of, all fields together may: they are judged one after the other."""
    half = b"[" + b"0," * (VALUES_MAX // 2) + b"0]"
    for fields in (b'"a":%s', b'"a":%s,"b":%s', b'"a":%s,"b":%s,"input":%s'):
        raw = b"{" + fields.replace(b"%s", half) + b"}"
        if fields.count(b"%s") == 1:
            Body(raw)
            continue
        with pytest.raises(Refusal, match="more than 250,000 values"):
            Body(raw)


def test_numbers_are_written_as_they_came() -> None:
    """What is taken apart and written anew gets no longer: `1e15` has four bytes, and not eighteen, as a number has."""
    numbers = b"[1e15,1.50,-0.0,8.5e300,12345678901234567890123]"
    body = Body(b'{"contents":[],"generationConfig":{"responseSchema":{"enum":%s}}}' % numbers)
    gemini = SURFACES["gemini"]
    call = gemini.parse(Route(gemini, "generate", "name", "generateContent"), body, (), b"")
    assert numbers in gemini.write(call, "gemini-2.5-pro", 100, PROVIDERS["gemini"])


@pytest.mark.parametrize("field", ["messages", "input", "contents", "system"])
def test_prompt_of_too_many_messages_is_refused_before_they_are_made(field: str) -> None:
    """A prompt of nothing but messages that say nothing is refused as well: ten million of them take a gigabyte."""
    raw = b'{"%s":[' % field.encode() + b"{}," * (4 * VALUES_MAX) + b"{}]}"
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="more than"):
            NEEDS["chat"](Body(raw), PROVIDERS["openai"], "m")
        assert tracemalloc.get_traced_memory()[1] < 8 * len(raw)
    finally:
        tracemalloc.stop()


def test_body_of_too_many_names_is_refused() -> None:
    """Names at the top are bounded as well, and a long text of any signs is none of them."""
    Body(json.dumps({str(number): 1 for number in range(256)}).encode())
    with pytest.raises(Refusal, match="more than 256 fields"):
        Body(json.dumps({str(number): 1 for number in range(257)}).encode())
    many = ",".join(f'"{number}":1' for number in range(VALUES_MAX + 1))
    with pytest.raises(Refusal, match="more than"):
        Body(f"{{{many}}}".encode())
    text = json.dumps({"messages": [{"role": "user", "content": '{"a": [1, 2, ""]}, ' * VALUES_MAX}]}).encode()
    assert NEEDS["chat"](Body(text), PROVIDERS["openai"], "m") == Needs(64 + rendered(text) - 1, None)
