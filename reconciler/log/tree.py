"""The tree of a stored log, by its stored hashes: roots of any size, proofs of any event, without reading the events.

Leaf hashes stand with the events, the roots of subtrees of 256, 65,536, ... leaves in a table of their own; whatever
lies between is hashed when asked for, at most 256 hashes a tier. Nothing here looks at the events' bytes: whoever
needs to know that hashes and bytes agree recomputes them.
"""

from __future__ import annotations

from reconciler.core.errors import LogDamaged
from reconciler.log import proofs
from reconciler.log.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Frontier
from reconciler.log.store import Reader

_TILES_REMEMBERED = 64


class Tree:
    """The stored hashes of one log; use it inside one `moment` of the reader, so that all are of one time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def root(self, size: int) -> bytes:
        """Give the root of the first `size` events. Raises LogDamaged if hashes are missing, as do the others."""
        return proofs.root(size, self._node)

    def frontier(self, size: int) -> Frontier:
        """Give the frontier of the first `size` events."""
        levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
        return Frontier(size, [self._node(level, (size >> level + 1) << 1) for level in levels])

    def inclusion(self, position: int, size: int) -> list[bytes]:
        """Prove that the event at `position` is among the first `size`."""
        return proofs.inclusion(position, size, self._node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Prove that the log of `new` events begins with that of `old`."""
        return proofs.consistency(old, new, self._node)

    def _node(self, level: int, n: int) -> bytes:
        tier, height = divmod(level, TILE_HEIGHT)
        first, count = n << height, 1 << height
        tile = self._tile(tier, first // TILE_WIDTH)
        hashes = tile[first % TILE_WIDTH :][:count]
        if len(hashes) != count or any(len(value) != HASH_SIZE for value in hashes):
            missing = (first + len(hashes)) << tier * TILE_HEIGHT
            raise LogDamaged(
                f"a hash of the tree is missing at position {missing}",
                "run `pai verify`; subtree hashes are made anew when the log is opened for writing",
            )
        frontier = Frontier()
        frontier.extend(hashes)
        return frontier.peaks[0]

    def _tile(self, tier: int, n: int) -> list[bytes]:
        found = self._tiles.get((tier, n))
        if found is None:
            if len(self._tiles) >= _TILES_REMEMBERED:
                self._tiles.clear()
            found = self._reader.hashes(tier, n * TILE_WIDTH, (n + 1) * TILE_WIDTH)
            self._tiles[tier, n] = found
        return found
