"""What stands deep in a body makes no more work, and reserves no more: nothing is measured again at each level."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

import pytest

from reconciler.gateway.body import Body
from reconciler.gateway.judging import elements, references, walk
from reconciler.gateway.judging.fields import BODY, DEFINITION, PROMPT, SETTINGS
from reconciler.gateway.judging.found import Found
from reconciler.gateway.judging.references import _SCHEMAS
from reconciler.providers import PROVIDERS

LEVELS = 20
LEAF_SIGNS = 1200
MEASURES: tuple[tuple[ModuleType, str], ...] = (
    *((elements, name) for name in ("escaped", "normalized")),
    *((walk, name) for name in ("escaped", "rendered")),
    *((references, name) for name in ("normalized", "rendered")),
)
"""What looks at a text as a whole: its work is the text's size."""
WORK_EACH = 400
"""Lines that run, and bytes that are measured, for one level more."""
TOKENS_EACH = 200
NAMES = sorted(name for name in {*PROMPT, *DEFINITION, *SETTINGS, *_SCHEMAS, "properties"} if name.islower())
"""Every field that may stand within another one, and again in itself; in one of two spellings."""


def looked(monkeypatch: pytest.MonkeyPatch, field: str, value: Any) -> tuple[int, Found]:
    """Look through a body of one field: how many lines ran and bytes were measured, and what was found."""
    body = Body(json.dumps({field: value}, separators=(",", ":"), ensure_ascii=False).encode())
    work = 0

    def counted(measure: Callable[[bytes], int]) -> Callable[[bytes], int]:
        def counting(text: bytes) -> int:
            nonlocal work
            work += len(text)
            return measure(text)

        return counting

    def line(_frame: FrameType, event: str, _arg: object) -> Callable[..., object]:
        nonlocal work
        work += event == "line"
        return line

    before = sys.gettrace()
    with monkeypatch.context() as patched:
        for module, name in MEASURES:
            patched.setattr(module, name, counted(getattr(module, name)))
        sys.settrace(line)
        try:
            found = walk.look(body, "responses", PROVIDERS["openrouter"])
        finally:
            sys.settrace(before)
    return work, found


def within(levels: int, name: str, more: dict[str, Any], *, listed: bool) -> dict[str, Any]:
    """Give a leaf that is dear to measure within so many objects."""
    signs = "<é" * (LEAF_SIGNS // 2)
    leaf: dict[str, Any] = {"type": "function", "name": "f", "parameters": {signs: 1}, "text": signs, "output": signs}
    for _ in range(levels):
        leaf = {**more, name: [leaf] if listed else leaf}
    return leaf


@pytest.mark.parametrize("more", [{}, {"type": "tool_result"}, {"type": "namespace"}])
@pytest.mark.parametrize("field", ["input", "tools", "reasoning"])
def test_what_stands_deep_makes_no_more_work_and_reserves_no_more(
    monkeypatch: pytest.MonkeyPatch, field: str, more: dict[str, Any]
) -> None:
    """Namespaces in namespaces were measured at each of 31 levels: 95 ms for 16 KB, and 18 million tokens."""
    assert field in BODY
    for name in NAMES:
        for listed in (True, False):
            flat, few = looked(monkeypatch, field, [within(1, name, more, listed=listed)])
            deep, many = looked(monkeypatch, field, [within(LEVELS, name, more, listed=listed)])
            assert deep <= flat + LEVELS * WORK_EACH, (name, listed)
            assert many.rendered <= few.rendered + LEVELS * TOKENS_EACH, (name, listed)


def test_the_measured_text_is_dear_enough_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One measure more of the leaf would be seen above: it is more than all levels may make."""
    flat, found = looked(monkeypatch, "tools", [within(1, "tools", {"type": "namespace"}, listed=True)])
    assert flat > LEAF_SIGNS
    assert found.rendered > LEAF_SIGNS
    assert 2 * max(WORK_EACH, TOKENS_EACH) < LEAF_SIGNS
