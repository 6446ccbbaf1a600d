"""The Merkle tree of the log as in RFC 6962 section 2.1, kept as its frontier.

Pure. A frontier holds the roots of the perfect subtrees that a tree of `size` leaves falls into, largest first: one for
every bit set in `size`. That is all that appending and the root need, at most 64 hashes for any log. Proofs also need
subtrees inside: the roots of those of 256, 256**2, ... leaves are handed out when they become complete (tiles of
height 8, as in C2SP tlog-tiles).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

HASH_SIZE = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256

Tiers = dict[int, tuple[int, tuple[bytes, ...]]]
"""By tier: the number of the first subtree of 256**tier leaves, and the roots of it and those after it."""


def leaf_hash(body: bytes) -> bytes:
    """Hash one entry: SHA-256(0x00 || body)."""
    return _sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees: SHA-256(0x01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that can grow: `size` leaves, `peaks` largest first."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count() or any(len(peak) != HASH_SIZE for peak in self.peaks):
            raise ValueError(f"{len(self.peaks)} peaks do not make a tree of {size} leaves")

    @classmethod
    def unpack(cls, size: int, data: bytes) -> Frontier:
        """Read what `pack` gave. Raises ValueError if `data` is no frontier of `size` leaves."""
        if size < 0 or len(data) != size.bit_count() * HASH_SIZE:
            raise ValueError(f"{len(data)} bytes are no frontier of {size} leaves")
        return cls(size, [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)])

    def pack(self) -> bytes:
        """Give the peaks as one string of bytes, 32 each."""
        return b"".join(self.peaks)

    def extend(self, leaves: Iterable[bytes], tiers: Tiers | None = None) -> None:
        """Append leaf hashes in order, level by level: one node hash a leaf on average.

        `tiers` is given the roots of the subtrees of 256**tier leaves that became complete, from tier 1 on.
        """
        sha256 = _sha256
        row = list(leaves)
        size, grown = self.size, self.size + len(row)
        old = list(self.peaks)  # popped from the end: the smallest subtree first
        peaks: list[bytes] = []
        level = 0
        while row or size >> level:
            if tiers is not None and row and level and level % TILE_HEIGHT == 0:
                tiers[level // TILE_HEIGHT] = (size >> level, tuple(row))
            if size >> level & 1:
                row.insert(0, old.pop())
            if len(row) & 1:
                peaks.append(row.pop())
            pairs = iter(row)
            row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            level += 1
        peaks.reverse()
        self.size, self.peaks = grown, peaks

    def root(self) -> bytes:
        """Give the root hash; of the empty tree SHA-256 of nothing."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root
