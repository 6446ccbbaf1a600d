"""A body that is looked at block by block is judged as if it were one."""

from __future__ import annotations

import json

import pytest

from reconciler.gateway.body import Body
from reconciler.gateway.growth import BLOCK_BYTES, blocks
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.spool import Spool


def read(text: str | bytes) -> Body:
    """Read a body as a large one is."""
    spool = Spool()
    spool.add(text.encode() if isinstance(text, str) else text)
    try:
        return Body(spool.mapped())
    finally:
        spool.close()


@pytest.mark.parametrize("unit", ["\\", '"', '\\"{,:[', "ü", "😀", "a"])
@pytest.mark.parametrize("shift", range(7))
def test_signs_at_the_border_of_a_block_are_what_they_are(unit: str, shift: int) -> None:
    """Wherever a block ends, also within an escape or a letter, strings stay strings and names are counted."""
    value = ["x" * shift, unit * (2 * BLOCK_BYTES // len(unit.encode())), {"name": 1}]
    body = read(json.dumps({"input": value, "model": "a"}, ensure_ascii=False))
    assert body.get("input") == value
    assert body.text("model") == "a"


@pytest.mark.parametrize("unit", ["\\\\", "\\n", "\\u00fc", "\\\\u00fc", "😀", "\\n😀"])
@pytest.mark.parametrize("shift", range(13))
def test_block_ends_with_a_whole_sign(unit: str, shift: int) -> None:
    """Neither within an escape nor within a character, and every byte comes."""
    text = b"x" * shift + unit.encode() * (3 * BLOCK_BYTES // len(unit.encode()))
    found = list(blocks(text))
    assert b"".join(found) == text
    assert {len(block) for block in found[:-1]} <= set(range(BLOCK_BYTES - 15, BLOCK_BYTES + 1))
    for block in found:
        json.loads(b'"' + block + b'"')


@pytest.mark.parametrize("byte", [b"\x80", b"\xff", b"\\"])
def test_blocks_of_what_is_no_text_have_every_byte(byte: bytes) -> None:
    """And end where they may, though no character does."""
    text = byte * (3 * BLOCK_BYTES + 1)
    assert b"".join(blocks(text)) == text


@pytest.mark.parametrize("shift", range(3))
def test_name_that_stands_twice_far_apart_is_found(shift: int) -> None:
    """Of two values for one name a reader may take either, however much is between them."""
    between = json.dumps("\\" * (BLOCK_BYTES + shift))
    body = read(f'{{"input": [{{"type": "a", "text": {between}, "type": "b"}}]}}')
    with pytest.raises(Refusal, match="twice"):
        body.get("input")


@pytest.mark.parametrize("shift", range(4))
def test_letter_that_is_cut_off_is_no_text(shift: int) -> None:
    """Half a letter is refused, at the end of a block and within it."""
    with pytest.raises(Refusal, match="UTF-8"):
        read(b'{"input": "' + b"a" * (BLOCK_BYTES - 11 - shift) + "😀".encode()[:3] + b'"}')


def test_large_body_is_written_anew_whole() -> None:
    """What was not changed stays the client's own bytes."""
    text = '{"model":"a","input":"%s","n":1}' % ("\\u00fc" * BLOCK_BYTES)
    assert read(text).written(model="b") == text.replace('"a"', '"b"').encode()


def test_spool_gives_what_was_added_and_says_once_that_it_ended() -> None:
    """Bytes come back in order and in pieces; closing twice is closing once."""
    spool, closed = Spool(), []
    spool.on_close = lambda: closed.append(1)
    for number in range(5):
        spool.add(bytes([number]) * 100_000)
    assert b"".join(spool.pieces()) == b"".join(bytes([number]) * 100_000 for number in range(5))
    spool.close()
    spool.close()
    assert closed == [1]
