"""Proofs in the log's Merkle tree (RFC 6962 section 2.1), made from subtree hashes, and their verification.

Pure. Whoever makes a proof hands in a function that gives the roots of complete subtrees; whoever verifies needs
nothing but the proof. The verifiers follow RFC 9162 sections 2.1.3.2 and 2.1.4.2 and share no code with the makers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.tlog.merkle import EMPTY_ROOT, HASH_SIZE, node_hash

Nodes = Callable[[int, int], bytes]
"""`(level, n)` -> root of the subtree of the 2**level leaves from position n * 2**level on, all of which exist."""


def root(size: int, nodes: Nodes) -> bytes:
    """Give the root of the tree of the first `size` leaves."""
    return _span(0, size, nodes) if size else EMPTY_ROOT


def inclusion(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Prove that leaf `index` is in the tree of `size` leaves: the siblings on its way, the leaf's own first."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_span(middle, stop, nodes))
            stop = middle
        else:
            path.append(_span(start, middle, nodes))
            start = middle
    path.reverse()
    return path


def consistency(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """Prove that the tree of `new` leaves begins with the tree of `old` leaves."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not begin with one of {old}")
    path: list[bytes] = []
    start, stop = 0, new
    while start < old < stop:
        middle = start + _split(stop - start)
        if old <= middle:
            path.append(_span(middle, stop, nodes))
            stop = middle
        else:
            path.append(_span(start, middle, nodes))
            start = middle
    if start:  # else the old root itself, which the verifier has
        path.append(_span(start, stop, nodes))
    path.reverse()
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Tell whether `path` leads from the hash `leaf` at `index` to the root `expected` of `size` leaves."""
    if not 0 <= index < size or any(len(step) != HASH_SIZE for step in path):
        return False
    at, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found == expected


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Tell whether `path` shows that the tree (new, new_root) begins with the tree (old, old_root)."""
    if not 0 <= old <= new or any(len(step) != HASH_SIZE for step in path):
        return False
    if old == new or old == 0:
        return not path and (old_root == new_root if old == new else old_root == EMPTY_ROOT)
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not steps:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    found_old = found_new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            found_old, found_new = node_hash(step, found_old), node_hash(step, found_new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found_new = node_hash(found_new, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found_old == old_root and found_new == new_root


def _span(start: int, stop: int, nodes: Nodes) -> bytes:
    """Give the root over the leaves `start` to `stop` - 1; `start` is a multiple of every subtree's size in there."""
    level = (stop - start).bit_length() - 1
    if stop - start == 1 << level:
        return nodes(level, start >> level)
    middle = start + (1 << level)
    return node_hash(nodes(level, start >> level), _span(middle, stop, nodes))


def _split(count: int) -> int:
    """Give the largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1
