"""Proofs against the vectors that Certificate Transparency logs test themselves with, and against the RFC's words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.tlog.merkle import EMPTY_ROOT, Frontier, Tiers, leaf_hash, node_hash
from reconciler.tlog.proofs import consistency, inclusion, root, verify_consistency, verify_inclusion

ENTRIES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                            "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
# MTH, PATH and SUBPROOF as RFC 6962 words them, over lists of leaf hashes: an own implementation to compare with.


def largest_power_below(n: int) -> int:
    """Give the RFC's k."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(leaves: list[bytes]) -> bytes:
    """Give the Merkle Tree Hash of section 2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    k = largest_power_below(len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """Give the audit path of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], known: bool = True) -> list[bytes]:
    """Give the consistency proof of section 2.1.2."""
    if m == len(leaves):
        return [] if known else [mth(leaves)]
    k = largest_power_below(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], known), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def nodes_of(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    """Give complete subtrees of these leaves."""
    return lambda level, n: mth(leaves[n << level : n + 1 << level])


def hashes(count: int) -> list[bytes]:
    """Give so many leaf hashes, all different."""
    return [leaf_hash(str(n).encode()) for n in range(count)]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_matches_published_vectors(index: int, size: int) -> None:
    """The audit paths are those every other RFC 6962 implementation gives, and they verify."""
    leaves = [leaf_hash(entry) for entry in ENTRIES[:size]]
    made = inclusion(index, size, nodes_of(leaves))
    assert [step.hex() for step in made] == INCLUSION[index, size]
    assert verify_inclusion(leaves[index], index, size, made, mth(leaves))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_matches_published_vectors(old: int, new: int) -> None:
    """The consistency proofs are those every other RFC 6962 implementation gives, and they verify."""
    leaves = [leaf_hash(entry) for entry in ENTRIES[:new]]
    made = consistency(old, new, nodes_of(leaves))
    assert [step.hex() for step in made] == CONSISTENCY[old, new]
    assert verify_consistency(old, new, made, mth(leaves[:old]), mth(leaves))


def test_proofs_of_all_small_trees_are_those_of_the_rfc() -> None:
    """Up to 40 leaves, every root, path and consistency proof is the RFC's, and verifies."""
    for size in range(1, 41):
        leaves = hashes(size)
        nodes, top = nodes_of(leaves), mth(leaves)
        assert root(size, nodes) == top
        for at in range(size):
            assert inclusion(at, size, nodes) == path(at, leaves)
            assert verify_inclusion(leaves[at], at, size, path(at, leaves), top)
            assert consistency(at + 1, size, nodes) == subproof(at + 1, leaves)
            assert verify_consistency(at + 1, size, subproof(at + 1, leaves), mth(leaves[: at + 1]), top)
    assert root(0, nodes) == EMPTY_ROOT


@given(st.integers(1, 300), st.data())
def test_proof_that_was_changed_does_not_verify(size: int, data: st.DataObject) -> None:
    """Another leaf, position, size, root, or a step more, less, changed or moved: none of it verifies."""
    leaves = hashes(size)
    top, at = mth(leaves), data.draw(st.integers(0, size - 1))
    good = path(at, leaves)
    other = leaf_hash(b"other")
    assert not verify_inclusion(other, at, size, good, top)
    assert not verify_inclusion(leaves[at], at, size, good, other)
    assert not verify_inclusion(leaves[at], at, size, [*good, other], top)
    for wrong in {at ^ 1, at + 1, at - 1, size} - {at}:
        assert not verify_inclusion(leaves[at], wrong, size, good, top)
    for n in range(len(good)):
        assert not verify_inclusion(leaves[at], at, size, good[:n] + good[n + 1 :], top)
        assert not verify_inclusion(leaves[at], at, size, [*good[:n], other, *good[n + 1 :]], top)
        assert not verify_inclusion(leaves[at], at, size, [*good[:n], good[n][:31], *good[n + 1 :]], top)


@given(st.integers(2, 300), st.data())
def test_consistency_proof_that_was_changed_does_not_verify(new: int, data: st.DataObject) -> None:
    """A log that was rewritten before the old size has no proof that verifies."""
    leaves = hashes(new)
    old = data.draw(st.integers(1, new - 1))
    good, before, after = subproof(old, leaves), mth(leaves[:old]), mth(leaves)
    other = leaf_hash(b"other")
    changed = list(leaves)
    changed[data.draw(st.integers(0, old - 1))] = other
    assert not verify_consistency(old, new, good, mth(changed[:old]), after)
    assert not verify_consistency(old, new, subproof(old, changed), before, mth(changed))
    assert not verify_consistency(old, new, [*good, other], before, after)
    assert not verify_consistency(new, old, good, after, before)
    for n in range(len(good)):
        assert not verify_consistency(old, new, good[:n] + good[n + 1 :], before, after)
        assert not verify_consistency(old, new, [*good[:n], other, *good[n + 1 :]], before, after)


def test_consistency_with_nothing_and_with_itself_needs_no_steps() -> None:
    """Every tree begins with the empty one and with itself, and with nothing else by an empty proof."""
    three = mth(hashes(3))
    assert verify_consistency(0, 3, [], EMPTY_ROOT, three)
    assert verify_consistency(3, 3, [], three, three)
    assert not verify_consistency(0, 3, [], three, three)
    assert not verify_consistency(3, 3, [], three, EMPTY_ROOT)
    assert not verify_consistency(2, 3, [], three, three)
    assert not verify_consistency(3, 5, [], three, mth(hashes(5)))


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 1), (0, 3), (3, 3)])
def test_nothing_needs_to_be_shown_of_nothing_and_of_the_whole(old: int, new: int) -> None:
    """The verifier has both roots already; no hash is asked for."""
    assert consistency(old, new, nodes_of([])) == []


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (1, 1), (0, 0)])
def test_proof_of_what_is_not_there_is_no_value(index: int, size: int) -> None:
    """A leaf outside the tree has no proof, and none verifies."""
    with pytest.raises(ValueError, match=f"^a tree of {size} leaves has no leaf {index}$"):
        inclusion(index, size, nodes_of([]))
    assert not verify_inclusion(EMPTY_ROOT, index, size, [], EMPTY_ROOT)


@pytest.mark.parametrize(("old", "new"), [(-1, 1), (2, 1)])
def test_longer_tree_is_no_beginning(old: int, new: int) -> None:
    """Neither can it be proved, nor does anything verify."""
    with pytest.raises(ValueError, match=f"^a tree of {new} leaves does not begin with one of {old}$"):
        consistency(old, new, nodes_of([leaf_hash(b"")]))
    assert not verify_consistency(old, new, [], EMPTY_ROOT, EMPTY_ROOT)


@given(st.lists(st.integers(0, 700), max_size=5))
def test_frontier_hands_out_every_subtree_of_a_tile_once(steps: list[int]) -> None:
    """However the leaves arrive, the roots of 256 leaves come out once each, in order, and right."""
    leaves = hashes(sum(steps))
    tree, at, found = Frontier(), 0, list[bytes]()
    for step in steps:
        tiers: Tiers = {}
        tree.extend(leaves[at : at + step], tiers)
        at += step
        if 1 in tiers:
            assert tiers[1][0] == len(found)
            found += tiers[1][1]
    assert found == [mth(leaves[n : n + 256]) for n in range(0, len(leaves) - 255, 256)]
