"""Where an export keeps what (C2SP tlog-tiles), and how a bundle of entries is written and read. Pure.

    checkpoint                     size and root, signed
    vkey                           the key that verifies it
    minimum-index                  where its events begin, if the log was pruned: not at 0
    tile/LEVEL/N                   256 hashes of level LEVEL; level 0 are leaf hashes
    tile/entries/N                 the 256 events of tile N of level 0, each behind its length (two bytes, big-endian)
    tile/large/POSITION            an event of more than 65,535 bytes; its length in the bundle is 0
    .../N.p/W                      the last one of each, if it has only W

Numbers are spelled in groups of three digits, all but the last behind an x: 1234067 is x001/x234/067.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.tlog.merkle import TILE_HEIGHT, TILE_WIDTH

ENTRIES: Final = "entries"
LARGE: Final = "large"
MINIMUM_INDEX: Final = "minimum-index"
MINIMUM_INDEX_BYTES_MAX: Final = 32
ENTRY_BYTES_MAX: Final = 0xFFFF


def number(n: int) -> str:
    """Spell a tile's number."""
    groups = [f"{n % 1000:03d}"]
    while n >= 1000:
        n //= 1000
        groups.append(f"x{n % 1000:03d}")
    return "/".join(reversed(groups))


def tile(level: int | str, n: int, width: int = TILE_WIDTH) -> str:
    """Give the path of a tile, or of a bundle (level `entries`), that holds `width` hashes or entries."""
    part = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{number(n)}{part}"


def large(position: int) -> str:
    """Give the path of an event that is too large for a bundle."""
    return f"tile/{LARGE}/{number(position)}"


def tiles(size: int, first: int = 0) -> Iterator[tuple[int, int, int]]:
    """Give level, number and width of every tile of a log of `size` events whose leaves begin at `first`."""
    level, count = 0, size
    while count:
        for n in range(0 if level else first, count, TILE_WIDTH):
            yield level, n // TILE_WIDTH, min(TILE_WIDTH, count - n)
        level, count = level + 1, count >> TILE_HEIGHT


def bundle(entries: Sequence[bytes]) -> bytes:
    """Write entries one after the other, each behind its length; too large ones leave a length of 0."""
    kept = [entry if len(entry) <= ENTRY_BYTES_MAX else b"" for entry in entries]
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in kept)


def entries(data: bytes) -> list[bytes]:
    """Read a bundle back, b"" for an entry that is too large for it. Raises ValueError if it ends in between."""
    found = []
    at = 0
    while at < len(data):
        stop = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or stop > len(data):
            raise ValueError("it ends within an entry")
        found.append(data[at + 2 : stop])
        at = stop
    return found
