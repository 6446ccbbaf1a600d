"""Keys of agents: what one looks like, and what is kept of it."""

from __future__ import annotations

import hashlib

import pytest

from reconciler.core.keys import ID_BYTES, KEY_BYTES, digest, looks_like_key, make_id, make_key, masked

KEY = "pak_" + "_-" * 21 + "A"


def test_key_is_its_bytes_in_base64url() -> None:
    """All bits are in it, and no sign that a header or a shell takes for something else."""
    assert make_key(bytes(KEY_BYTES)) == "pak_" + "A" * 43
    assert make_key(b"\xff" * KEY_BYTES) == "pak_" + "_" * 42 + "8"
    assert looks_like_key(make_key(bytes(range(KEY_BYTES))))


def test_id_is_a_label_in_lower_case() -> None:
    """Its bytes in base32, without the signs that fill it up."""
    assert make_id(bytes(ID_BYTES)) == "key-" + "a" * 12
    assert make_id(b"\xff" * ID_BYTES) == "key-" + "7" * 11 + "q"


@pytest.mark.parametrize("make", [make_key, make_id])
def test_too_little_randomness_is_a_bug(make: object) -> None:
    """A key of fewer bits is never made."""
    with pytest.raises(AssertionError):
        make(b"short")  # type: ignore[operator]


@pytest.mark.parametrize(("text", "is_one"), [(KEY, True), (KEY[:-1], False), (KEY + "A", False), ("x" + KEY, False)])
def test_key_is_recognised_by_its_form(text: str, is_one: bool) -> None:
    """The whole text is the key."""
    assert looks_like_key(text) is is_one


def test_text_is_shown_without_the_keys_in_it() -> None:
    """Also mistyped ones; what is too short for one stays."""
    assert masked(f"a {KEY}, b {KEY[:12]} c pak_1234567") == "a pak_***, b pak_*** c pak_1234567"


def test_digest_is_that_of_the_bytes_that_came() -> None:
    """A header may hold bytes that are no UTF-8; it has a digest all the same."""
    assert digest(KEY) == hashlib.sha256(KEY.encode()).hexdigest()
    assert digest("ü\udcff") == hashlib.sha256("ü".encode() + b"\xff").hexdigest()
