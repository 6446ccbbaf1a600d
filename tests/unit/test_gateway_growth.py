"""What a body may become before it is read: no usual form of a text, and no usual way to write JSON, is longer."""

from __future__ import annotations

import json
import random
import unicodedata
from typing import Any

import pytest

from reconciler.gateway import growth
from reconciler.gateway.body import Body
from reconciler.gateway.growth import normalized, rendered

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
