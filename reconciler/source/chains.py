"""How long the chains of deltas in a pack are: an object at the end of one is made by making all before it.

libgit2 does that in one call, in which every other thread of the process waits. Git itself makes chains of 50
(`pack.depth`), and breaks longer ones when it packs anew. A pack holds the bases of all its deltas, so it can be looked
at alone: the heads of its entries are read, and nothing is unpacked. The formats are those of gitformat-pack(5).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

from reconciler.core.errors import Refused

CHAIN_MAX: Final = 250
"""What `git gc --aggressive` of older versions makes."""
_IDS: Final = 8 + 256 * 4
"""Where the ids begin in an index of version 2: after its mark, its version and the fan-out."""
_OFS_DELTA: Final = 6
_REF_DELTA: Final = 7


def require_short_chains(folder: Path) -> None:
    """See that no pack in the folder has longer chains than CHAIN_MAX. Raises Refused, OSError."""
    for index in folder.glob("*.idx"):
        if longest(index) > CHAIN_MAX:
            raise Refused(
                f"a chain of more than {CHAIN_MAX} deltas is pushed",
                "run git repack -a -d -f --depth=50, and push again with git -c pack.depth=50",
            )


def longest(index: Path) -> int:
    """Give the number of deltas in the longest chain of a pack, by the pack's index."""
    ids = index.read_bytes()
    count: int = struct.unpack_from(">I", ids, _IDS - 4)[0]
    with index.with_suffix(".pack").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pack:
        small = struct.unpack_from(f">{count}I", ids, _IDS + 24 * count)
        far = _IDS + 28 * count
        offsets = [
            struct.unpack_from(">Q", ids, far + 8 * (at & 0x7FFFFFFF))[0] if at & 0x80000000 else at for at in small
        ]
        places = {ids[_IDS + 20 * n : _IDS + 20 * n + 20]: offset for n, offset in enumerate(offsets)}
        bases = {offset: base for offset in offsets if (base := _base(pack, offset, places))}
    lengths: dict[int, int] = {}
    for last in bases:
        chain, offset = [], last
        while offset in bases and offset not in lengths:
            chain.append(offset)
            offset = bases[offset]
        before = lengths.get(offset, 0)
        for number, each in enumerate(reversed(chain), 1):
            lengths[each] = before + number
    return max(lengths.values(), default=0)


def _base(pack: mmap.mmap, offset: int, places: dict[bytes, int]) -> int:
    """Give where the base of a delta lies; 0 for what is no delta."""
    at = offset + 1
    kind = pack[offset] >> 4 & 7
    while pack[at - 1] & 0x80:
        at += 1
    if kind == _REF_DELTA:
        return places.get(pack[at : at + 20], 0)
    if kind != _OFS_DELTA:
        return 0
    back = pack[at] & 0x7F
    while pack[at] & 0x80:
        at += 1
        back = (back + 1 << 7) | pack[at] & 0x7F
    return offset - back
