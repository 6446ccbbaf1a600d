"""The Merkle tree against the definition of RFC 6962, section 2.1, and its published test vectors."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.tlog.merkle import EMPTY_ROOT, Frontier, leaf_hash, node_hash

# The entries and roots that Certificate Transparency implementations test themselves with.
ENTRIES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                            "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def definition(leaves: list[bytes]) -> bytes:
    """The root as the RFC words it, recursively."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(definition(leaves[:split]), definition(leaves[split:]))


@pytest.mark.parametrize("size", ROOTS)
def test_root_matches_published_vectors(size: int) -> None:
    """The roots are those every other RFC 6962 implementation gives."""
    tree = Frontier()
    tree.extend(map(leaf_hash, ENTRIES[:size]))
    assert tree.root().hex() == ROOTS[size]


def test_empty_tree_has_the_hash_of_nothing() -> None:
    """A tree without leaves hashes to SHA-256 of the empty string."""
    assert Frontier().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


@given(st.lists(st.integers(0, 40), max_size=8))
def test_frontier_grown_in_any_steps_equals_the_definition(steps: list[int]) -> None:
    """However the leaves arrive, root and packed frontier are those of the whole."""
    leaves = [leaf_hash(str(n).encode()) for n in range(sum(steps))]
    tree, at = Frontier(), 0
    for step in steps:
        tree.extend(leaves[at : at + step])
        at += step
        tree = Frontier.unpack(tree.size, tree.pack())
    assert tree.size == len(leaves)
    assert tree.root() == definition(leaves)


@pytest.mark.parametrize(("size", "data"), [(1, b""), (3, b"x" * 32), (0, b"x" * 32), (-1, b"x" * 32), (1, b"x" * 31)])
def test_unpack_refuses_what_is_no_frontier(size: int, data: bytes) -> None:
    """A frontier has one hash for every bit set in its size."""
    with pytest.raises(ValueError, match="no frontier"):
        Frontier.unpack(size, data)


@pytest.mark.parametrize(("size", "peaks"), [(1, []), (2, [b"x" * 32] * 2), (1, [b"x" * 31]), (0, [b"x" * 32])])
def test_peaks_that_do_not_fit_make_no_tree(size: int, peaks: list[bytes]) -> None:
    """Neither their number nor their length may be another."""
    with pytest.raises(ValueError, match=f"^{len(peaks)} peaks do not make a tree of {size} leaves$"):
        Frontier(size, peaks)


def test_unpack_says_what_does_not_fit() -> None:
    """Bytes and leaves, for whoever looks into a damaged log."""
    with pytest.raises(ValueError, match=r"^31 bytes are no frontier of 1 leaves$"):
        Frontier.unpack(1, b"x" * 31)
