"""The provider's key in what a provider answers: masked however it is written and however the answer is cut."""

from __future__ import annotations

import base64
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.gateway.masking import Mask

KEY = 'sk-proj/A1b2"C3\\d4-_='
PLAIN = "AIzaSyD-canary_0123456789"


def written(key: str, way: str, seed: int = 0) -> bytes:
    """Write a key in one of the ways in which answers repeat it."""
    chance = random.Random(seed)  # noqa: S311 (only a choice)
    match way:
        case "literal":
            return key.encode()
        case "json":
            return json.dumps(key)[1:-1].encode()
        case "slashes":
            return json.dumps(key)[1:-1].replace("/", "\\/").encode()
        case "escaped":
            return "".join(f"\\u{ord(c):04x}" for c in key).encode()
        case "upper":
            return "".join(f"\\u{ord(c):04X}" for c in key).encode()
        case "mixed":
            forms = [lambda c: json.dumps(c)[1:-1], lambda c: f"\\u{ord(c):04x}", lambda c: f"\\u{ord(c):04X}"]
            return "".join(chance.choice(forms)(c) for c in key).encode()
        case "nested":
            inner = "".join(f"\\u{ord(c):04x}" for c in key)
            return inner.replace("\\", "\\\\").encode()
        case _:
            return "".join(f"%{ord(c):02X}" for c in key).encode()


WAYS = ("literal", "json", "slashes", "escaped", "upper", "mixed", "nested", "percent")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", [KEY, PLAIN])
def test_key_is_masked_however_it_is_written(key: str, way: str) -> None:
    """As it is, escaped as JSON allows, in JSON within JSON, in a URL: nothing of it stays."""
    text = b'{"error": "Incorrect API key: %s, see \\u00e9 100%%"}'
    for seed in range(20):
        found = Mask([f"Bearer {key}"]).masked(text % written(key, way, seed))
        assert found == text % b"***", found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", [KEY, PLAIN])
def test_key_is_masked_across_pieces(key: str, way: str) -> None:
    """However a stream is cut, the client gets what it would have got in one piece."""
    text = b"data: {%s\n\ndata: sk-%s" % (written(key, way, 7), written(key, way, 8))
    whole = Mask([key]).masked(text)
    assert whole == b"data: {***\n\ndata: sk-***"
    for size in range(1, len(text)):
        mask = Mask([key])
        out = [mask.feed(text[at : at + size]) for at in range(0, len(text), size)]
        assert b"".join((*out, mask.rest())) == whole


@given(
    st.lists(st.sampled_from([b"s", b"sk", b"sk-proj", b"\\", b"\\u00", b"73", b"%", b"\n", b"\xff", b"words ", b"/A"]))
)
def test_what_is_no_key_passes_unchanged(pieces: list[bytes]) -> None:
    """Beginnings of a key, escapes and bytes of any kind are given as they came, at the latest at the end."""
    mask = Mask([KEY])
    assert b"".join([mask.feed(piece) for piece in pieces] + [mask.rest()]) == b"".join(pieces)


@pytest.mark.parametrize("end", [b"\n\n", b"}", b"]\r\n", b'"', b"."])
def test_nothing_is_kept_back_at_the_end_of_an_event(end: bytes) -> None:
    """A stream is not delayed: what cannot be the beginning of a key goes at once."""
    assert Mask([PLAIN]).feed(b"data: AIza" + end) == b"data: AIza" + end


def test_only_the_bytes_that_may_begin_a_key_are_kept_back() -> None:
    """All before them goes at once."""
    mask = Mask([PLAIN])
    assert mask.feed(b"words AIzaSy") == b"words "
    assert mask.feed(b"D words \\u004") == b"AIzaSyD words "
    assert mask.rest() == b"\\u004"


def test_short_credential_is_not_looked_for() -> None:
    """What is no key of a provider may stand in any text."""
    assert Mask(["Bearer words"]).masked(b"words") == b"words"


def test_several_credentials_are_each_masked() -> None:
    """Every header that holds a key counts."""
    assert Mask([KEY, f"Bearer {PLAIN}"]).masked(f"{PLAIN} {KEY}".encode()) == b"*** ***"


def test_encoded_key_is_another_text() -> None:
    """What only holds the key encoded as a whole is not looked for: this states the contract's end."""
    text = base64.b64encode(PLAIN.encode())
    assert Mask([PLAIN]).masked(text) == text


def reference(key: str) -> re.Pattern[bytes]:
    """Give a pattern of a key in all ways in which it may be written: what masking means, at any price."""
    ways = []
    for sign in key.encode():
        digits = b"".join(b"[%c%c]" % (ord(one.lower()), ord(one.upper())) for one in f"{sign:02x}")
        plain = re.escape(bytes((sign,)))
        escaped = rb"|\\{1,8}" + plain if sign in b'/"\\' else b""
        ways.append(rb"(?:\\{1,8}u00" + digits + b"|%" + digits + escaped + b"|" + plain + b")")
    return re.compile(b"".join(ways))


KEYS = ("abababab", "aaaaaaab", "0041004100", "41414141", "u0041u0041", "aabaabaabaaab", "sk-proj-x")


@given(
    st.sampled_from(KEYS),
    st.lists(
        st.sampled_from(
            [
                *("a", "b", "ab", "aab", "\\u0061", "\\\\u0062", "%61", "%62", "\\u0041", "%41", "4", "1", "00", "u"),
                *("\\", "%", "\\" * 9, "u00", *KEYS, *(key[:-1] for key in KEYS), *(key[1:] for key in KEYS), "\n"),
            ]
        ),
        max_size=30,
    ),
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
@example("abababab", ["ab"] * 30, [1])
@example("aaaaaaab", ["a"] * 20, [1])
@example("41414141", ["\\u0041", "41414141"], [3])
def test_key_that_repeats_itself_is_masked_as_any_other(key: str, pieces: list[str], sizes: list[int]) -> None:
    """Whatever is nearly the key, and wherever escapes begin or end, whole and in pieces of any sizes."""
    text = "".join(pieces).encode()
    expected = reference(key).sub(b"***", text)
    assert Mask([key]).masked(text) == expected
    mask, out, at = Mask([key]), b"", 0
    for size in itertools.cycle(sizes):
        if at >= len(text):
            break
        out += mask.feed(text[at : at + size])
        at += size
    assert out + mask.rest() == expected


def lines_of(work: Callable[[], object]) -> int:
    """Count the lines of code that are run."""
    count = 0

    def trace(_frame: object, event: str, _given: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def fed(key: str, text: bytes, size: int) -> None:
    """Have a stream masked in pieces."""
    mask = Mask([key])
    for at in range(0, len(text), size):
        mask.feed(text[at : at + size])


PERIODIC = {
    "plain": b"ab",
    "escaped": b"a\\u0062",
    "nested": b"a" + b"\\" * 8 + b"u0062",
    "url": b"%61%62",
    "backslashes": b"\\" * 16,
}


LINES_MAX = 300
"""Of code for a byte of a text; each of nine backslashes may be one of an escape of any length."""


@pytest.mark.parametrize("times", [64, 512])
@pytest.mark.parametrize("size", [1, 100, 8192])
@pytest.mark.parametrize("way", PERIODIC)
def test_work_grows_as_the_text_does_and_not_as_a_key_that_repeats_itself(way: str, size: int, times: int) -> None:
    """A key of any length, and a text that begins it at each of its places, in pieces of any size."""
    text = PERIODIC[way] * (8192 // len(PERIODIC[way]))
    key = ("\\\\" if way == "backslashes" else "ab") * times + "c"
    assert lines_of(lambda: fed(key, text, size)) < LINES_MAX * len(text)


@pytest.mark.parametrize("way", PERIODIC)
def test_a_long_key_takes_little_more_than_a_short_one(way: str) -> None:
    """What is no line of code here counts too, as the searches of patterns; sixteen times the key is no such price."""
    text = PERIODIC[way] * (16_384 // len(PERIODIC[way]))

    def took_s(times: int) -> float:
        key = ("\\\\" if way == "backslashes" else "ab") * times + "c"
        fed(key, text, 8192)
        rounds = []
        for _ in range(3):
            began = time.thread_time()
            fed(key, text, 8192)
            rounds.append(time.thread_time() - began)
        return min(rounds)

    assert took_s(1024) < 6 * took_s(64)


@pytest.mark.parametrize("text", [rb"x\n", rb"\"\\", rb"A", b"%41", rb"a\u0"], ids=repr)
def test_text_full_of_other_escapes_is_not_walked_through(text: bytes) -> None:
    """Only the end of each piece is looked at, where a key might begin."""
    text = text * (200_000 // len(text))
    assert lines_of(lambda: fed("sk-proj-n2", text, 20_000)) < len(text) / 5
