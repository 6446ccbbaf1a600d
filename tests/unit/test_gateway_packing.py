"""What judging takes of memory, whatever signs stand in a large body; and that it finds the same of packed texts."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway import body as module
from reconciler.gateway import packing
from reconciler.gateway.body import Body
from reconciler.gateway.calls import Route
from reconciler.gateway.judging.found import Found
from reconciler.gateway.judging.walk import look
from reconciler.gateway.offloading import parse
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.surfaces import SURFACES
from reconciler.providers import PROVIDERS

ROUTE = Route(SURFACES["openai"], "chat", version="v1")
SIZE = 12 * 1024 * 1024
TIMES = 4
"""What judging may take of a body besides the body itself: a packed text, and Python's copies of a string that it
widens while it decodes it."""
TIMES_TWICE = 5
"""Of arguments, which are JSON in a text, and so decoded twice."""
FORKED = 12 * 1024 * 1024
"""What of a process is copied when it is forked, and blocks."""

SIGNS = {
    "ascii": "a",
    "latin": "é",
    "bmp": "好",
    "beyond": "😀",
    "escaped": "\\ud83d\\ude00",
    "ascii and latin": "a" * 999 + "é",
    "ascii and bmp": "a" * 999 + "好",
    "ascii and beyond": "a" * 999 + "😀",
    "ascii and escaped": "a" * 999 + "\\ud83d\\ude00",
    "bmp and beyond": "好" * 999 + "😀",
    "one beyond": "a" * (SIZE - 10) + "😀",
    "one escaped": "a" * (SIZE - 20) + "\\ud83d\\ude00",
}


def parts(text: str, kind: str) -> str:
    """Write a text as very many."""
    return ",".join(kind % piece for piece in re.findall(r"(?:\\u.{4}\\u.{4}|[^\\]){1,5000}", text))


MESSAGE = '{"model":"m","max_tokens":9,"messages":[%s]}'
SHAPES: dict[str, Callable[[str], str]] = {
    "one text": lambda text: MESSAGE % f'{{"role":"user","content":"{text}"}}',
    "many texts": lambda text: MESSAGE % f'{{"role":"user","content":[{parts(text, TEXT)}]}}',
    "names": lambda text: MESSAGE % f'{{"role":"user","content":"a","unknown":{{{parts(text, NAME)}}}}}',
    "what a tool said": lambda text: MESSAGE % f'{{"role":"tool","tool_call_id":"a","content":"{text}"}}',
    "arguments": lambda text: MESSAGE % CALL.replace("%", ARGUMENTS.replace("%", text.replace("\\", "\\\\"))),
    "an image": lambda text: MESSAGE % IMAGE.replace("%", text),
    "tools": lambda text: MESSAGE.replace("%s]", f'],"tools":[{TOOL.replace("%", text)}]'),
}
TEXT = '{"type":"text","text":"%s"}'
NAME = '"%s":1'
ARGUMENTS = '{\\"a\\":\\"%\\"}'
CALL = (
    '{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"%"}}],'
    '"content":"a"}'
)
IMAGE = '{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%"}}]}'
TOOL = '{"type":"function","function":{"name":"f","description":"%","parameters":{}}}'


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("signs", SIGNS)
def test_judging_takes_little_beside_a_body_whatever_signs_stand_in_it(signs: str, shape: str) -> None:
    """One sign outside the BMP, as it is or escaped, in one text or in many, in names or in values."""
    text = SIGNS[signs] * (SIZE // len(SIGNS[signs].encode()))
    raw = SHAPES[shape](text).encode()
    del text
    call = parse(ROUTE, Body(raw), (), b"")

    def judge() -> None:
        with contextlib.suppress(Refusal):  # names that stand twice
            call.surface.judges["chat"](call.body, PROVIDERS["openrouter"], "m")

    times = TIMES_TWICE if shape == "arguments" else TIMES
    assert taken_by(judge) < times * len(raw) + FORKED


def taken_by(work: Callable[[], None]) -> int:
    """Give by how many bytes the memory of a process grows at most that does some work."""
    told, tells = os.pipe()
    child = os.fork()
    if not child:
        try:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
            before = highest()
            work()
            os.write(tells, str(highest() - before).encode())
        finally:
            os._exit(0)
    os.close(tells)
    with os.fdopen(told) as pipe:
        grown = pipe.read()
    os.waitpid(child, 0)
    return int(grown)


def highest() -> int:
    """Give the most memory that this process has had."""
    found = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[0]) * 1024


TEXTS = st.text(st.sampled_from("ab<>&'\"\\/\n é好\ufdfa😀\u0301{}:,"), max_size=8)
DATA = st.lists(st.sampled_from(["aGk=", "a", "%EF%B7%BA", "%C3", "+"]), max_size=8).map("".join)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.sampled_from(["type", "text"]), inner),
    max_leaves=8,
)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Give a body with texts, calls, what tools said, definitions, schemas and media."""
    messages: list[Any] = [{"role": draw(st.sampled_from(["user", "tool"])), "content": draw(TEXTS)}]
    arguments = draw(TEXTS | JSONS.map(json.dumps))
    call = {"id": "a", "type": "function", "function": {"name": draw(TEXTS), "arguments": arguments}}
    messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
    parts: list[Any] = [{"type": "text", "text": draw(TEXTS)}]
    if draw(st.booleans()):
        url = f"data:{draw(st.sampled_from(['image/png;base64', 'text/plain']))},{draw(DATA)}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    if draw(st.booleans()):
        parts.append({"type": "tool_result", "content": draw(JSONS)})
    messages.append({"role": draw(st.sampled_from(["user", "tool"])), "content": parts})
    found: dict[str, Any] = {"model": "m", "messages": messages}
    if draw(st.booleans()):
        properties = draw(st.dictionaries(TEXTS, JSONS, max_size=3))
        function = {"name": "f", "description": draw(TEXTS), "parameters": {"properties": properties}}
        found["tools"] = [{"type": "function", "function": function}]
    return found


@given(bodies(), st.booleans(), st.sampled_from(["openrouter", "openai", "gemini"]))
def test_packed_texts_are_judged_as_they_would_be_unpacked(body: dict[str, Any], ascii: bool, provider: str) -> None:  # noqa: A002
    """Whatever stands in them, raw or escaped: nothing that is found hangs on the memory that it took."""
    raw = json.dumps(body, ensure_ascii=ascii).encode()

    def seen() -> Found | str:
        try:
            found = look(Body(raw), "chat", PROVIDERS[provider])
        except Refusal as refusal:
            return refusal.reason
        found.packed = False
        return found

    expected = seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "PACKED_BYTES_MIN", 0)
        patch.setattr(module, "PACKED_BYTES_MIN", 0)
        patch.setattr(packing, "_takes_much", lambda _: True)
        assert seen() == expected


@pytest.mark.parametrize("raw", [b'"a\\ud83d"', b'"\\\\ud83d\\ude00"', b'"\\u0022"', b'"\\\\\\u00e9\\ud83d\\ude00"'])
def test_packed_text_says_what_it_said(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Escaped backslashes and quotes stay what they are, and half a pair is as wrong as it was."""
    monkeypatch.setattr(packing, "PACKED_BYTES_MIN", 0)
    monkeypatch.setattr(packing, "_takes_much", lambda _: True)
    found = packing.packed(raw)
    assert found is not None
    text = json.loads(raw)
    half = any(0xD800 <= ord(sign) < 0xE000 for sign in text)
    assert json.loads(bytes(found)) == (text if half else text.encode().decode("latin-1"))
