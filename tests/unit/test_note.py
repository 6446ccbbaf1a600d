"""Keys in the notation of C2SP signed notes."""

from __future__ import annotations

import base64

import pytest

from reconciler.tlog.note import generate, parse_secret, parse_vkey

# The key pair of golang.org/x/mod/sumdb/note's own documentation.
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_key_of_the_go_implementation_reads_the_same() -> None:
    """A signing key made by Go's note package gives the verifier key that Go gives."""
    assert parse_secret(GO_SECRET).vkey == GO_VKEY
    assert str(parse_vkey(GO_VKEY)) == GO_VKEY


def test_generated_key_reads_back() -> None:
    """A new key's two texts belong together, and no two keys are the same."""
    pair = generate("example.com/log")
    assert parse_secret(pair.secret) == pair
    assert parse_vkey(pair.vkey).name == "example.com/log"
    assert generate("example.com/log") != pair
    assert pair.secret not in repr(pair)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2028b"])
def test_generate_refuses_names_that_a_note_cannot_carry(name: str) -> None:
    """A name has no spaces, no plus, no control characters."""
    with pytest.raises(ValueError, match="cannot name"):
        generate(name)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a+b", GO_VKEY.replace("c74f", "c74e"), GO_VKEY[:-4], GO_VKEY.lower(), GO_VKEY + "!",
        "x+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode(),
    ],
)  # fmt: skip
def test_parse_refuses_keys_that_do_not_hold_together(text: str) -> None:
    """A wrong hash, length, algorithm or notation is refused, and the error never quotes a signing key."""
    with pytest.raises(ValueError):  # noqa: PT011
        parse_vkey(text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_secret("PRIVATE+KEY+" + text)
    assert len(text) < 9 or text not in str(caught.value)
