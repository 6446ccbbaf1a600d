"""The tree of a stored log, by its stored hashes: roots of any size, proofs of any event, without reading the events.

Leaf hashes stand with the events, the roots of subtrees of 256, 65,536, ... leaves in a table of their own; whatever
lies between is hashed when asked for, at most 256 hashes a tier. A Tree does not look at the events' bytes. `extend`
looks at nothing else, and what is signed comes from it.
"""

from __future__ import annotations

from typing import Protocol

from reconciler.core.errors import LogDamaged
from reconciler.log.store import Reader
from reconciler.tlog import proofs
from reconciler.tlog.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Frontier, leaf_hash

_TILES_REMEMBERED = 64
_HINT = "run `pai verify` to see all that is wrong; subtree hashes are made anew when the log is opened for writing"


def extend(frontier: Frontier, reader: Reader, stop: int) -> None:
    """Extend `frontier` by the stored bytes of the events up to `stop`. Raises LogDamaged where they are not whole."""
    for chunk in reader.chunks(frontier.size, stop):
        leaves = [leaf_hash(body) for _, body, _ in chunk]
        for position, (leaf, (seq, _, stored)) in enumerate(zip(leaves, chunk, strict=True), frontier.size):
            if seq != position:
                raise LogDamaged(f"position {position} is missing, {seq} follows", _HINT)
            if leaf != stored:
                raise LogDamaged(f"the event at position {seq} does not match its hash", _HINT)
        frontier.extend(leaves)
    if frontier.size != stop:
        raise LogDamaged(f"position {frontier.size} is missing, the log has {stop} events", _HINT)


class Hashed(Protocol):
    """What has the stored hashes of a log."""

    def hashes(self, tier: int, start: int, stop: int) -> list[bytes]:
        """Give the hashes of one tier, as `Reader.hashes` does."""


class Tree:
    """The stored hashes of one log; use it inside one `moment` of the reader, so that all are of one time."""

    def __init__(self, reader: Hashed) -> None:
        self._reader = reader
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def root(self, size: int) -> bytes:
        """Give the root of the first `size` events. Raises LogDamaged if hashes are missing, as do the others."""
        return proofs.root(size, self._node)

    def frontier(self, size: int) -> Frontier:
        """Give the frontier of the first `size` events."""
        levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
        return Frontier(size, [self._node(level, (size >> level + 1) << 1) for level in levels])

    def inclusion(self, position: int, size: int, path: bytes = b"") -> list[bytes]:
        """Prove that the event at `position` is among the first `size`.

        `path` is that of a kept event, whose neighbours were dropped: the hashes that lead to its tile's root.
        """

        def node(level: int, n: int) -> bytes:
            inside = path and level < TILE_HEIGHT and (n << level) // TILE_WIDTH == position // TILE_WIDTH
            return path[HASH_SIZE * level :][:HASH_SIZE] if inside else self._node(level, n)

        return proofs.inclusion(position, size, node)

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
            raise LogDamaged(f"a hash of the tree is missing at position {missing}", _HINT)
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
