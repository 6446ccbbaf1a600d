"""Answers of providers that compress though nobody asked them to: read as plain bytes, in bounded pieces."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

from reconciler.gateway.connection import Headers, Lost

PIECE_BYTES_MAX: Final = 8 * 1024
MEMBERS_MAX: Final = 256
"""Parts of a gzip answer, each packed on its own; an empty one is twenty bytes that give none."""
_WINDOWS: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"x-gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}

_CODED: Final = frozenset((b"transfer-encoding", b"content-encoding"))

Read = Callable[[], Awaitable[bytes]]


def unpacked(headers: Headers, read: Read) -> Unpacked | None:
    """Give what unpacks an answer, None if it is plain; `read` gives the bytes that came, b"" at the end.

    Names in `headers` are in lower case. Raises Lost for a packing that was not asked for and is not known, such as one
    within another.
    """
    coded = [(name, value) for name, value in headers if name in _CODED]
    if not coded:
        return None
    if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in coded):
        raise Lost("its answer is packed on its way, which was not asked for")
    named = b",".join(value for name, value in coded if name == b"content-encoding").lower().split(b",")
    packed = [way for word in named if (way := word.strip()) not in (b"", b"identity")]
    if not packed:
        return None
    if len(packed) > 1 or packed[0] not in _WINDOWS:
        raise Lost("its answer is packed in a way that was not asked for")
    return Unpacked(_WINDOWS[packed[0]], read)


class Unpacked:
    """A packed answer. `worked_s`: what unpacking took so far; much may be packed that gives nothing."""

    def __init__(self, window: int, read: Read) -> None:
        """`window` is how zlib is told of a packing."""
        self._window = window
        self._read = read
        self._rest = b""
        self._unpacker: Any = None
        self._members = 0
        self.worked_s = 0.0

    async def read(self) -> bytes:
        """Give the next plain bytes, b"" at the end. Raises Lost as `read` does, and for what cannot be unpacked."""
        while True:
            if not self._rest:
                self._rest = await self._read()
                if not self._rest:
                    if self._unpacker is not None:
                        raise Lost("its packed answer is cut")
                    return b""
            if piece := self._unpack():
                return piece

    def _unpack(self) -> bytes:
        if self._unpacker is None:
            self._members += 1
            if self._members > MEMBERS_MAX:
                raise Lost(f"its packed answer has more than {MEMBERS_MAX} parts")
        unpacker = self._unpacker or zlib.decompressobj(self._window)
        began = perf_counter()
        try:
            piece: bytes = unpacker.decompress(self._rest, PIECE_BYTES_MAX)
        except zlib.error:
            raise Lost("its packed answer cannot be unpacked") from None
        self.worked_s += perf_counter() - began
        ended = unpacker.eof  # another member may follow
        self._unpacker, self._rest = (None, unpacker.unused_data) if ended else (unpacker, unpacker.unconsumed_tail)
        return piece
