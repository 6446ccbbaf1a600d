"""How many bytes a body may become on the provider's side, before its tokenizer sees it.

A byte-level tokenizer makes no more tokens than there are bytes, but of the text that it gets. Many normalize it first
(NFC as Qwen's, NFKC as the published one of Claude's): U+FDFA, 3 bytes, becomes 33. And what is no text (definitions of
tools, schemas, arguments) is written into the prompt anew, with blanks behind its commas and colons, as TypeScript with
comments (harmony, of gpt-oss), its numbers in full: `1e15` becomes `1000000000000000.0`. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from mmap import mmap
from typing import Final

BLOCK_BYTES: Final = 256 * 1024
_CUT_BYTES: Final = 64
"""What normalizing a text in two parts may make less of it."""
_NUMBER_BYTES: Final = 22
"""What a number with an exponent may become: 21 digits and a dot (ECMAScript)."""
_TIMES: Final = 3
"""A text whose signs may become so many times as long, each for itself, is not normalized: that would take too long."""
_MARKS_MAX: Final = 30
"""Marks in a row that are normalized: the time to put them in order grows with the square. UAX #15 has the number."""

_ESCAPES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}")
_POWERS = re.compile(rb"[\[,:\s]-?(?:[0-9]+(?:\.[0-9]+)?[eE]|[0-9]{16,}\.)")
_BLANKS = re.compile(rb"\\[tnr]")
_SIGNS = re.compile(rb"\\u00([2-7][0-9a-fA-F])")


def normalized(raw: bytes | memoryview | mmap) -> int:
    """Give the size of a JSON text, in bytes of UTF-8, in the longest of its usual normal forms. It has to be UTF-8."""
    if len(raw) <= BLOCK_BYTES:
        return _normalized(bytes(raw))
    return sum(_normalized(block) + _CUT_BYTES for block in _blocks(memoryview(raw)))


def rendered(raw: bytes) -> int:
    """Give how many bytes a JSON text may grow by when it is written anew, also where it stands in a string of JSON."""
    lines = raw.count(b"\\n")
    if b"\\" in raw:
        raw = _SIGNS.sub(_sign, _BLANKS.sub(b" ", raw))
    return 2 * raw.count(b",") + raw.count(b":") + 2 * lines + _NUMBER_BYTES * len(_POWERS.findall(raw))


def _sign(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode())


def _normalized(raw: bytes) -> int:
    escaped = b"\\u" in raw
    if raw.isascii() and not escaped:
        return len(raw)
    text = raw.decode()
    if escaped:
        text = _ESCAPES.sub(lambda match: _character(match[0]), text)
    if unicodedata.is_normalized("NFKD", text):  # which looks at each sign once, and nothing is longer
        return len(raw)
    signs = Counter(text)
    grown = [(_grows(sign), count) for sign, count in signs.items() if sign > "\x7f"]
    most = len(raw) + sum(bytes_more * count for bytes_more, count in grown)
    if most == len(raw):
        return most
    if most > _TIMES * len(raw) or _has_many_marks(text, signs):
        return most
    forms = (unicodedata.normalize(form, text) for form in ("NFC", "NFKC"))
    return max(len(raw), *(len(form.encode(errors="surrogatepass")) for form in forms))


@lru_cache(32 * 1024)
def _grows(sign: str) -> int:
    """Say by how many bytes a sign grows when it is taken apart (NFKD). To put signs together makes none longer."""
    if unicodedata.is_normalized("NFKD", sign):
        return 0
    return max(0, len(unicodedata.normalize("NFKD", sign).encode()) - len(sign.encode()))


def _has_many_marks(text: str, signs: Counter[str]) -> bool:
    marks = [sign for sign in signs if sign > "\x7f" and unicodedata.combining(unicodedata.normalize("NFKD", sign)[0])]
    if sum(signs[mark] for mark in marks) <= _MARKS_MAX:
        return False
    return re.search(f"[{''.join(map(re.escape, marks))}]{{{_MARKS_MAX + 1}}}", text) is not None


@lru_cache(4096)
def _character(escape: str) -> str:
    """Give what one escape, or the two of a pair, stands for."""
    units = bytes.fromhex("".join(escape.split("\\u")))
    return units.decode("utf-16-be", errors="surrogatepass")


def _blocks(raw: memoryview) -> Iterator[bytes]:
    """Cut text into blocks that end with a whole character, and in front of an escape rather than within one."""
    start = 0
    while start < len(raw):
        block = bytes(raw[start : start + BLOCK_BYTES])
        if start + BLOCK_BYTES < len(raw):
            end = len(block)
            while raw[start + end] & 0xC0 == 0x80:
                end -= 1
            escape = block.rfind(b"\\", end - 12, end)
            block = block[: escape if escape >= 0 else end]
        yield block
        start += len(block)
