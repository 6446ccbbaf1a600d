"""Checkpoints in the notation of C2SP tlog-checkpoint and signed-note."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.tlog.merkle import leaf_hash
from reconciler.tlog.note import generate, parse_vkey
from reconciler.tlog.signed_checkpoint import NOTE_BYTES_MAX, Checkpoint, read, sign, verify

PAIR = generate("example.com/log")
KEY = parse_vkey(PAIR.vkey)
CHECKPOINT = Checkpoint("example.com/log", 20852163, leaf_hash(b"root"))
NOTE = sign(CHECKPOINT, PAIR.secret).encode()
# The note of golang.org/x/mod/sumdb/note's own documentation, and who signed it.
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"


def test_signed_checkpoint_reads_back() -> None:
    """What was signed verifies under the key, and has the three lines and one signature of the specification."""
    assert verify(NOTE, KEY) == read(NOTE) == CHECKPOINT
    lines = NOTE.decode().split("\n")
    assert lines[:2] == ["example.com/log", "20852163"]
    assert base64.b64decode(lines[2]) == CHECKPOINT.root
    assert lines[3] == ""
    assert lines[4].startswith("— example.com/log ")
    assert lines[5:] == [""]


def test_unknown_signatures_are_ignored() -> None:
    """A witness may sign below; without the log's own signature the note is worth nothing."""
    stranger = base64.b64encode(b"abcd" + bytes(64)).decode()
    both = NOTE + f"— witness.example {stranger}\n".encode()
    assert verify(both, KEY) == CHECKPOINT
    alone = CHECKPOINT.text() + f"\n— witness.example {stranger}\n"
    with pytest.raises(ValueError, match="not signed by"):
        verify(alone.encode(), KEY)


def test_another_key_of_the_same_name_is_refused() -> None:
    """Signing again with another key of the log's name does not pass, nor does a key of another name sign at all."""
    with pytest.raises(ValueError, match="not signed by"):
        verify(sign(CHECKPOINT, generate("example.com/log").secret).encode(), KEY)
    with pytest.raises(ValueError, match="cannot sign for"):
        sign(CHECKPOINT, GO_SECRET)
    with pytest.raises(ValueError, match="a checkpoint of PeterNeumann"):
        verify(sign(CHECKPOINT._replace(origin="PeterNeumann"), GO_SECRET).encode(), KEY)


@given(st.integers(0, len(NOTE) - 1), st.integers(0, 7))
def test_flipped_bit_is_noticed(at: int, bit: int) -> None:
    """No bit of a note can change."""
    changed = bytearray(NOTE)
    changed[at] ^= 1 << bit
    with pytest.raises(ValueError):  # noqa: PT011
        verify(bytes(changed), KEY)


@given(st.binary(max_size=300))
def test_garbage_is_no_checkpoint(data: bytes) -> None:
    """Whatever the bytes, reading ends with ValueError and nothing else."""
    with pytest.raises(ValueError):  # noqa: PT011
        read(data)


@pytest.mark.parametrize(
    "text",
    [
        "example.com/log\n01\nROOT\n", "example.com/log\n-1\nROOT\n", "example.com/log\n1 \nROOT\n",
        "example.com/log\n1\nAAAA\n", "\n1\nROOT\n", "example.com/log\n1\n", "example.com/log\n1\nROOT\nmore\n",
        "example.com/log\n" + "9" * 30 + "\nROOT\n", "example.com/log\r\n1\nROOT\n", "example.com/log\n²\nROOT\n",
    ],
)  # fmt: skip
def test_texts_that_are_no_checkpoint_are_refused(text: str) -> None:
    """Sizes with zeros in front, short roots, missing, further or empty lines are no checkpoint."""
    root = base64.b64encode(CHECKPOINT.root).decode()
    with pytest.raises(ValueError):  # noqa: PT011
        read((text.replace("ROOT", root) + "\n" + NOTE.decode().split("\n")[4] + "\n").encode())


SIGNED = NOTE.decode().split("\n")[4]
ROOT = base64.b64encode(CHECKPOINT.root).decode()


def noted(body: str, *signatures: str) -> bytes:
    return (body.replace("ROOT", ROOT) + "\n" + "".join(f"{each}\n" for each in signatures or (SIGNED,))).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"x" * (NOTE_BYTES_MAX + 1), f"it has {NOTE_BYTES_MAX + 1} bytes, a checkpoint at most {NOTE_BYTES_MAX}"),
        (b"\xff", "it is no UTF-8 text"),
        (b"a\x1f\n", "it has control characters"),
        (b"a\n1\n", "it is no signed note: text, an empty line, signatures"),
        (NOTE[:-1], "it is no signed note: text, an empty line, signatures"),
        (noted("a\n1\n"), "a checkpoint has three lines: origin, size, root"),
        (noted("\n1\nROOT\n"), "a checkpoint has three lines: origin, size, root"),
        (noted("a\n01\nROOT\n"), "'01' is no size"),
        (noted("a\n²\nROOT\n"), "'²' is no size"),
        (noted("a\n-1\nROOT\n"), "'-1' is no size"),
        (noted(f"a\n{'9' * 41}\nROOT\n"), f"'{'9' * 40}' is no size"),
        (noted(f"a\n{'9' * 20}\nROOT\n"), f"'{'9' * 20}' is no size"),
        (noted("a\n1\nROOT\nmore\n"), "it has extension lines, which no checkpoint of Pai has"),
        (noted("a\n1\nAAAA\n"), "its root is no SHA-256 hash"),
        (noted("a\n1\nAAB=\n"), "'AAB=' is not base64"),
        (noted(f"a\n1\n{'!' * 61}\n"), f"'{'!' * 60}' is not base64"),
        (noted("a\n1\nROOT\n", "-x AAAAAAA="), "a signature line reads: — NAME BASE64"),
        (noted("a\n1\nROOT\n", "—  AAAAAAA="), "a signature line reads: — NAME BASE64"),
        (noted("a\n1\nROOT\n", "— x AAAAAA=="), "a signature line reads: — NAME BASE64"),
        (noted("a\n1\nROOT\n", "— x y AAAAAAA="), "'y AAAAAAA=' is not base64"),
        (noted("a\n\n1\nROOT\n"), "a checkpoint has three lines: origin, size, root"),
    ],
)
def test_refusal_of_a_checkpoint_says_what_is_wrong_with_it(text: bytes, message: str) -> None:
    """Part by part, from the whole to the signatures."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read(text)


def test_largest_and_smallest_checkpoints_are_read() -> None:
    """Nothing in it, 19 digits, the longest note, the shortest signature."""
    assert read(noted("a\n0\nROOT\n", "— x AAAAAAA=")) == Checkpoint("a", 0, CHECKPOINT.root)
    assert read(noted(f"a\n{'9' * 19}\nROOT\n")).size == 10**19 - 1
    origin = "o" * (NOTE_BYTES_MAX - len(noted("\n1\nROOT\n")))
    assert len(noted(f"{origin}\n1\nROOT\n")) == NOTE_BYTES_MAX
    assert read(noted(f"{origin}\n1\nROOT\n")).origin == origin


def test_note_says_whose_it_is_not() -> None:
    """Another log's, another key's, or a signature that was taken from another checkpoint."""
    other = CHECKPOINT._replace(origin="example.org/log")
    with pytest.raises(ValueError, match=r"^it is a checkpoint of example\.org/log, not of example\.com/log$"):
        verify(noted(other.text(), SIGNED), KEY)
    with pytest.raises(ValueError, match=r"^the key of example\.com/log cannot sign for example\.org/log$"):
        sign(other, PAIR.secret)
    with pytest.raises(ValueError, match=f"^it is not signed by the key example\\.com/log\\+{KEY.key_id.hex()}$"):
        verify(noted(CHECKPOINT.text(), SIGNED.replace("example.com/log", "example.com/gol")), KEY)
    with pytest.raises(ValueError, match=r"^its signature does not hold$"):
        verify(noted(CHECKPOINT._replace(size=1).text()), KEY)
    bad = base64.b64encode(KEY.key_id + bytes(64)).decode()
    with pytest.raises(ValueError, match=r"^its signature does not hold$"):  # also if another one of the key does
        verify(noted(CHECKPOINT.text(), SIGNED, f"— example.com/log {bad}"), KEY)
