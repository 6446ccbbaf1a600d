"""Outlines of JSON texts: any text in any pieces keeps what a meter reads of it, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway import outline as outlines
from reconciler.gateway.metering import RULES, meter
from reconciler.gateway.outline import ENTERED, KEPT, Outline
from reconciler.providers import PROVIDERS


def outlined(text: bytes, size: int) -> list[bytes]:
    """Give the outlines of a text that arrives in pieces of one size."""
    outline = Outline()
    return [item for at in range(0, len(text), size) for item in outline.feed(text[at : at + size])]


def expected(value: Any) -> Any:
    """Give what an outline says of a decoded value that is entered."""
    if isinstance(value, dict):
        named = {name.encode(errors="replace"): (name, inner) for name, inner in value.items()}
        return {
            name: inner if key in KEPT else expected(inner)
            for key, (name, inner) in named.items()
            if key in KEPT | ENTERED
        }
    if isinstance(value, list):
        return [expected(item) for item in value if isinstance(item, dict)]
    return "" if isinstance(value, str) else value


NAMES = sorted(name.decode() for name in KEPT | ENTERED)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a{}[]",:\\\nü'), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(st.sampled_from('a{}":\\'), max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(
    st.lists(st.dictionaries(st.sampled_from([*NAMES, "a", "usage "]), values, max_size=5), max_size=4),
    st.integers(1, 30),
)
def test_outline_keeps_what_a_meter_reads(array: list[dict[str, Any]], size: int) -> None:
    """Members of interest stay, at any depth that is entered, however the text is written and cut."""
    for text in (
        json.dumps(array),
        json.dumps(array, ensure_ascii=False, separators=(",", ":")),
        json.dumps(array, indent=1),
    ):
        found = [json.loads(item) for item in outlined(text.encode(), size)]
        assert found == [expected(item) for item in array]


@given(st.lists(st.binary(max_size=6) | st.sampled_from([b"{", b"}", b'"', b"\\", b"]", b":", b'{"usage":'])))
def test_garbage_has_no_outline_or_some(pieces: list[bytes]) -> None:
    """Nothing raises, and the pieces make no difference."""
    outline = Outline()
    found = [item for piece in pieces for item in outline.feed(piece)]
    assert found == list(Outline().feed(b"".join(pieces)))


def test_member_named_twice_stays_twice() -> None:
    """Which of them counts is for the meter to say; a name that is escaped is the same name."""
    text = b'{"usage": {"total_tokens": 5}, "us\\u0061ge": {"total_tokens": 7}, "x": 1, "usage": null}'
    assert outlined(text, 3) == [b'{"usage": {"total_tokens": 5},"us\\u0061ge": {"total_tokens": 7},"usage": null}']


def test_array_that_closed_is_known() -> None:
    """The end of an array of objects shows, and only that of the outermost."""
    outline = Outline()
    outline.feed(b'[{"a": [1]}')
    assert not outline.closed
    outline.feed(b"\n]")
    assert outline.closed


@pytest.mark.parametrize(
    "text",
    [
        b'{"usage": "' + b"x" * outlines.BYTES_MAX,
        b'{"usage": [' + b"1," * outlines.BYTES_MAX,
        b'{"' + b"x" * outlines.BYTES_MAX,
        b'{"error":' * (outlines.DEPTH_MAX + 1),
        b'{"a": [' + b"{}," * (outlines.STEPS_MAX // 2 + 1),
        b'{"a": 1]',
        b'{"a": 1' + b', "a": 1' * outlines.SIGNS_MAX,
        b'{"usage": [' + b"[]" * outlines.SIGNS_MAX,
        b'{"a": {}' + b"{}" * outlines.SIGNS_MAX,
        b":" * (outlines.SIGNS_MAX + 1),
    ],
)
def test_what_cannot_be_outlined_is_given_up(text: bytes) -> None:
    """It keeps no more than its bounds, and says that it knows nothing any more."""
    outline = Outline()
    for at in range(0, len(text), 65536):
        assert outline.feed(text[at : at + 65536]) == []
    assert outline.gave_up
    assert outline.feed(b'"}]}{"usage": 1}') == []


def test_object_that_has_to_be_alone_is_not_believed_with_another() -> None:
    """Two objects in a row are no JSON text; an array of them is none of an object."""
    outline = Outline(alone=True)
    assert outline.feed(b' {"usage":1} ,]') == [b'{"usage":1}']
    assert not outline.gave_up
    assert outline.feed(b"{}") == []
    assert outline.gave_up


def test_deep_nesting_that_is_left_out_does_not_matter() -> None:
    """What no meter reads may be nested as deep as it likes."""
    text = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b', "usage": {"total_tokens": 5}}'
    assert outlined(text, 8192) == [b'{"usage": {"total_tokens": 5}}']


@pytest.mark.parametrize("operation", RULES)
def test_every_name_that_a_meter_reads_is_in_the_table(operation: str) -> None:
    """A member that a rule reads and an outline leaves out would be missed in large answers alone."""
    read: set[str] = set()

    class Watched(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            read.add(name)
            return super().get(name, default)

    it = meter(operation, PROVIDERS["openai"])
    for kind in (b'"message_start"', b'"message_delta"', b'"content_block_start"', b'"response.completed"', b'"x"'):
        it._read(Watched(type=kind))
    assert read
    assert {name.encode() for name in read} <= KEPT | ENTERED
