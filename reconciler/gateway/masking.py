r"""The provider's key never comes back: wherever an answer repeats it, three asterisks stand instead.

Looked for is the key as it is, and with any of its characters escaped as JSON (`\u0073`, `\/`, also in JSON within
JSON) or a URL (`%73`) may have them. Pure. A piece of a stream is given at once but for its last bytes, if they may be
the beginning of a key that goes on in the next piece; what ends with a line's end is never kept back.

A text that may hold a key is walked through once, from its end on, with all places of the key in one number: the work
grows as the text does, also where the key repeats itself and the text repeats that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

KEY_BYTES_MIN: Final = 8
"""What is shorter is no key of a provider, and may stand in any text."""
MASKED: Final = b"***"
_PERCENT: Final = ord("%")
_BACKSLASH: Final = ord("\\")
_ESCAPES: Final = b"\\%"

_FIRST: Final = 4
"""Where none of a key's first characters is escaped, they stand as they are."""
_HEAD: Final = 16
"""So many of a key's characters are found before a text is walked through."""
_HALF_AN_ESCAPE: Final = re.compile(rb"(?:\\{1,8}(?:u(?:0(?:0[0-9a-fA-F]?)?)?)?|%[0-9a-fA-F]?)\Z")
_LONGEST_ESCAPE: Final = 13  # eight backslashes and `u0073`
_JSON: Final = re.compile(rb"\\{1,8}(?:u00([0-9a-fA-F]{2})|[/\"])")
_URL: Final = re.compile(rb"%([0-9a-fA-F]{2})")
_BACKSLASHES: Final = re.compile(rb"\\{1,9}")
_RING: Final = 16
"""Places of a text that a walk remembers: a power of two beyond the longest escape."""
_LITTLE: Final = 64
"""What is kept back and no longer than this is looked at with each piece; else once it has grown by half."""


class _Key(NamedTuple):
    """A key: what shows that it may be there, and at which places of it a byte stands.

    It begins as it is with `first`, where it is not escaped: in a URL with a percent sign, in JSON with one of
    `escapes`. `head` finds its first characters. `places` has a number for each byte, with a bit for each place.
    `ends` are the bytes that a beginning of it may end with.
    """

    text: bytes
    first: bytes
    escapes: tuple[bytes, ...]
    head: re.Pattern[bytes]
    places: tuple[int, ...]
    ends: frozenset[int]


@lru_cache(64)
def _key(credential: str) -> _Key | None:
    key = credential.removeprefix("Bearer ").encode()
    if len(key) < KEY_BYTES_MIN:
        return None
    places = [0] * 256
    for place, character in enumerate(key):
        places[character] |= 1 << place
    ends = frozenset(key + rb"\%u0123456789abcdefABCDEF")
    escapes = (rb"\u00", *(b"\\%c" % sign for sign in b'/"\\' if sign in key))
    begin = key[:_HEAD].partition(b"\\")[0] or key[:1]  # several backslashes may be parted in very many ways
    return _Key(key, key[:_FIRST], escapes, re.compile(b"".join(map(_ways, begin))), tuple(places), ends)


def _ways(character: int) -> bytes:
    """Give a pattern of all ways to write a character of a key; hexadecimal digits may be of either case."""
    digits = b"".join(f"[{one.lower()}{one.upper()}]".encode() for one in map(chr, b"%02x" % character))
    plain = re.escape(bytes((character,)))
    escaped = rb"\\\\{0,7}" + plain + b"|" if character in b'/"\\' else b""
    return rb"(?:\\\\{0,7}u00" + digits + b"|%" + digits + b"|" + escaped + plain + b")"


class Mask:
    """Takes the keys of one request's credentials out of what its provider answers."""

    __slots__ = ("_due", "_kept", "_keys", "_only")

    def __init__(self, credentials: Iterable[str]) -> None:
        """`credentials` are values of headers that hold a key."""
        self._keys = [key for value in credentials if (key := _key(value)) is not None]
        self._kept = bytearray()
        self._due = 0  # of how many bytes on what is kept is looked at again
        self._only = self._keys[0] if len(self._keys) == 1 else None

    def masked(self, text: bytes) -> bytes:
        """Give a text without the key."""
        for key in self._keys:
            if _may_hold(text, key):
                text, end = _sought(key, text)
                text += end
        return text

    def feed(self, piece: bytes) -> bytes:
        """Give what may go of a stream, now that this piece came, which is not empty."""
        only = self._only
        if only is not None and not self._kept and piece[-1] not in only.ends and not _begins(piece, only):
            return piece  # as nearly all are
        if self._kept:
            self._kept += piece
            if len(self._kept) < self._due and any(piece[-1] in key.ends for key in self._keys):
                return b""
            piece = bytes(self._kept)
            self._kept.clear()
        for key in self._keys:
            out = b""
            if _may_hold(piece, key):
                out, piece = _sought(key, piece)
            at = len(piece)
            if piece and piece[-1] in key.ends:
                at = min(_walked(key, piece, 0, at, cut=True), default=at)
                self._kept[:0] = piece[at:]
            piece = out + piece[:at]
            if not piece:
                break
        self._due = len(self._kept) * 3 // 2 if len(self._kept) > _LITTLE else 0
        return piece

    @property
    def keeps(self) -> bool:
        """Whether something is kept back."""
        return bool(self._kept)

    def rest(self) -> bytes:
        """Give what was kept back when the stream has ended."""
        kept = bytes(self._kept)
        self._kept.clear()
        return self.masked(kept)


def _begins(text: bytes, key: _Key) -> bool:
    return _may_hold(text, key) and key.head.search(text) is not None


def _may_hold(text: bytes, key: _Key) -> bool:
    """Look for what a key begins with. A number is found much quicker than bytes, and few texts have these signs."""
    if _PERCENT in text or text.find(key.first) >= 0:
        return True
    return _BACKSLASH in text and any(escape in text for escape in key.escapes)


def _sought(key: _Key, text: bytes) -> tuple[bytes, bytes]:
    """Give a text without a key up to the last one's end, and what follows that."""
    out: list[bytes] = []
    done = at = 0
    most = len(key.text) * _LONGEST_ESCAPE
    while (found := key.head.search(text, at)) is not None:
        # Of two lengths at a time, the keys that begin in the first one are whole.
        first = found.start()
        last = min(first + 2 * most, len(text))
        at = last if last == len(text) else first + most
        for start in reversed(_walked(key, text, first, last)):
            if done <= start < at:
                out += text[done:start], MASKED
                done = _end(key, text, start)
        at = max(at, done)
    return b"".join(out), text[done:]


def _walked(key: _Key, text: bytes, first: int, end: int, *, cut: bool = False) -> list[int]:
    """Give where keys begin from `first` to `end`, the last one first; `cut`: those that the end cuts off.

    Of each place in the text a number says, with a bit for each place of the key, whether all from there on follows.
    """
    places, full = key.places, 1 << len(key.text)
    always, ring = 0 if cut else full, [0] * _RING
    ring[end % _RING] = full - 1 if cut else full
    found: list[int] = []
    none = 0  # places in a row that nothing fits
    for at in range(end - 1, first - 1, -1):
        sign = text[at]
        fits = ring[(at + 1) % _RING] >> 1 & places[sign] | always
        if sign in _ESCAPES:
            for character, behind in _escapes(text, at, end):
                fits |= ring[behind % _RING] >> 1 & places[character]
            if cut and end - at < _LONGEST_ESCAPE and _HALF_AN_ESCAPE.match(text, at, end):
                fits = full - 1
        ring[at % _RING] = fits
        none = 0 if fits else none + 1
        if fits & 1:
            found.append(at)
        elif none and cut:
            before = text[max(at - _LONGEST_ESCAPE, 0) : at]
            if none >= _LONGEST_ESCAPE or (_BACKSLASH not in before and _PERCENT not in before):
                break  # nothing that goes on behind this place begins before it
    return found


def _escapes(text: bytes, at: int, last: int) -> list[tuple[int, int]]:
    """Give the characters that an escape at a place may stand for, each with where it ends, up to `last`."""
    if text[at] == _PERCENT:
        found = _URL.match(text, at, last)
        return [(int(found[1], 16), found.end())] if found else []
    backslashes = _BACKSLASHES.match(text, at, last)
    assert backslashes is not None
    ends = [(_BACKSLASH, end) for end in range(at + 2, backslashes.end() + 1)]
    if found := _JSON.match(text, at, last):
        ends.append((int(found[1], 16) if found[1] else text[found.end() - 1], found.end()))
    return ends


def _end(key: _Key, text: bytes, start: int) -> int:
    """Give where a key ends that begins at a place: the last place of several."""
    ends = {start}
    for character in key.text:
        ways = [(text[at], at + 1, at) for at in ends if at < len(text)]
        ways += [
            (sign, end, at) for _, _, at in ways if text[at] in _ESCAPES for sign, end in _escapes(text, at, len(text))
        ]
        ends = {end for sign, end, _ in ways if sign == character}
    return max(ends)
