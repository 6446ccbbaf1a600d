"""Checkpoints in the notation of C2SP tlog-checkpoint and signed-note."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.tlog.merkle import leaf_hash
from reconciler.tlog.note import generate, parse_vkey
from reconciler.tlog.signed_checkpoint import Checkpoint, read, sign, verify

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
