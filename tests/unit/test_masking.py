"""The provider's key in what a provider answers: masked however it is written and however the answer is cut."""

from __future__ import annotations

import base64
import json
import random

import pytest
from hypothesis import given
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
