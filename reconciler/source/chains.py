"""How long and how dear the chains of deltas in a pack are: the last object of one is made by making all before it.

libgit2 does that in one call, in which every other thread of the process waits. Git itself makes chains of 50
(`pack.depth`), of objects that are alike in size, and breaks longer ones when it packs anew. A pack holds the bases of
all its deltas, so it can be looked at alone: the heads of its entries are read, and no object is unpacked. What is
packed is seen by where the next entry begins: blocks that give nothing may follow one another for megabytes (RFC 1951).
The formats are those of gitformat-pack(5).
"""

from __future__ import annotations

import mmap
import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from time import thread_time
from typing import Final, NamedTuple

CHAIN_MAX: Final = 250
"""What `git gc --aggressive` of older versions makes."""
BYTES_MAX: Final = 2 * CHAIN_MAX
"""The most bytes that are made on the way to an object, for each byte of its own."""
SMALL_BYTES: Final = 128 * 1024
"""A smaller object may take as much as one of this size."""
PACKED_BYTES: Final = 512 * 1024
"""The packed bytes that the way to an object may have beyond its own size: 40 ms if all are blocks without data."""
UNPACKED_S: Final = 0.05
"""How long unpacking more than that may take: git makes deltas of objects up to 32 times as long, which are quick."""
READ_BYTES_MAX: Final = 4 * 1024 * 1024
"""Larger objects are never read, so their packing does no harm."""
_DELTA_COST: Final = 8
_BASE_COST: Final = 4
"""How many bytes that are copied in one run take as long as a byte of a delta, which may be copied by itself, and as a
byte of the first object, which has to be unpacked."""
_IDS: Final = 8 + 256 * 4
"""Where the ids begin in an index of version 2: after its mark, its version and the fan-out."""
_OFS_DELTA: Final = 6
_REF_DELTA: Final = 7
_CHECKSUM_BYTES: Final = 20
_SIZES_BYTES: Final = 20
"""The most bytes of the two numbers that a delta begins with."""
_PIECE_BYTES: Final = 64 * 1024
_LOOKED_AT_BYTES: Final = 1024
"""How much packed data is read for the first byte in it; no more than 320 bytes stand before that but on purpose."""
_SORTED_AT_ONCE: Final = 10_000
_UNSEEN: Final = 1 << 62
"""The cost of a delta that hides what it makes: nothing is made on top of one."""


class Excess(NamedTuple):
    """What is too much about a chain, in words, and the depth of packing that makes no such one."""

    said: str
    depth: int


_LONG: Final = Excess(f"a chain of more than {CHAIN_MAX} deltas", 50)
_DEAR: Final = Excess("a chain of deltas that makes very much for a small object", 10)
_LOOSE: Final = Excess("an object of which the packed data are much longer than itself", 0)


class _Entry(NamedTuple):
    """An object of a pack: the offset of its base if it is a delta, else 0; its size, and what its own step costs.

    `data` is where its packed data begin.
    """

    base: int
    size: int
    cost: int
    data: int


class _Way(NamedTuple):
    """What lies on the way to an object: how many deltas, what they cost, and how many packed bytes."""

    length: int
    cost: int
    packed: int


def excess(folder: Path) -> Excess | None:
    """Say what is too much about a chain of any pack in the folder, None if nothing is. Raises OSError."""
    return next((found for index in folder.glob("*.idx") if (found := _excess(index)) is not None), None)


def _excess(index: Path) -> Excess | None:
    ids = index.read_bytes()
    count: int = struct.unpack_from(">I", ids, _IDS - 4)[0]
    if not count:
        return None  # the other side had everything
    small = struct.unpack_from(f">{count}I", ids, _IDS + 24 * count)
    far = _IDS + 28 * count
    offsets = [struct.unpack_from(">Q", ids, far + 8 * (at & 0x7FFFFFFF))[0] if at & 0x80000000 else at for at in small]
    ways: dict[int, _Way] = {}
    times: dict[int, float] = {}
    found: Excess | None = None
    with index.with_suffix(".pack").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pack:
        bounds = [*_in_order(offsets), len(pack) - _CHECKSUM_BYTES]
        for last in offsets:
            chain: list[tuple[int, _Entry]] = []
            at = last
            while at and at not in ways:
                chain.append((at, _entry(pack, at, ids, offsets)))
                at = chain[-1][1].base
            length, cost, packed = ways.get(at, (0, 0, 0))
            for place, entry in reversed(chain):
                cost += entry.cost
                packed += _end(bounds, place) - place
                if entry.base:
                    length += 1
                    ways[place] = _Way(length, cost, packed)
                    if cost > BYTES_MAX * max(entry.size, SMALL_BYTES):
                        found = found or _DEAR
                if entry.size <= READ_BYTES_MAX and packed > entry.size + PACKED_BYTES and found is None:
                    found = _LOOSE if _is_slow(pack, place, ids, offsets, bounds, times) else None
            if length > CHAIN_MAX:
                return _LONG
    return found


def _in_order(offsets: list[int]) -> Iterator[int]:
    """Sort very many numbers in calls that take a few ms each: every other thread waits for one."""
    return merge(*(sorted(offsets[at : at + _SORTED_AT_ONCE]) for at in range(0, len(offsets), _SORTED_AT_ONCE)))


def _end(bounds: list[int], at: int) -> int:
    """Give where an entry ends, where the next begins. Making a dictionary of all would take one call of 0.1 s."""
    return bounds[bisect_right(bounds, at)]


def _entry(pack: mmap.mmap, offset: int, ids: bytes, offsets: list[int]) -> _Entry:
    """Read the head of an entry, and of a delta where it begins."""
    at = offset + 1
    kind, size, shift = pack[offset] >> 4 & 7, pack[offset] & 15, 4
    while pack[at - 1] & 0x80:
        size |= (pack[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    if kind == _REF_DELTA:
        base, at = _offset(pack[at : at + 20], ids, offsets), at + 20
    elif kind == _OFS_DELTA:
        back = pack[at] & 0x7F
        while pack[at] & 0x80:
            at += 1
            back = (back + 1 << 7) | pack[at] & 0x7F
        base, at = offset - back, at + 1
    else:
        return _Entry(0, size, _BASE_COST * size, at)
    becomes = _becomes(pack[at : at + _LOOKED_AT_BYTES])
    if becomes is None:
        return _Entry(base, 0, _UNSEEN, at)
    return _Entry(base, becomes, _DELTA_COST * size + becomes, at)


def _is_slow(
    pack: mmap.mmap, at: int, ids: bytes, offsets: list[int], bounds: list[int], times: dict[int, float]
) -> bool:
    """Tell whether all that is packed on the way to an object takes too long to be unpacked."""
    took_s = 0.0
    while at:
        entry = _entry(pack, at, ids, offsets)
        if at not in times:
            times[at] = _unpacking_s(pack, entry.data, _end(bounds, at))
        took_s, at = took_s + times[at], entry.base
    return took_s > UNPACKED_S


def _unpacking_s(pack: mmap.mmap, begin: int, end: int) -> float:
    """Give the seconds of work that unpacking takes; other threads run meanwhile."""
    unpacker, began = zlib.decompressobj(), thread_time()
    for at in range(begin, end, _PIECE_BYTES):
        data = pack[at : min(end, at + _PIECE_BYTES)]
        while data and thread_time() - began <= UNPACKED_S:
            unpacker.decompress(data, _PIECE_BYTES)
            data = unpacker.unconsumed_tail
    return thread_time() - began


def _offset(oid: bytes, ids: bytes, offsets: list[int]) -> int:
    """Give where an object lies, 0 if it is not in the pack."""
    number = bisect_left(range(len(offsets)), oid, key=lambda n: ids[_IDS + 20 * n : _IDS + 20 * n + 20])
    found = ids[_IDS + 20 * number : _IDS + 20 * number + 20] == oid and number < len(offsets)
    return offsets[number] if found else 0


def _becomes(packed: bytes) -> int | None:
    """Give the size of the object that a delta makes, by its beginning; None if that cannot be seen."""
    data = zlib.decompressobj().decompress(packed, _SIZES_BYTES)
    ends = [at for at, byte in enumerate(data) if not byte & 0x80][:2]
    if len(ends) < 2:
        return None
    return sum((byte & 0x7F) << 7 * n for n, byte in enumerate(data[ends[0] + 1 : ends[1] + 1]))
