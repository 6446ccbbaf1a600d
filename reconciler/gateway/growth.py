"""How many bytes a body may become on the provider's side, before its tokenizer sees it.

A byte-level tokenizer makes no more tokens than there are bytes, but of the text that it gets. Many normalize it first
(NFC as Qwen's, NFKC as the published one of Claude's): U+FDFA, 3 bytes, becomes 33. And what is no text (definitions of
tools, schemas, arguments) is written into the prompt anew, with blanks behind its commas and colons, as TypeScript with
comments (harmony, of gpt-oss), its numbers in full: `1e15` becomes `1000000000000000.0`. Pure.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from mmap import mmap
from typing import Final

BLOCK_BYTES: Final = 256 * 1024
_CUT_BYTES: Final = 64
"""What normalizing a text in two parts may make less of it."""
_NUMBER_BYTES: Final = 22
"""What a number with an exponent may become: 21 digits and a dot (ECMAScript)."""

_ESCAPES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}")
_SHRINKING = re.compile("[\u3000\uff01-\uff5e\u2026\u00a0\u2122]")
"""Signs of usual texts that only become shorter, and plain: they say nothing about the rest."""
_POWERS = re.compile(rb"[\[,:\s]-?[0-9]+(?:\.[0-9]+)?[eE]")


def normalized(raw: bytes | memoryview | mmap) -> int:
    """Give the size of a JSON text, in bytes of UTF-8, in the longest of its usual normal forms. It has to be UTF-8."""
    if len(raw) <= BLOCK_BYTES:
        return _normalized(bytes(raw))
    return sum(_normalized(block) + _CUT_BYTES for block in _blocks(memoryview(raw)))


def rendered(raw: bytes) -> int:
    """Give how many bytes a JSON text may grow by when it is written anew."""
    powers = len(_POWERS.findall(raw)) if b"e" in raw or b"E" in raw else 0
    return 2 * raw.count(b",") + raw.count(b":") + 2 * raw.count(b"\\n") + _NUMBER_BYTES * powers


def _normalized(raw: bytes) -> int:
    escaped = b"\\u" in raw
    if raw.isascii() and not escaped:
        return len(raw)
    text = raw.decode()
    if escaped:
        text = _ESCAPES.sub(_character, text)
    if unicodedata.is_normalized("NFKC", _SHRINKING.sub(" ", text)):
        return len(raw)
    forms = (unicodedata.normalize(form, text) for form in ("NFC", "NFKC"))
    return max(len(raw), *(len(form.encode(errors="surrogatepass")) for form in forms))


def _character(match: re.Match[str]) -> str:
    return str(json.loads(f'"{match[0]}"'))


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
