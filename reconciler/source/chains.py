"""How long the chains of deltas in a pack are: an object at the end of one is made by making all before it.

libgit2 does that in one call, in which every other thread of the process waits. Git itself makes chains of 50
(`pack.depth`), and breaks longer ones when it packs anew. A pack holds the bases of all its deltas, so it can be looked
at alone: the heads of its entries are read, and nothing is unpacked. The formats are those of gitformat-pack(5).
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from pathlib import Path
from typing import Final

CHAIN_MAX: Final = 250
"""What `git gc --aggressive` of older versions makes."""
_IDS: Final = 8 + 256 * 4
"""Where the ids begin in an index of version 2: after its mark, its version and the fan-out."""
_OFS_DELTA: Final = 6
_REF_DELTA: Final = 7


def has_long_chain(folder: Path) -> bool:
    """Tell whether a pack in the folder has a longer chain than CHAIN_MAX. Raises OSError."""
    return any(longest(index) > CHAIN_MAX for index in folder.glob("*.idx"))


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
        bases = {offset: base for offset in offsets if (base := _base(pack, offset, ids, offsets))}
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


def _base(pack: mmap.mmap, offset: int, ids: bytes, offsets: list[int]) -> int:
    """Give where the base of a delta lies; 0 for what is no delta."""
    kind = pack[offset] >> 4 & 7
    if kind not in (_OFS_DELTA, _REF_DELTA):
        return 0
    at = offset + 1
    while pack[at - 1] & 0x80:
        at += 1
    if kind == _REF_DELTA:
        number = bisect_left(
            range(len(offsets)), pack[at : at + 20], key=lambda n: ids[_IDS + 20 * n : _IDS + 20 * n + 20]
        )
        return offsets[number]
    back = pack[at] & 0x7F
    while pack[at] & 0x80:
        at += 1
        back = (back + 1 << 7) | pack[at] & 0x7F
    return offset - back
