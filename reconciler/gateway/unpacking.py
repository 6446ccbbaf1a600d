"""Answers of providers that compress though nobody asked them to: read as plain bytes, in bounded pieces."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from reconciler.gateway.connection import Headers, Lost

PIECE_BYTES_MAX: Final = 256 * 1024
_WINDOWS: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"x-gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}

Read = Callable[[], Awaitable[bytes]]


def plain(headers: Headers, read: Read) -> Read:
    """Give a way to read an answer's plain bytes; `read` gives those that came, b"" at the end.

    What it gives raises Lost as `read` does, and for what cannot be unpacked.
    """
    packed = b",".join(value for name, value in headers if name.lower() == b"content-encoding").strip().lower()
    if packed in (b"", b"identity"):
        return read
    return _Unpacked(_WINDOWS.get(packed), read).read


class _Unpacked:
    def __init__(self, window: int | None, read: Read) -> None:
        self._window = window
        self._read = read
        self._rest = b""
        self._unpacker: Any = None

    async def read(self) -> bytes:
        if self._window is None:
            raise Lost("its answer is packed in a way that was not asked for")
        while True:
            if not self._rest:
                self._rest = await self._read()
                if not self._rest:
                    if self._unpacker is not None:
                        raise Lost("its packed answer is cut")
                    return b""
            if piece := self._unpack(self._window):
                return piece

    def _unpack(self, window: int) -> bytes:
        unpacker = self._unpacker or zlib.decompressobj(window)
        try:
            piece: bytes = unpacker.decompress(self._rest, PIECE_BYTES_MAX)
        except zlib.error:
            raise Lost("its packed answer cannot be unpacked") from None
        ended = unpacker.eof  # another member may follow
        self._unpacker, self._rest = (None, unpacker.unused_data) if ended else (unpacker, unpacker.unconsumed_tail)
        return piece
