"""What an upstream may send instead of an answer: nothing raises, and nothing is charged less for being odd."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.reservations import Usage
from reconciler.gateway.metering import RULES, TOKENS_MAX, Meter, meter
from reconciler.providers import PROVIDERS


def fed(operation: str, provider: str, *items: object) -> Meter:
    """Give a meter that has read these: bytes as they are, all else as JSON."""
    it = meter(operation, PROVIDERS[provider])
    for item in items:
        it.feed(item if isinstance(item, bytes) else json.dumps(item).encode())
    return it


def used(operation: str, provider: str, *items: object) -> Usage | None:
    """Give what a complete answer of these items used."""
    return fed(operation, provider, *items).usage(complete=True)


def charge(usage: Usage | None) -> int | None:
    """Give the charge alone."""
    return usage and usage.charged


NO_COUNTS = ["null", "true", '"7"', "-7", "7.0", "7e1", "[7]", '{"a":7}', str(TOKENS_MAX + 1), "9" * 400, "1e999", "-0"]

BODIES = {
    "chat": '{"usage":{"prompt_tokens":1000,"completion_tokens":200,"total_tokens":1200,'
    '"prompt_tokens_details":{"cached_tokens":30},"completion_tokens_details":{"reasoning_tokens":4}}}',
    "responses": '{"usage":{"input_tokens":1000,"output_tokens":200,"total_tokens":1200,'
    '"input_tokens_details":{"cached_tokens":30},"output_tokens_details":{"reasoning_tokens":4}}}',
    "embeddings": '{"usage":{"prompt_tokens":1200,"total_tokens":1200}}',
    "messages": '{"usage":{"input_tokens":1000,"output_tokens":200,"cache_read_input_tokens":30}}',
    "generate": '{"usageMetadata":{"promptTokenCount":1000,"candidatesTokenCount":196,"thoughtsTokenCount":4,'
    '"totalTokenCount":1200,"cachedContentTokenCount":30}}',
    "embed": '{"usageMetadata":{"promptTokenCount":1200,"totalTokenCount":1200}}',
    "messages.count": '{"input_tokens":1200}',
    "generate.count": '{"totalTokens":1200}',
}


@pytest.mark.parametrize("value", NO_COUNTS)
@pytest.mark.parametrize("operation", BODIES)
def test_what_is_no_count_is_as_if_absent(operation: str, value: str) -> None:
    """A number that is none leaves the others as they are: the usage is that of the body without it, or none."""
    body = BODIES[operation]
    for number in ("1000", "1200", "200", "196", "30", "4"):
        for at in range(body.count(f":{number}")):
            parts = body.split(f":{number}")
            odd = f":{number}".join(parts[: at + 1]) + f":{value}" + f":{number}".join(parts[at + 1 :])
            null = odd.replace(f":{value}", ":null")
            assert used(operation, "gemini", odd.encode()) == used(operation, "gemini", null.encode()), odd


@pytest.mark.parametrize("operation", BODIES)
@pytest.mark.parametrize("value", NO_COUNTS)
def test_what_is_no_usage_is_as_if_absent(operation: str, value: str) -> None:
    """A usage of a wrong type is none."""
    for name in ('"usage"', '"usageMetadata"', '"input_tokens"', '"totalTokens"'):
        assert used(operation, "openai", f'{{"a_tokens":1,{name}:{value}}}'.encode()) is None


@pytest.mark.parametrize("operation", RULES)
def test_nested_and_broken_texts_do_not_raise(operation: str) -> None:
    """Texts nested too deeply, cut, of no JSON at all or in another encoding say nothing."""
    for body in ("[" * 99999, '{"usage":' * 9999, '{"usage":{"total_tokens":1', "", "[]", "7", '"_tokens"', "\ufeff{}"):
        assert used(operation, "openai", (body + '"_tokens" "error"').encode()) is None
        assert used(operation, "openai", body.encode("utf-16")) is None


NAMES = [
    *("type", "usage", "error", "choices", "response", "message", "delta", "content_block", "stop_reason", "status"),
    *("candidates", "usageMetadata", "finishReason", "iterations", "cache_creation", "prompt_tokens_details"),
    *("input_tokens", "output_tokens", "total_tokens", "prompt_tokens", "completion_tokens", "totalTokens"),
    *("promptTokenCount", "candidatesTokenCount", "totalTokenCount"),
]
WORDS = [
    "message_start",
    "message_delta",
    "message",
    "content_block_start",
    "error",
    "response.completed",
    "compaction",
]
texts = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=20,
)


@given(st.sampled_from(sorted(RULES)), st.lists(texts | st.binary(max_size=20), max_size=5), st.booleans())
def test_no_text_raises_and_every_usage_adds_up(operation: str, items: list[object], complete: bool) -> None:
    """Whatever comes, a usage is made of counts, and is charged at least what its parts are, unless it is free."""
    it = fed(operation, "openai", *items)
    usage = it.usage(complete=complete)
    if usage is not None:
        assert all(isinstance(count, int) and count >= 0 for count in usage)
        free = operation.endswith(".count")
        assert usage.charged == 0 if free else usage.charged >= usage.input + usage.output
        assert it.forfeit(0, 0) >= usage.charged


def test_half_a_surrogate_pair_hides_no_usage() -> None:
    """Text that a model cut within a character is refused by strict readers, and its usage counts all the same."""
    text = r'{"candidates":[{"content":"\ud83d","finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":9}}'
    assert charge(used("generate", "gemini", text.encode())) == 9
    body = r'{"choices":[{"message":{"content":"\\ud83d \udE00 \\"}}],"usage":{"total_tokens":9}}'
    assert charge(used("chat", "openai", body.encode())) == 9


def test_an_unreadable_text_leaves_only_what_was_final() -> None:
    """A last chunk that cannot be read may have said more than the one before it."""
    running = {"candidates": [{}], "usageMetadata": {"totalTokenCount": 2}}
    finished = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"totalTokenCount": 2}}
    broken = b'{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":99'
    assert used("generate", "gemini", running, broken) is None
    assert charge(used("generate", "gemini", finished, broken)) == 2
    assert charge(used("generate", "gemini", running, b"what is this?")) == 2
    start = b'{"type":"message_start","message":{"usage":{"input_tokens":1,"cache_read_input_tokens":900'
    last = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    assert used("messages", "anthropic", start, last) is None


def test_words_about_usage_are_not_usage() -> None:
    """A model may write an answer that looks like an answer."""
    text = json.dumps({"type": "message_delta", "usage": {"output_tokens": 7, "input_tokens": 7}, "error": "a"})
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1}}}
    last = {"type": "message_delta", "usage": {"output_tokens": 2}}
    assert charge(used("messages", "anthropic", start, event, last)) == 3
    assert used("chat", "openai", {"choices": [{"delta": {"content": text}}]}) is None
    assert used("responses", "openai", {"type": "response.output_text.delta", "delta": text}) is None


TWICE = [
    ("chat", '{"choices":[],%s}', '"usage":{"total_tokens":%d}', (5, 900)),
    ("chat", '{"choices":[],"usage":{%s}}', '"total_tokens":%d', (5, 900)),
    ("chat", '{"choices":[],"usage":{"prompt_tokens":1,%s}}', '"completion_tokens":%d', (4, 899)),
    ("chat", '{"usage":{"total_tokens":5,"completion_tokens_details":{%s}}}', '"reasoning_tokens":%d', (5, 900)),
    ("chat", '{"usage":{"total_tokens":5,%s}}', '"prompt_tokens_details":{"cached_tokens":%d}', (5, 900)),
    ("responses", '{"type":"response.completed",%s}', '"response":{"usage":{"total_tokens":%d}}', (5, 900)),
    ("responses", '{"type":"response.completed","response":{%s}}', '"usage":{"total_tokens":%d}', (5, 900)),
    ("responses", '{"object":"response",%s}', '"usage":{"total_tokens":%d}', (5, 900)),
    ("embeddings", '{"data":[],%s}', '"usage":{"prompt_tokens":%d}', (5, 900)),
    ("messages", '{"type":"message",%s}', '"usage":{"input_tokens":1,"output_tokens":%d}', (4, 899)),
    ("messages", '{"usage":{"input_tokens":1,%s}}', '"output_tokens":%d', (4, 899)),
    ("messages", '{"usage":{"output_tokens":1,"input_tokens":1,%s}}', '"cache_read_input_tokens":%d', (3, 898)),
    ("messages", '{"type":"message_delta","usage":{"input_tokens":1,%s}}', '"output_tokens":%d', (4, 899)),
    (
        "messages",
        '{"usage":{"output_tokens":1,"input_tokens":1,"iterations":[{"type":"compaction",%s}]}}',
        '"input_tokens":%d',
        (3, 898),
    ),
    ("generate", '{"candidates":[{"finishReason":"STOP"}],%s}', '"usageMetadata":{"totalTokenCount":%d}', (5, 900)),
    ("generate", '{"candidates":[],"usageMetadata":{%s}}', '"totalTokenCount":%d', (5, 900)),
    (
        "generate",
        '{"usageMetadata":{"totalTokenCount":5,"promptTokenCount":1,%s}}',
        '"thoughtsTokenCount":%d',
        (4, 899),
    ),
    ("embed", "{%s}", '"usageMetadata":{"promptTokenCount":%d}', (5, 900)),
]


@pytest.mark.parametrize(("operation", "body", "member", "counts"), TWICE)
def test_member_named_twice_counts_as_the_dearer(
    operation: str, body: str, member: str, counts: tuple[int, int]
) -> None:
    """In any order, also with a name that is escaped, and with nothing in one of its places."""
    one, other = (member % count for count in counts)
    name = member.split('"')[1]
    escaped = other.replace(name, name.replace(name[0], f"\\u{ord(name[0]):04X}", 1), 1)
    nothing = f'"{name}":null'
    for twice in (
        *((one, other), (other, one), (one, escaped), (escaped, one), (nothing, other), (other, nothing)),
        *((one, other, one), (other, f'"{name}":{{}}'), (other, f'"{name}":-1'), (f'"{name}":"x"', other)),
    ):
        text = body % ",".join(twice)
        assert charge(used(operation, "openai", text.encode())) == 900, text


def test_usage_named_twice_is_found_beside_any_text() -> None:
    """Words with colons, names with colons and repeated names elsewhere do not hide it, and cost nothing."""
    begin = '{"a:b":1,"text":"usage: a:b \\ud83d","choices":[{"x":1,"x":2}],"usage":{"total_tokens":900}'
    for end in ("}", ',"usage":{"total_tokens":5}}'):
        assert charge(used("chat", "openai", (begin + end).encode())) == 900


def test_byte_order_mark_before_an_answer_hides_nothing() -> None:
    """Clients read over it (RFC 8259 8.1 lets them), so what they are shown is what is charged."""
    assert charge(used("chat", "openai", b'\xef\xbb\xbf{"usage":{"total_tokens":900}}')) == 900


def test_part_that_could_not_be_read_takes_the_trust_away() -> None:
    """A usage that came before counts no more as the last, and is the least that is charged."""
    it = fed("chat", "openai", {"choices": [], "usage": {"total_tokens": 9}})
    it.lose()
    assert (it.usage(complete=True), it.unread, it.forfeit(2, 3)) == (None, True, 9)


def test_an_operation_without_a_rule_is_a_bug() -> None:
    """There is no meter by default: what is not in the table must not run."""
    with pytest.raises(KeyError):
        meter("images", PROVIDERS["openai"])


@pytest.mark.parametrize("value", ['{"b%d": 1}', "[%d]", '{"b": {"c%d": 1}}', "%d"])
def test_members_named_very_often_are_merged_in_one_go(value: str) -> None:
    """An answer that names one member again and again is read, in time that grows as it does."""
    often = ", ".join(f'"a": {value % number}' for number in range(2500))
    found = meter("chat", PROVIDERS["openai"])
    found.feed(f'{{{often}, "usage": {{"total_tokens": 5}}, "usage": {{"total_tokens": 7}}}}'.encode())
    usage = found.usage(complete=True)
    assert usage is not None
    assert usage.charged == 7


def test_large_answer_that_names_a_member_twice_is_not_read() -> None:
    """What would take long to be read tells nothing, so that all that was reserved counts."""
    found = meter("chat", PROVIDERS["openai"])
    found.feed(b'{"usage": {"total_tokens": 5}, ' + b'"a": {}, ' * 100_000 + b'"a": 1}')
    assert found.usage(complete=True) is None
    assert found.unread
