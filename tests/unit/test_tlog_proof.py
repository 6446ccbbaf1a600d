"""Proofs in the notation of C2SP tlog-proof."""

from __future__ import annotations

import pytest

from reconciler.tlog.tlog_proof import Proof, extra_data, parse, write

NOTE = b"example.com/log\n3\nAAAA\n\n\xe2\x80\x94 example.com/log BBBB\n"
PROOF = Proof(2, [b"\x01" * 32, b"\x02" * 32], NOTE)


@pytest.mark.parametrize("proof", [PROOF, Proof(0, [], NOTE)])
def test_proof_reads_back(proof: Proof) -> None:
    """What was written is read again, the checkpoint byte by byte, also for the only event of a log."""
    text = write(proof)
    assert text.startswith(f"c2sp.org/tlog-proof@v1\nindex {proof.position}\n")
    assert parse(text) == proof


def test_extra_data_is_passed_over() -> None:
    """Another program may put opaque data into the second line."""
    assert parse(write(PROOF).replace("\nindex", "\nextra AAAA\nindex", 1)) == PROOF


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v1", "v2"),
        ("index 2", "index 02"),
        ("index 2", "index -2"),
        ("index 2\n", ""),
        ("\n\n", "\n"),
        ("AQEB", "!QEB"),
    ],
)
def test_what_is_no_proof_is_refused(old: str, new: str) -> None:
    """Another version, a position that is none, a step that is no base64, or no checkpoint at all."""
    with pytest.raises(ValueError, match=r"proof|base64"):
        parse(write(PROOF).replace(old, new))


def test_extra_data_is_given_to_whoever_asks() -> None:
    """A proof may bring its event along; without one there is none, and what is no base64 is refused."""
    assert extra_data(write(PROOF, b"the event")) == b"the event"
    assert parse(write(PROOF, b"the event")) == PROOF
    assert extra_data(write(PROOF)) == b""
    with pytest.raises(ValueError, match="base64"):
        extra_data(write(PROOF, b"the event").replace("extra ", "extra !"))
