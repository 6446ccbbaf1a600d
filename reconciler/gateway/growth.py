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
"""What is looked at in one go, so that looking at a large body takes little memory beside it."""
_SIGN_BYTES_MAX: Final = 4
_ESCAPES_BYTES: Final = 12
"""Of a sign that is escaped as two halves."""
_CUT_BYTES: Final = 64
"""What normalizing a text in two parts may make less of it."""
_NUMBER_BYTES: Final = 22
"""What a number with an exponent may become: 21 digits and a dot (ECMAScript)."""
_HALF: Final = 2
"""A text that may grow by half, each sign for itself, is not normalized: that would take too long. In no language do
signs that grow stand in such numbers."""
_MARKS_MAX: Final = 30
"""Marks in a row that are normalized: the time to put them in order grows with the square. UAX #15 has the number."""

_POWERS = re.compile(rb"[\[,:\s]-?(?:[0-9]+(?:\.[0-9]+)?[eE]|[0-9]{16,}\.)")
_HTML = (b"<", b">", b"&", b"'")
_FIRSTS = (bytes(range(0xC2, 0xE0)), bytes(range(0xE0, 0xF0)), bytes(range(0xF0, 0xF5)))
"""The first bytes of signs of two, three and four of them."""
_BLANKS = (rb"\t", rb"\n", rb"\r")
_SIGNS = re.compile(rb"\\u00([2-7][0-9a-fA-F])")
_HALF_A_PAIR = re.compile(rb"\\u[dD][89abAB]")
_PAGE: Final = 256
_PAGES: Final = 0x300
"""In which signs may become others: beyond are ideographs, tags, private and unassigned ones, 3,584 pages of them."""
_QUIET: Final = bytes(_PAGE)
_MARK: Final = 128
_APART: Final = "\u0334\u0345"
"""Marks of the lowest and the highest class: between them no other mark is in order (UAX #15)."""


def normalized(raw: bytes | memoryview | mmap) -> int:
    """Give the size of a JSON text, in bytes of UTF-8, in the longest of its usual normal forms. It has to be UTF-8."""
    if len(raw) <= BLOCK_BYTES:
        return _normalized(bytes(raw))
    return sum(len(block) if _is_plain(block) else _normalized(block) + 2 * _CUT_BYTES for block in blocks(raw))


def rendered(raw: bytes | memoryview | mmap) -> int:
    """Give how many bytes a JSON text may grow by when it is written anew, also where it stands in a string of JSON."""
    if len(raw) <= BLOCK_BYTES:
        return _rendered(bytes(raw))
    return sum(_rendered(block) + _NUMBER_BYTES for block in blocks(raw))  # a number may stand in two of them


def _rendered(raw: bytes) -> int:
    lines = raw.count(b"\\n")
    if b"\\" in raw:
        for blank in _BLANKS:
            raw = raw.replace(blank, b" ")
        raw = _SIGNS.sub(_sign, raw)
    return 2 * raw.count(b",") + raw.count(b":") + 2 * lines + _NUMBER_BYTES * len(_POWERS.findall(raw))


def escaped(text: bytes) -> int:
    """Give how many bytes UTF-8 may grow by as JSON of nothing but ASCII that is safe in HTML: `<` becomes six.

    Signs of two and of three bytes become six, those of four twelve.
    """
    found = 5 * sum(map(text.count, _HTML))
    if not text.isascii():
        two, three, four = (len(text) - len(text.translate(None, first)) for first in _FIRSTS)
        found += 4 * two + 3 * three + 8 * four
    return found


def _sign(match: re.Match[bytes]) -> bytes:
    return b"%c" % int(match[1], 16)


def _is_plain(raw: bytes) -> bool:
    """Tell whether a text has nothing but ASCII, which no form changes."""
    return raw.isascii() and raw.find(b"\\u") < 0


def _normalized(raw: bytes) -> int:
    if _is_plain(raw):
        return len(raw)
    text = raw.decode()
    if b"\\u" in raw:
        text = _resolved(text)
    if unicodedata.is_normalized("NFKD", text):  # which looks at each sign once, and nothing is longer
        return len(raw)
    signs = Counter(text)
    most = len(raw)
    marks: list[str] = []
    for sign, count in signs.items():
        code = ord(sign)
        if not (found := _page(code // _PAGE)[code % _PAGE]):
            continue
        most += found % _MARK * count
        if found >= _MARK:
            marks.append(sign)
    if most == len(raw):
        return most
    if most - len(raw) > len(raw) // _HALF or _are_many(marks, text, signs):
        return most
    forms = (unicodedata.normalize(form, text) for form in ("NFC", "NFKC"))
    return max(len(raw), *(len(form.encode(errors="surrogatepass")) for form in forms))


@lru_cache(0x110000 // _PAGE)
def _page(number: int) -> bytes:
    """Say of so many signs by how many bytes each grows when it is taken apart (NFKD), and add _MARK if it is a mark.

    To put signs together makes none longer; and syllables of Korean are always put together again. Nearly all pages
    are quiet, which one look shows: a small body may have signs of all of them.
    """
    if number >= _PAGES:
        return _QUIET
    signs = "".join(map(chr, range(number * _PAGE, (number + 1) * _PAGE)))
    if unicodedata.is_normalized("NFKD", f"{_APART}{_APART.join(signs)}{_APART}"):
        return _QUIET
    return bytes(map(_look_up, signs))


def _look_up(sign: str) -> int:
    apart = unicodedata.normalize("NFKD", sign) if not "\uac00" <= sign <= "\ud7a3" else sign
    mark = _MARK if sign > "\x7f" and unicodedata.combining(apart[0]) else 0
    if apart == sign:
        return mark
    return mark + max(0, len(apart.encode()) - len(sign.encode()))


def _are_many(marks: list[str], text: str, signs: Counter[str]) -> bool:
    if sum(signs[mark] for mark in marks) <= _MARKS_MAX:
        return False
    return re.search(f"[{''.join(map(re.escape, marks))}]{{{_MARKS_MAX + 1}}}", text) is not None


def _resolved(text: str) -> str:
    """Give a text with what its escapes stand for, each half of a pair for itself first."""
    begin, *pieces = text.split("\\u")
    found = "".join([begin, *map(_unescaped, pieces)])
    return found.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _unescaped(piece: str) -> str:
    try:
        return chr(int(piece[:4], 16)) + piece[4:]
    except ValueError:  # it is no JSON
        return piece


def holds(raw: bytes | memoryview | mmap, *words: bytes) -> bool:
    """Tell whether any of some short words stands in a text."""
    view = memoryview(raw)
    for start in range(0, len(view), BLOCK_BYTES):
        block = bytes(view[start : start + BLOCK_BYTES + _CUT_BYTES])  # a word may stand in two of them
        for word in words:
            if word in block:
                return True
    return False


def blocks(raw: bytes | memoryview | mmap) -> Iterator[bytes]:
    """Cut text into blocks that end with a whole character, and in front of an escape, or a pair, not within one.

    Of what is no UTF-8 a block may end anywhere.
    """
    view, start = memoryview(raw), 0
    while start < len(view):
        end = start + BLOCK_BYTES
        for _ in range(_SIGN_BYTES_MAX - 1 if end < len(view) else 0):
            end -= view[end] & 0xC0 == 0x80
        block = bytes(view[start:end])
        if end < len(view):
            escape = block.rfind(b"\\", len(block) - _ESCAPES_BYTES)
            if escape >= 0 and _escapes(block, escape):
                half = escape - _ESCAPES_BYTES // 2
                whole = _HALF_A_PAIR.match(block, half) is None or not _escapes(block, half)
                block = block[: escape if whole else half]
        yield block
        start += len(block)


def _escapes(text: bytes, at: int) -> bool:
    """Tell whether a backslash begins an escape, and is none itself."""
    return bool((at + 1 - len(text[: at + 1].rstrip(b"\\"))) & 1)
