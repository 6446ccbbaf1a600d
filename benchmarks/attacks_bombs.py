"""Packed data that unpack to very much, made at the price of packing each repeated piece once.

A piece that ends with a full flush (RFC 1951, an empty stored block) stands for itself wherever it is repeated; only
the checksum has to be computed over all of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

Repeated = tuple[bytes, int]
"""A piece, and how often it comes."""


def gzipped(pieces: Iterable[Repeated], level: int = 9) -> bytes:
    """Pack pieces as gzip (RFC 1952)."""
    body, crc, size = bytearray(b"\x1f\x8b\x08\0\0\0\0\0\0\xff"), 0, 0
    for piece, count in pieces:
        body += _flushed(piece, level) * count
        size += len(piece) * count
        for _ in range(count):
            crc = zlib.crc32(piece, crc)
    return bytes(body) + b"\x03\0" + struct.pack("<II", crc, size & 0xFFFFFFFF)


def deflated(pieces: Iterable[Repeated], level: int = 9) -> bytes:
    """Pack pieces as zlib (RFC 1950), which is how git packs objects."""
    body, adler = bytearray(b"\x78\x9c"), 1
    for piece, count in pieces:
        body += _flushed(piece, level) * count
        for _ in range(count):
            adler = zlib.adler32(piece, adler)
    return bytes(body) + b"\x03\0" + struct.pack(">I", adler)


def _flushed(piece: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
