"""What a body may become before it is read: no usual form of a text, and no usual way to write JSON, is longer."""

from __future__ import annotations

import base64
import json
import random
import unicodedata
from typing import Any
from urllib.parse import quote

import pytest

from reconciler.gateway import growth
from reconciler.gateway.body import Body
from reconciler.gateway.growth import normalized, rendered
from reconciler.gateway.judging import look
from reconciler.providers import PROVIDERS
from tests.support_judging import NEEDS

FORMS = ("NFC", "NFKC")
SAMPLES = [
    "ﷺ",
    "\U0001d160",
    "ẹ\u0301",
    "½",
    "ﬁ",
    "한",
    "é",
    "，",
    "Ａ\u030a",
    "\u0344",
    "😀",
    "a",
    "㌔",
    "\u1e9b\u0323",
]


def longest(text: str) -> int:
    """Give the size of the longest form, in bytes of UTF-8."""
    return max(len(unicodedata.normalize(form, text).encode()) for form in FORMS)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_sign_becomes_longer_than_is_said(ascii_only: bool) -> None:
    """Every sign of Unicode, alone and a hundred times, as it is and escaped."""
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        sign = chr(code)
        if not ascii_only or unicodedata.normalize("NFKC", sign) != sign:
            raw = json.dumps(sign, ensure_ascii=ascii_only).encode()
            assert normalized(raw) >= max(len(raw), longest(sign) + 2), hex(code)


def test_signs_beside_each_other_do_not_become_longer_than_is_said() -> None:
    """Marks move and join across signs."""
    chance = random.Random(1)  # noqa: S311 (the same signs every time)
    for _ in range(3000):
        text = "".join(chance.choices(SAMPLES, k=chance.randrange(1, 12))) * chance.randrange(1, 20)
        raw = json.dumps(text, ensure_ascii=chance.random() < 0.5).encode()
        assert normalized(raw) >= longest(text) + 2


@pytest.mark.parametrize("sign", SAMPLES)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_large_bodies_are_looked_at_in_parts(sign: str, ascii_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a part ends, within a sign or an escape."""
    monkeypatch.setattr(growth, "BLOCK_BYTES", 4096)
    for shift in range(13):
        text = "x" * shift + sign * (3 * 4096 // len(json.dumps(sign, ensure_ascii=ascii_only)))
        raw = json.dumps(text, ensure_ascii=ascii_only).encode()
        assert normalized(raw) >= longest(text) + 2


def test_usual_texts_are_as_long_as_they_are() -> None:
    """Nobody reserves more for writing another language."""
    for text in ("plain", "Voilà une phrase", "Tiếng Việt", "한국어", "你好，世界！", "Привет", "😀", "日本語。"):
        raw = json.dumps(text * 500, ensure_ascii=False).encode()
        assert normalized(raw) == len(raw)
        assert Body(b'{"a":%b}' % raw).size == len(raw) + 6


def typescript(value: Any) -> str:
    """Write a schema as harmony does: alternatives behind bars, a comment in front of each line of a description."""
    if isinstance(value, dict):
        inner = [f"{name}: {typescript(item)},\n" for name, item in value.items() if name != "description"]
        said = str(value["description"]).split("\n") if "description" in value else []
        return "".join([*(f"// {line}\n" for line in said), *inner])
    if isinstance(value, list):
        return " | ".join(typescript(item) for item in value)
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(
    "value",
    [
        [1e15] * 500,
        {"enum": [1e15, 123456789012345.0, 5e-324, 1e300]},
        {"a": {"b": {"c": [1, 2, 3]}}},
        {"description": "1\n" * 1000},
        {str(number): number for number in range(100)},
    ],
)
def test_no_usual_way_to_write_json_is_longer_than_is_said(value: Any) -> None:
    """As Python, ECMAScript and harmony write it, from the shortest that a client may send."""
    sent = json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("1000000000000000.0", "1e15").encode()
    ways = [json.dumps(value, ensure_ascii=False), typescript(value)]
    assert len(sent) + rendered(sent) >= max(len(way.encode()) for way in ways)


def test_power_becomes_all_its_digits() -> None:
    """Which for ECMAScript are 21."""
    assert len(b"[1e20,2E+20]") + rendered(b"[1e20,2E+20]") >= len("[100000000000000000000, 200000000000000000000]")
    assert rendered(b'["1e20 is a text, and 3e8 too"]') <= 30


def test_signs_that_are_put_together_do_not_become_longer() -> None:
    """On which rests that taking signs apart bounds all of the usual forms: the data of Unicode say so."""
    for code in range(0x110000):
        sign = chr(code)
        if not 0xD800 <= code < 0xE000 and unicodedata.normalize("NFC", sign) == sign:
            assert len(sign.encode()) <= len(unicodedata.normalize("NFD", sign).encode()), hex(code)


def test_any_signs_in_any_order_do_not_become_longer_than_is_said() -> None:
    """Signs that are taken apart, and marks that move across them, in short and in long rows."""
    signs = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    apart = [sign for sign in signs if not unicodedata.is_normalized("NFKD", sign)]
    marks = [sign for sign in signs if unicodedata.combining(sign)]
    chance = random.Random(2)  # noqa: S311 (the same signs every time)
    for number in range(4000):
        kinds = [chance.choices(apart, k=4), chance.choices(marks, k=4), ["a", "o", "ạ", "\uff9e"]]
        few = [sign for kind in chance.sample(kinds, chance.randrange(1, 4)) for sign in kind]
        text = "".join(chance.choices(few, k=80 if number % 8 == 0 else 8))
        assert normalized(json.dumps(text, ensure_ascii=number % 2 == 0).encode()) >= longest(text) + 2, ascii(text)


@pytest.mark.parametrize(
    "text",
    [
        "\u0315" * 300 + "\u0300" * 300,
        "\uff9e\u0334" * 300,
        "\ufdfa" * 300,
        "a" + "\u0315\u0300" * 40,
        "\u0344" * 300,
        "\U0001d160" * 300,
    ],
    ids=ascii,
)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_what_takes_long_to_be_normalized_is_not(text: str, ascii_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to put marks in order grows with the square of their number: 64 KiB of them took seven seconds."""
    most, normalize = longest(text), unicodedata.normalize
    found: list[str] = []
    normalized(json.dumps(text).encode())  # which may look signs up

    def watched(form: str, text: str) -> str:
        found.append(text)
        return normalize(form, text)

    monkeypatch.setattr(growth.unicodedata, "normalize", watched)
    assert normalized(json.dumps(text, ensure_ascii=ascii_only).encode()) >= most + 2
    assert all(len(text) == 1 for text in found)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_sign_is_looked_up_twice(ascii_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: 32 MiB of escapes of ever other signs took 24 seconds, and other agents waited."""
    raw = json.dumps("".join(map(chr, range(0x80, 0xD800))), ensure_ascii=ascii_only).encode()
    size = normalized(raw)

    looked_up: list[str] = []
    normalize = unicodedata.normalize

    def watched(form: str, text: str) -> str:
        looked_up.extend([text] if len(text) == 1 else [])
        return normalize(form, text)

    monkeypatch.setattr(growth.unicodedata, "normalize", watched)
    assert normalized(raw) == size
    assert not looked_up


def test_signs_of_all_pages_are_not_looked_up_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small body may have one of each, and its daemon none yet: a million looks were a quarter of a second."""
    raw = json.dumps("".join(chr(code) for code in range(0xBD, 0x110000, 256) if not 0xD800 <= code < 0xE000)).encode()
    looked_up: list[str] = []
    look_up = growth._look_up

    def watched(sign: str) -> int:
        looked_up.append(sign)
        return look_up(sign)

    monkeypatch.setattr(growth, "_look_up", watched)
    growth._page.cache_clear()
    assert normalized(raw) == len(raw)
    assert 0 < len(looked_up) < 50_000


def look_at(body: dict[str, Any], operation: str = "chat") -> Any:
    """Judge a body that is written as short as it may be."""
    raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return look(Body(raw), operation, PROVIDERS["openai"])


@pytest.mark.parametrize(
    "arguments",
    [
        "[" + ",".join(["1e15"] * 100) + "]",
        "[" + ",".join(["1"] * 100) + "]",
        "[" + ",".join(["\t1e15"] * 100) + "]",
        "[" + ",".join(["\n-1E+15"] * 100) + "]",
        '{"a":' * 50 + "1e15" + "}" * 50,
        "[" + ",".join(["12345678901234567.5"] * 100) + "]",
    ],
)
def test_arguments_are_written_anew_wherever_they_stand(arguments: str) -> None:
    """As chat templates do: parsed, and written as JSON. Messages of nothing but text and calls are no exception."""
    sent = json.dumps(arguments)
    written = json.dumps(json.loads(arguments))
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    for message in (
        {"role": "assistant", "tool_calls": [call]},
        {"role": "assistant", "tool_calls": [call], "index": 0},
    ):
        assert len(sent) + look_at({"messages": [message]}).rendered >= len(written)
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}
    assert len(sent) + look_at({"input": [item]}, "responses").rendered >= len(written)


@pytest.mark.parametrize("sign", ["e", "1", "5", ",", "-"])
def test_escaped_signs_of_a_number_are_seen(sign: str) -> None:
    """In a string any sign may be escaped."""
    arguments = "[" + ",".join(["-1e15"] * 100) + "]"
    raw = json.dumps(arguments).replace(sign, f"\\u{ord(sign):04x}", 1).encode()
    assert len(raw) + rendered(raw) >= len(json.dumps(json.loads(arguments)))
    one = json.dumps("[1e15]").replace("e", "\\u0065").encode()
    assert len(one) + rendered(one) >= len("[1000000000000000.0]")


def test_schemas_at_the_top_are_written_anew() -> None:
    """Whatever field holds them."""
    schema = {"type": "json_schema", "schema": {"enum": [1, 2, 3] * 50}}
    sent, written = json.dumps(schema, separators=(",", ":")), json.dumps(schema)
    for name in ("output_format", "response_format", "metadata"):
        assert len(sent) + look_at({name: schema}, "messages").rendered >= len(written)


PACKED = base64.b64encode("ﷺ".encode() * 100).decode()


@pytest.mark.parametrize(
    "body",
    [
        {"contents": [{"parts": [{"inlineData": {"mimeType": "text/plain", "data": PACKED}}]}]},
        {"contents": [{"parts": [{"inline_data": {"mime_type": "text/plain; charset=utf-8", "data": PACKED}}]}]},
        {
            "contents": [
                {"parts": [{"inlineData": {"mimeType": "text/html", "data": PACKED.translate({43: 45, 47: 95})}}]}
            ]
        },
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": f"data:text/plain;base64,{PACKED}"}}]}]},
        {
            "messages": [
                {"content": [{"type": "image_url", "image_url": {"url": f"data:text/plain,{quote('ﷺ' * 100)}"}}]}
            ]
        },
    ],
    ids=repr,
)
def test_packed_text_counts_as_what_it_becomes(body: dict[str, Any]) -> None:
    """Base64 and percent signs hide what is longer than they are when it is normalized."""
    found = look_at(body, "generate" if "contents" in body else "chat")
    assert len(json.dumps(body)) + found.rendered >= 3300
    assert not found.uncertain


@pytest.mark.parametrize("kind", ["text/plain;charset=utf-16", "text/plain; charset=UTF-7", "text/plain;x=y"])
@pytest.mark.parametrize("data", [PACKED, base64.b64encode("ﷺ".encode("utf-16")).decode()])
def test_packed_text_that_may_be_read_otherwise_is_counted(kind: str, data: str) -> None:
    """In another encoding, or behind a word that is not known."""
    found = look_at({"contents": [{"parts": [{"inlineData": {"mimeType": kind, "data": data}}]}]}, "generate")
    assert found.uncertain
    found = look_at({"contents": [{"parts": [{"inlineData": {"mimeType": "text/plain", "data": "77+"}}]}]}, "generate")
    assert found.uncertain


@pytest.mark.parametrize("operation", ["embed", "generate"])
def test_text_in_base64_counts_as_what_it_becomes_also_where_it_is_embedded(operation: str) -> None:
    """What is embedded is written into no prompt, but its text is normalized, too."""
    packed = base64.b64encode("\ufdfa".encode() * 1000).decode()
    content = {"parts": [{"inlineData": {"mimeType": "text/plain", "data": packed}}]}
    body = Body(json.dumps({"content": content, "contents": [content]}).encode())
    found = NEEDS[operation](body, PROVIDERS["gemini"], "gemini-embedding-2")
    assert body.size + found.extra >= 33_000
