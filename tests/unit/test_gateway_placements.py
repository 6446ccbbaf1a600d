"""An image counts as one only where its provider reads one: anywhere else its letters count as text."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from itertools import product
from struct import pack
from typing import Any

import pytest

from reconciler.gateway.body import Body
from reconciler.gateway.judging import kinds, look, walk
from reconciler.providers import PROVIDERS
from tests.support_judging import NEEDS

LETTERS = 60_000
"""Of base64: far more than any image costs as one."""
IMAGE = b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + pack(">II", 100, 100) + bytes(LETTERS * 3 // 4 - 24)).decode()
URL = f"data:image/png;base64,{IMAGE}"
INLINE = {"mimeType": "image/png", "data": IMAGE}
SOURCE = {"type": "base64", "media_type": "image/png", "data": IMAGE}

FORMS: dict[str, dict[str, Any]] = {
    "image_url": {"type": "image_url", "image_url": {"url": URL}},
    "input_image": {"type": "input_image", "image_url": URL},
    "screenshot": {"type": "computer_screenshot", "image_url": URL},
    "image": {"type": "image", "source": SOURCE},
    "inlineData": {"inlineData": INLINE},
    "inline_data": {"inline_data": {"mime_type": "image/png", "data": IMAGE}},
}
"""Images as one or another API has them."""
DISGUISED: list[dict[str, Any]] = [
    *(
        {name: value for name, value in form.items() if name != "type"} | {"type": kind, "text": "x"}
        for form in FORMS.values()
        for kind in ("text", "input_text", "thinking", "refusal", "message", "tool_use", "search_result", "not_known")
    ),
    *(
        {"type": kind, **member}
        for kind in sorted(kinds.ITEMS)
        for member in ({"data": IMAGE}, {"source": SOURCE})
        if not (kind == "image" and "source" in member)
    ),
    {"type": "image_url", "image_url": URL},
    {"type": "image_url", "image_url": [{"url": URL}]},
    {"type": "image_url", "imageUrl": {"url": URL}},
    {"type": "image_url", "image_url": {"url": f"data:image/png,{IMAGE}"}},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'é' * LETTERS}"}},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'a word, ' * (LETTERS // 8)}"}},
    {"type": "input_image", "image_url": {"url": URL}},
    {"type": "image", "source": INLINE},
    {"type": "image", "source": {**SOURCE, "type": "text"}},
    {"type": "image", "source": [SOURCE]},
    {"type": "image", "data": IMAGE, "media_type": "image/png"},
    {"type": "message", "role": "image_url", "image_url": {"url": URL}},
    {"type": "message", "role": "image", "source": SOURCE},
    {"type": "document", "source": SOURCE},
    {"type": "<user>", "content": [FORMS["image_url"]]},
    {"text": "x", "inlineData": INLINE},
    {"inlineData": {**INLINE, "text": "x"}},
    {"type": "text", "inlineData": INLINE},
    {"functionCall": {"name": "f", "args": {"inlineData": INLINE}}},
    {"functionResponse": {"name": "f", "response": {"inlineData": INLINE}}},
    {"functionResponse": {"name": "f", "inlineData": INLINE}},
    {"executableCode": {"code": IMAGE, "inlineData": INLINE}},
    {"fileData": INLINE},
    {"reasoning_details": [FORMS["image_url"]]},
    {"tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "data": IMAGE}}]},
    {"tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "image_url": {"url": URL}}}]},
    {"extra_content": INLINE},
]
"""What no API reads as an image, or has no such member."""


def _message(role: str, **more: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda block: {"messages": [{"role": role, "content": [block], **more}]}


def _item(kind: str, member: str) -> Callable[[Any], dict[str, Any]]:
    return lambda block: {"input": [{"type": kind, "call_id": "c", member: [block]}]}


def _result(block: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t", "content": [block]}


def _blocks(block: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "content", "content": [block]}}


def _contents(**more: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda part: {"contents": [{"parts": [part], **more}]}


def _shown(part: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": "f", "response": {}, "parts": [part]}}


MESSAGES = {f"of the {role}": _message(role) for role in ("user", "assistant", "system", "developer", "tool", "x")}
ANYWHERE: dict[str, Callable[[Any], dict[str, Any]]] = {
    **MESSAGES,
    "user, in a list": lambda block: {"messages": [{"role": "user", "content": [[block]]}]},
    "user, no list": lambda block: {"messages": {"role": "user", "content": [block]}},
    "user, alone": lambda block: {"messages": [{"role": "user", "content": block}]},
    "a message itself": lambda block: {"messages": [block]},
    "a role of several words": lambda block: {
        "messages": [{"role": "user>.content[] image_url", "image_url": block.get("image_url"), **block}]
    },
    "user, of a type": _message("user", type="function_call"),
    "user, of a text's type": _message("user", type="text"),
    "result": lambda block: _message("user")(_result(block)),
    "result of a model's": lambda block: _message("assistant")(_result(block)),
    "document": lambda block: _message("user")(_blocks(block)),
    "document in a result": lambda block: _message("user")(_result(_blocks(block))),
    "search result": lambda block: _message("user")({"type": "search_result", "content": [block]}),
    "images": lambda block: {"messages": [{"role": "assistant", "content": "x", "images": [block]}]},
    "system": lambda block: {"system": [block]},
    "instructions": lambda block: {"instructions": [block]},
    "prediction": lambda block: {"prediction": {"type": "content", "content": [block]}},
    "metadata": lambda block: {"metadata": block},
    "settings": lambda block: {"text": block},
    "unknown": lambda block: {"not_known": block},
    "tool": lambda block: {"tools": [block]},
    "in a tool": lambda block: {"tools": [{"type": "function", "function": {"name": "f", **block}}]},
    "in a schema": lambda block: {"tools": [{"name": "f", "input_schema": block, "parameters": block}]},
    "item": lambda block: {"input": [block]},
    **{
        f"item of the {role}": lambda block, role=role: {"input": [{"role": role, "content": [block]}]}
        for role in ("user", "assistant", "system")
    },
    "message item": lambda block: {"input": [{"type": "message", "role": "user", "content": [block]}]},
    "output": _item("function_call_output", "output"),
    "custom output": _item("custom_tool_call_output", "output"),
    "output of no kind": _item("function_call", "output"),
    "content of a call": _item("function_call_output", "content"),
    "screen": lambda block: {"input": [{"type": "computer_call_output", "call_id": "c", "output": block}]},
    "summary": _item("reasoning", "summary"),
    "contents": _contents(),
    "contents of the user": _contents(role="user"),
    "contents of the model": _contents(role="model"),
    "contents, no list": lambda part: {"contents": {"parts": [part]}},
    "shown by a function": lambda part: _contents()(_shown(part)),
    "shown twice": lambda part: _contents()(_shown(_shown(part))),
    "systemInstruction": lambda part: {"systemInstruction": {"parts": [part]}},
    "generationConfig": lambda part: {"contents": [], "generationConfig": part},
    "content": lambda part: {"content": {"parts": [part]}},
    "requests": lambda part: {"requests": [{"content": {"parts": [part]}}]},
}
"""Every place of every API, in the body of each of them."""

READ: set[tuple[str, str, str, str]] = {
    *(("chat", provider, "of the user", "image_url") for provider in ("openai", "anthropic", "gemini", "openrouter")),
    *(
        ("responses", provider, place, "input_image")
        for provider in ("openai", "openrouter")
        for place in ("item of the user", "message item")
    ),
    *(("responses", "openai", place, "input_image") for place in ("output", "custom output")),
    ("responses", "openai", "screen", "screenshot"),
    *(("messages", provider, "of the user", "image") for provider in ("anthropic", "openrouter")),
    *(("messages", "anthropic", place, "image") for place in ("result", "document", "document in a result")),
    *(
        ("generate", "gemini", place, form)
        for place in ("contents", "contents of the user", "contents of the model", "shown by a function")
        for form in ("inlineData", "inline_data")
    ),
    *(("embed", "gemini", place, form) for place in ("content", "requests") for form in ("inlineData", "inline_data")),
}
"""Operation, provider, place, form: where an image is read as one."""
OPERATIONS = [
    (operation, provider.name)
    for provider in PROVIDERS.values()
    for operation in ("chat", "responses", "messages", "generate", "embeddings", "embed")
    if operation in provider.paths
]


def bound(operation: str, provider: str, body: dict[str, Any]) -> float:
    """Give how many tokens of a body are reserved unless somebody counts it, infinitely many if it is refused."""
    raw = Body(json.dumps(body).encode())
    needs = NEEDS[operation](raw, PROVIDERS[provider], "m")
    return float("inf") if needs.unbounded else raw.size + needs.extra


@pytest.mark.parametrize(("operation", "provider"), OPERATIONS)
def test_image_counts_as_one_only_where_it_is_read(operation: str, provider: str) -> None:
    """In each place of each API, in the words of each API, it is an image where the provider says so, and else text."""
    for (place, into), (form, block) in product(ANYWHERE.items(), FORMS.items()):
        as_image = bound(operation, provider, into(block)) < LETTERS
        assert as_image == ((operation, provider, place, form) in READ), (place, form)


@pytest.mark.parametrize(("operation", "provider"), OPERATIONS)
def test_image_in_disguise_counts_as_text(operation: str, provider: str) -> None:
    """A block of another type, an address in the wrong form, or text that is called an image: its bytes count."""
    places = {place for at, whose, place, _ in READ if (at, whose) == (operation, provider)} or {"of the user"}
    for place, block in product(sorted(places), DISGUISED):
        assert bound(operation, provider, ANYWHERE[place](block)) >= LETTERS, (place, block.keys())


@pytest.mark.parametrize("member", ["role", "type", "name"])
@pytest.mark.parametrize("operation", ["chat", "messages", "responses", "generate"])
def test_place_is_no_longer_than_its_words(monkeypatch: pytest.MonkeyPatch, operation: str, member: str) -> None:
    """It is written anew for each field and each list: what a client says of itself, at any length, is not copied."""
    longest: list[int] = []
    judge = walk._Walk.field

    def field(self: walk._Walk, *given: Any) -> None:
        longest.append(max(map(len, self._trail)))
        judge(self, *given)

    monkeypatch.setattr(walk._Walk, "field", field)
    said = {member: "a" * 10_000, "content": [[{"unknown": 0}]], "parts": [[{"unknown": 0}]], "unknown": 0}
    name = {"responses": "input", "generate": "contents"}.get(operation, "messages")
    look(Body(json.dumps({name: [said]}).encode()), operation, PROVIDERS["openai"])
    assert len(longest) > 3
    assert max(longest) < 100
