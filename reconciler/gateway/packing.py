"""JSON texts of which the strings take no more memory than the text, whatever stands in them.

One sign outside the BMP makes a Python string four bytes a character. Where that would make a large text much larger,
it is packed first: each byte of its UTF-8 becomes a character of its own, of one byte. What is ASCII stays as it is, so
names, types and base64 read as before; what is not is as long as it is in UTF-8, and `plain_bytes` gives it back. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from mmap import mmap
from typing import Any, Final

import msgspec

from reconciler.gateway.growth import BLOCK_BYTES, blocks

PACKED_BYTES_MIN: Final = 4 * 1024 * 1024
"""What is smaller is decoded as it is: there are few at once."""
_TIMES: Final = 2.5
"""What strings may take of a text. Packing takes up to twice a text besides, the more the fewer its ASCII."""
_WIDE: Final = 4
_ESCAPE_BYTES: Final = len(rb"\u0000")
_FIRSTS: Final = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
"""Bytes with which signs outside the BMP begin, and how their escapes do."""
_HALF_ESCAPES: Final = (b"\\ud", b"\\uD")
_ESCAPES: Final = re.compile(rb"\\(?:(\\)|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")
"""A backslash that stands for itself, a pair, and any other sign. What all begin with is found quickly."""
_ASCII: Final = 0x80
_HALVES: Final = range(0xD800, 0xE000)


def packed(raw: Any) -> memoryview | None:
    """Write a JSON text in UTF-8 so that each byte is a character; None if its strings take little as it is."""
    text = memoryview(raw)
    if len(text) < PACKED_BYTES_MIN or not _takes_much(text):
        return None
    out, size = mmap(-1, 2 * len(text)), 0  # of which only what is written takes memory, and leaves no hole behind
    for block in blocks(text):
        piece = _packed(block)
        out[size : size + len(piece)] = piece
        size += len(piece)
    return memoryview(out)[:size]


def plain_bytes(value: Any, *, is_packed: bool) -> Iterator[bytes]:
    """Give the UTF-8 of a text, or of a value's JSON, in blocks that may end within a character."""
    if not isinstance(value, str):
        for block in blocks(msgspec.json.encode(value)):
            yield block.decode().encode("latin-1") if is_packed else block
        return
    for at in range(0, len(value), BLOCK_BYTES):
        part = value[at : at + BLOCK_BYTES]
        yield part.encode("latin-1") if is_packed else part.encode(errors="surrogatepass")


def _takes_much(text: memoryview) -> bool:
    if not any(map(_is_wide, blocks(text))):
        return False
    signs = sum(len(block.decode()) - (_ESCAPE_BYTES - 1) * block.count(b"\\u") for block in blocks(text))
    return _WIDE * signs > _TIMES * len(text)


def _is_wide(block: bytes) -> bool:
    if not block.isascii() and any(first in block for first in _FIRSTS):
        return True
    return b"\\" in block and any(half in block for half in _HALF_ESCAPES)


def _packed(block: bytes) -> bytes:
    if b"\\u" in block:
        block = _ESCAPES.sub(_sign, block)
    return block if block.isascii() else block.decode("latin-1").encode()


def _sign(match: re.Match[bytes]) -> bytes:
    """Write a sign as it is; ASCII, which may be a quote, and half a pair, which is refused, stay escaped."""
    escape = match[0]
    if match[1]:
        return escape
    if len(escape) > _ESCAPE_BYTES:
        high, low = int(escape[2:6], 16), int(escape[8:], 16)
        return chr(0x10000 + ((high & 0x3FF) << 10 | low & 0x3FF)).encode()
    code = int(escape[2:], 16)
    return escape if code < _ASCII or code in _HALVES else chr(code).encode()
