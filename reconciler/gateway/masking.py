r"""The provider's key never comes back: wherever an answer repeats it, three asterisks stand instead.

Looked for is the key as it is, and with any of its characters escaped as JSON (`\u0073`, `\/`, also in JSON within
JSON) or a URL (`%73`) may have them. Pure. A piece of a stream is given at once but for its last bytes, if they may be
the beginning of a key that goes on in the next piece; what ends with a line's end is never kept back.
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

_FIRST: Final = 4
"""Where none of a key's first characters is escaped, they stand as they are."""
_HALF_AN_ESCAPE: Final = re.compile(rb"(?:\\{1,8}(?:u(?:0(?:0[0-9a-fA-F]?)?)?)?|%[0-9a-fA-F]?)\Z")
_LONGEST_ESCAPE: Final = 13  # eight backslashes and `u0073`


class _Key(NamedTuple):
    """A key: what shows that it may be there, and how it and each of its characters may be written.

    It begins as it is with `first`, where it is not escaped: in a URL with a percent sign, in JSON with one of
    `escapes`. `ends` are the bytes that a beginning of it may end with.
    """

    first: bytes
    escapes: tuple[bytes, ...]
    whole: re.Pattern[bytes]
    characters: tuple[re.Pattern[bytes], ...]
    begins: re.Pattern[bytes]
    ends: frozenset[int]


@lru_cache(64)
def _key(credential: str) -> _Key | None:
    key = credential.removeprefix("Bearer ").encode()
    if len(key) < KEY_BYTES_MIN:
        return None
    ways = [_ways(character) for character in key]
    begins = re.compile(rb"[\\%" + re.escape(key[:1]) + rb"]")
    ends = frozenset(key + rb"\%u0123456789abcdefABCDEF")
    escaped = (rb"\u00", *(b"\\%c" % sign for sign in b'/"\\' if sign in key))
    return _Key(key[:_FIRST], escaped, re.compile(b"".join(ways)), tuple(map(re.compile, ways)), begins, ends)


def _ways(character: int) -> bytes:
    """Give a pattern of all ways to write a character of a key; hexadecimal digits may be of either case."""
    digits = b"".join(f"[{one.lower()}{one.upper()}]".encode() for one in map(chr, b"%02x" % character))
    plain = re.escape(bytes((character,)))
    escaped = rb"\\\\{0,7}" + plain + b"|" if character in b'/"\\' else b""
    return rb"(?:\\\\{0,7}u00" + digits + b"|%" + digits + b"|" + escaped + plain + b")"


class Mask:
    """Takes the keys of one request's credentials out of what its provider answers."""

    __slots__ = ("_kept", "_keys", "_only")

    def __init__(self, credentials: Iterable[str]) -> None:
        """`credentials` are values of headers that hold a key."""
        self._keys = [key for value in credentials if (key := _key(value)) is not None]
        self._kept = b""
        self._only = self._keys[0] if len(self._keys) == 1 else None

    def masked(self, text: bytes) -> bytes:
        """Give a text without the key."""
        for key in self._keys:
            if _may_hold(text, key):
                text = key.whole.sub(MASKED, text)
        return text

    def feed(self, piece: bytes) -> bytes:
        """Give what may go of a stream, now that this piece came, which is not empty."""
        only = self._only
        if only is not None and not self._kept and piece[-1] not in only.ends and not _may_hold(piece, only):
            return piece  # as nearly all are
        if self._kept:
            piece = self._kept + piece
            self._kept = b""
        for key in self._keys:
            if _may_hold(piece, key):
                piece = key.whole.sub(MASKED, piece)
            if piece[-1] in key.ends:
                at = _beginning(key, piece)
                self._kept = piece[at:] + self._kept
                piece = piece[:at]
                if not piece:
                    break
        return piece

    @property
    def keeps(self) -> bool:
        """Whether something is kept back."""
        return bool(self._kept)

    def rest(self) -> bytes:
        """Give what was kept back when the stream has ended."""
        kept, self._kept = self._kept, b""
        return kept


def _may_hold(text: bytes, key: _Key) -> bool:
    """Look for what a key begins with. A number is found much quicker than bytes, and few texts have these signs."""
    if _PERCENT in text or text.find(key.first) >= 0:
        return True
    return _BACKSLASH in text and any(escape in text for escape in key.escapes)


def _beginning(key: _Key, piece: bytes) -> int:
    """Find where a key begins that the piece's end cuts off; the piece's length if none does."""
    at = max(0, len(piece) - len(key.characters) * _LONGEST_ESCAPE)
    while (found := key.begins.search(piece, at)) is not None:
        at = found.start()
        if _is_cut(key, piece, at):
            return at
        at += 1
    return len(piece)


def _is_cut(key: _Key, piece: bytes, at: int) -> bool:
    for character in key.characters:
        if at == len(piece) or _HALF_AN_ESCAPE.match(piece, at):
            return True
        found = character.match(piece, at)
        if found is None:
            return False
        at = found.end()
    return False
