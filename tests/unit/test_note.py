"""Keys in the notation of C2SP signed notes."""

from __future__ import annotations

import base64
import re

import pytest

from reconciler.tlog.note import generate, parse_secret, parse_vkey, sign, signed_by

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


def keyed(data: bytes, name: str = "x", key_id: str = "00000000") -> str:
    return f"{name}+{key_id}+{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x+00000000", "a key reads name+hash+base64"),
        (keyed(b"\x01" + bytes(32), name=""), "a key reads name+hash+base64"),
        (keyed(b"\x01" + bytes(32), key_id="000000"), "a key reads name+hash+base64"),
        (keyed(b"\x01" + bytes(32), key_id="0000000z"), "a key reads name+hash+base64"),
        (keyed(b"\x01" + bytes(32))[:-4] + "!!!!", "a key reads name+hash+base64"),
        (keyed(b"\x02" + bytes(32)), "the {} key is not an Ed25519 key"),
        (keyed(b"\x01" + bytes(31)), "the {} key is not an Ed25519 key"),
        (keyed(b"\x01" + bytes(33)), "the {} key is not an Ed25519 key"),
        (keyed(b"\x01" + bytes(32)), "the {} key's hash does not match"),
    ],
)
def test_refusal_of_a_key_says_what_is_wrong_with_it(text: str, message: str) -> None:
    """Whoever copied it by hand is told which part is bad, for both kinds of keys in the same words."""
    with pytest.raises(ValueError, match=f"^{re.escape(message.format('verifier'))}$"):
        parse_vkey(text)
    with pytest.raises(ValueError, match=f"^{re.escape(message.format('signing'))}$"):
        parse_secret(f"PRIVATE+KEY+{text}")


def test_verifier_key_is_no_signing_key() -> None:
    """The two are easily taken for each other."""
    with pytest.raises(ValueError, match=r"^this is no signing key$"):
        parse_secret(GO_VKEY)


def test_space_around_a_key_is_no_part_of_it() -> None:
    """Files end with a line break."""
    assert str(parse_vkey(f" {GO_VKEY}\n")) == GO_VKEY


def test_signature_is_the_keys_over_the_text_alone() -> None:
    """Another text, or another key, is noticed; the key's id stands before the signature."""
    key = parse_vkey(GO_VKEY)
    signature = sign(GO_SECRET, b"text")
    assert (signature[:4], len(signature)) == (key.key_id, 68)
    assert signed_by(key, b"text", signature[4:])
    assert not signed_by(key, b"other", signature[4:])
    assert not signed_by(parse_vkey(generate("PeterNeumann").vkey), b"text", signature[4:])
