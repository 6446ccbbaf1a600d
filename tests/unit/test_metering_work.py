"""How much work a text makes for a meter: it grows as the text does and is bounded, whatever a provider writes."""

from __future__ import annotations

import itertools
import string
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from reconciler.gateway.members import ENTRIES_MAX, MEMBERS_MAX, MERGED_BYTES_MAX, MERGED_SIGNS_MAX, Text
from reconciler.gateway.metering import meter
from reconciler.providers import PROVIDERS

OPERATIONS = ("chat", "responses", "messages", "generate")
STEPS_MAX = 100_000
"""Lines that run and calls that are made for one text of any size: about 40 ns each, so some milliseconds."""


def steps(operation: str, text: bytes) -> int:
    """Count the lines that run, and the calls that are made, decoders included, while a text is metered."""
    count = 0

    def line(_frame: FrameType, event: str, _arg: object) -> Callable[..., object]:
        nonlocal count
        count += event == "line"
        return line

    def call(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    it = meter(operation, PROVIDERS["gemini"])
    before = sys.gettrace(), sys.getprofile()
    sys.settrace(line)
    sys.setprofile(call)
    try:
        it.feed(text)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count


def members(size: int) -> str:
    """Give an object of many members, so large."""
    names = map("".join, itertools.product(string.ascii_letters, repeat=3))
    return "{" + ",".join(f'"{name}":0' for name in itertools.islice(names, size // 8)) + "}"


def deep(size: int) -> str:
    """Give an object that is named twice at each of many levels, and has many members at the deepest of them."""
    levels = int((size / 9) ** 0.5)
    text = members(size - 3 * levels * levels - 10 * levels)
    for level in range(levels):
        text = '{"y":' + text + ',"y":' + '{"y":' * level + "{}" + "}" * level + "}"
    return text


def usage(of: str) -> str:
    """Give an answer with this usage, of all APIs."""
    return f'{{"choices":[],"total_tokens":1,"type":"message","usage":{of},"usageMetadata":{of}}}'


def iterations(entry: str, size: int) -> str:
    """Give an answer with many iterations, so large."""
    entries = ",".join([entry] * max(1, size // (len(entry) + 1)))
    return f'{{"type":"message","usage":{{"input_tokens":3,"output_tokens":4,"iterations":[{entries}]}}}}'


TEXTS: dict[str, Callable[[int], str]] = {
    "named twice at each level": lambda size: usage(deep(size // 2)),
    "named twice in each iteration": lambda size: iterations('{"type":"compaction",' + deep(size // 16)[1:], size),
    "named twice in small iterations": lambda size: iterations('{"type":"compaction","a":1,"a":{"b":[]}}', size),
    "small iterations": lambda size: iterations('{"type":"compaction","input_tokens":1}', size),
    "no iterations": lambda size: iterations("{}", size),
    "iterations of many members": lambda size: iterations(
        '{"type":"compaction","a":1,' + members(size // 16)[1:], size
    ),
    "many members": lambda size: usage(members(size // 2)),
    "many members at the top": lambda size: members(size)[:-1] + ',"usage":{"total_tokens":1},"usage":null}',
    "one member again and again": lambda size: usage("{" + ",".join(['"a":{}'] * (size // 14)) + "}"),
    "one number again and again": lambda size: usage("{" + ",".join(['"a":1'] * (size // 12)) + "}"),
    "one list again and again": lambda size: usage("{" + ",".join(['"a":[{}]'] * (size // 18)) + "}"),
    "names with colons": lambda size: usage(
        '{"a:b":1,"total_tokens":1,"prompt_tokens_details":' + members(size // 2) + "}"
    ),
    "brackets": lambda size: usage('{"a":1,"a":' + "[" * (size // 4) + "]" * (size // 4) + "}"),
    "objects in one another": lambda size: usage(
        '{"a":1,"a":' + '{"a":' * (size // 16) + "1" + "}" * (size // 16) + "}"
    ),
    "candidates": lambda size: (
        '{"candidates":[' + ",".join(['{"finishReason":1}'] * (size // 19)) + '],"usageMetadata":{}}'
    ),
}


@pytest.mark.parametrize("size", [16 * 1024, 32 * 1024, 128 * 1024, 1024 * 1024])
@pytest.mark.parametrize("kind", TEXTS)
def test_work_is_bounded(kind: str, size: int) -> None:
    """No text has others wait: neither by its depth, nor by its width, nor by what it repeats."""
    text = TEXTS[kind](size).encode()
    assert size / 3 < len(text) < 1.2 * size + 1000
    for operation in OPERATIONS:
        assert steps(operation, text) <= STEPS_MAX, operation


def test_bounds_of_merging_hold_for_a_whole_text() -> None:
    """Objects that are small enough each may be too much together."""
    text = Text()
    one = b'{"a":1,"a":"' + b"x" * (MERGED_BYTES_MAX // 4) + b'"}'
    found = [text.object(one) is not None for _ in range(4)]
    assert found == [True, True, True, False]
    text = Text()
    one = b'{"a":1,"a":[' + b"1," * (MERGED_SIGNS_MAX // 4) + b"1]}"
    found = [text.object(one) is not None for _ in range(4)]
    assert found == [True, True, True, False]


LARGE_TWICE = b'{"total_tokens":5,"a":"' + b"x" * MERGED_BYTES_MAX + b'","total_tokens":9}'
MANY = b",".join(b'"a%d":1' % number for number in range(MEMBERS_MAX))
ENTRIES = b",".join([b'{"type":"compaction","input_tokens":1}'] * (ENTRIES_MAX + 1))


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ("chat", b'{"error":{"message":"x"},"usage":' + LARGE_TWICE + b"}"),
        ("chat", b'{"usage":{"total_tokens":5,"prompt_tokens_details":' + LARGE_TWICE + b"}}"),
        ("chat", b'{"usage":{"total_tokens":5,' + MANY + b"}}"),
        ("responses", b'{"type":"response.completed","response":{"a":1,"a":2,"usage":' + LARGE_TWICE + b"}}"),
        ("embeddings", b'{"usage":' + LARGE_TWICE + b"}"),
        ("messages", b'{"usage":{"input_tokens":1,"output_tokens":1,"iterations":[' + ENTRIES + b"]}}"),
        ("messages", b'{"usage":{"input_tokens":1,"output_tokens":1,"cache_creation":' + LARGE_TWICE + b"}}"),
        ("generate", b'{"candidates":[],"usageMetadata":' + LARGE_TWICE + b"}"),
    ],
)
def test_what_is_too_much_to_read_is_not_believed(operation: str, text: bytes) -> None:
    """It may say anything: all that was reserved counts, of an error as well, and what it named is the least."""
    it = meter(operation, PROVIDERS["openai"])
    it.feed(text)
    assert (it.usage(complete=True), it.usage(complete=False), it.unread) == (None, None, True)


def test_text_is_read_anew_after_one_that_was_too_much() -> None:
    """The bounds are those of one text."""
    it = meter("chat", PROVIDERS["openai"])
    it.feed(b'{"usage":' + LARGE_TWICE + b"}")
    it.feed(b'{"choices":[],"usage":{"total_tokens":5,"total_tokens":7}}')
    usage_ = it.usage(complete=False)
    assert usage_ is not None
    assert usage_.charged == 7


def test_many_iterations_that_ran_beside_the_message_count() -> None:
    """As many as may be read are all read, and what is none of them is not taken apart."""
    entries = ",".join(['{"type":"compaction","input_tokens":1}', "{}"] * (ENTRIES_MAX // 2))
    it = meter("messages", PROVIDERS["anthropic"])
    it.feed(f'{{"usage":{{"input_tokens":1,"output_tokens":1,"iterations":[{entries}]}}}}'.encode())
    usage_ = it.usage(complete=True)
    assert usage_ is not None
    assert usage_.charged == 2 + ENTRIES_MAX // 2


def test_counts_of_unknown_names_are_not_kept() -> None:
    """A stream that goes on and on with new names takes no more memory."""
    it = meter("generate", PROVIDERS["gemini"])
    for number in range(100):
        it.feed(b'{"usageMetadata":{"totalTokenCount":9,"a%d":1}}' % number)
    assert it._counts == {"totalTokenCount": 9}
