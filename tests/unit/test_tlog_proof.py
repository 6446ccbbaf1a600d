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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c2sp.org/tlog-proof@v1\nindex 2\n", "a proof begins with c2sp.org/tlog-proof@v1"),
        ("index 2\n\nx", "a proof begins with c2sp.org/tlog-proof@v1"),
        ("c2sp.org/tlog-proof@v1\n\nx", "a proof has a line: index POSITION"),
        ("c2sp.org/tlog-proof@v1\n2\n\nx", "a proof has a line: index POSITION"),
        ("c2sp.org/tlog-proof@v1\nindex \n\nx", "a proof has a line: index POSITION"),
        ("c2sp.org/tlog-proof@v1\nindex ²\n\nx", "a proof has a line: index POSITION"),
        ("c2sp.org/tlog-proof@v1\nindex 02\n\nx", "a proof has a line: index POSITION"),
        ("c2sp.org/tlog-proof@v1\nextra AAAA\n\nx", "a proof has a line: index POSITION"),
        ("c2sp.org/tlog-proof@v1\nindex 2\nAA!AA\n\nx", "the steps of a proof are base64"),
    ],
)
def test_refusal_of_a_proof_says_what_is_wrong_with_it(text: str, message: str) -> None:
    """The first line, the position, a step."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse(text)


def test_extra_data_is_the_second_line_and_no_other() -> None:
    """A proof of one line has none, and what stands elsewhere is none; what is no base64 is said so."""
    assert extra_data("c2sp.org/tlog-proof@v1") == b""
    assert extra_data("c2sp.org/tlog-proof@v1\nindex 2\nextra AAAA\n") == b""
    assert extra_data("c2sp.org/tlog-proof@v1\nextra AAAA") == bytes(3)
    with pytest.raises(ValueError, match=r"^the extra data of a proof is base64$"):
        extra_data("c2sp.org/tlog-proof@v1\nextra AA!AA\n")
