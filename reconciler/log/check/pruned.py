"""Checking what a pruned log begins with, beside the replay that `check` makes from there on.

Of what was dropped the hashes of all complete tiles are still there. They give the frontier that the log begins with,
so whatever was signed later vouches for them; kept events lead to them; and the event that tells of the cut names the
state, and counts what was kept. Whatever no hash on the log vouches for is reported as a problem.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final

from reconciler.core.events import decode, encode
from reconciler.log import pruned
from reconciler.log.check.stored import Hashes, compare
from reconciler.log.store import Base, Kept, Reader
from reconciler.tlog.merkle import TILE_HEIGHT, TILE_WIDTH, Frontier, Tiers, leaf_hash

_CHUNK: Final = 1 << 14


def left_part(hashes: Hashes, first: int) -> tuple[Frontier, list[str]]:
    """Give the frontier of the first `first` leaves, a whole number of tiles, from the roots of the tiles.

    `hashes` is as `Reader.hashes`. The list names the hashes of larger subtrees that do not follow from those of their
    parts.
    """
    tiles, problems = Frontier(), list[str]()
    while tiles.size < first >> TILE_HEIGHT:
        start = tiles.size
        found = hashes(1, start, min(start + _CHUNK, first >> TILE_HEIGHT))
        if not found:
            at = start << TILE_HEIGHT
            return Frontier(), [f"the stored hash of the subtree of positions {at} to {at + TILE_WIDTH - 1} is missing"]
        tiers: Tiers = {}
        tiles.extend(found, tiers)
        problems += compare(hashes, tiers, below=1)
    return Frontier(first, tiles.peaks), problems


def check_start(reader: Reader) -> Iterator[str]:
    """Say what is wrong with what the log begins with; nothing for a log that was never pruned."""
    base = reader.base()
    if base is None:
        return
    if base.position % TILE_WIDTH:
        yield f"the log begins at #{base.position}, which is no whole number of tiles"
        return
    frontier, problems = left_part(reader.hashes, base.position)
    yield from problems
    if frontier.pack() != base.peaks:
        yield f"the Merkle frontier where the log begins, at #{base.position}, is not that of the stored hashes"
    kept = reader.kept()
    for each in kept:
        yield from _check_kept(reader, each)
    yield from _check_event(reader, base, kept, frontier)


def _check_kept(reader: Reader, each: Kept) -> Iterator[str]:
    tile = each.seq // TILE_WIDTH
    where = f"the event kept at position {each.seq}"
    if leaf_hash(each.body) != each.leaf:
        yield f"{where} does not match its hash"
    elif len(each.path) != 32 * TILE_HEIGHT or [pruned.tile_root(each)] != reader.hashes(1, tile, tile + 1):
        yield f"{where} is not the one that the tree has there"
    else:
        try:
            if encode(decode(each.body)) != each.body:
                yield f"{where} is not canonical JSON"
        except ValueError as error:
            yield f"{where} cannot be read: {error}"


def _check_event(reader: Reader, base: Base, kept: list[Kept], frontier: Frontier) -> Iterator[str]:
    cuts = list(pruned.prunings(reader))
    said = cuts[0].payload
    at = f"the event at position {cuts[0].position}"
    if said.first != base.position:
        yield f"the log begins at #{base.position}, {at} says #{said.first}"
    if said.root != base64.b64encode(frontier.root()).decode("ascii"):
        yield f"the tree of the first {base.position:,} events is not the one that {at} names"
    if said.state != base.digest:
        yield f"the state that the log begins with is not the one that {at} names"
    if (said.kept, said.digest) != (len(kept), pruned.kept_digest(kept)):
        yield f"{len(kept)} events are kept from before #{base.position}, and {at} names {said.kept} or others"
    last = 0
    for cut in reversed(cuts):
        if cut.payload.begin != last:
            yield f"the cut that the event at position {cut.position} tells of does not go on where the last one ended"
        last = cut.payload.first
