"""What a pruned log begins with, read part by part: bases, cuts, kept events and their tiles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import cast

import pytest

from reconciler.core import events as ev
from reconciler.core.budget import Account, Ledger
from reconciler.core.errors import LogDamaged, NotFound
from reconciler.core.state import FOLD_VERSION, Order, State, dump
from reconciler.log import past, pruned
from reconciler.log.store import Base, Kept, Reader, Stored
from reconciler.log.tree import Tree, extend
from reconciler.tlog.merkle import Frontier, leaf_hash, node_hash
from reconciler.tlog.proofs import verify_consistency, verify_inclusion

HINT = "run `pai verify` to see all that is wrong, and restore the file from a backup"
TREE_HINT = "run `pai verify` to see all that is wrong; subtree hashes are made anew when the log is opened for writing"
LEAVES = [leaf_hash(b"%d" % n) for n in range(256)]


def tree(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier


STATE = State(position=256, ledger=Ledger("2026-11-23", {"m": Account("2026-11-23", 5)}))
DATA = dump(STATE)
BASE = Base(256, tree(LEAVES).pack(), DATA, hashlib.sha256(DATA).hexdigest(), 300, FOLD_VERSION)


def cut(first: int, begin: int, previous: int | None) -> bytes:
    """Give the bytes of the event that tells of a cut."""
    payload = ev.LogPruned(
        first=first, begin=begin, root="", checkpoint="", export=f"/to/{first}", state="", kept=0, digest="",
        previous=previous,
    )  # fmt: skip
    return ev.encode(ev.Event("o@example.com", payload, "id", "log", f"2026-11-23T{first % 24:02}:00:00.000000Z"))


class Log:
    """A log of a few events by position, behind a base."""

    def __init__(self, base: Base | None, bodies: dict[int, bytes], leaf: bytes | None = None) -> None:
        self._base, self._bodies, self._leaf = base, bodies, leaf

    def base(self) -> Base | None:
        """Give its base."""
        return self._base

    def first(self) -> int:
        """Give where it begins."""
        return self._base.position if self._base else 0

    def read(self, start: int, stop: int) -> Iterator[Stored]:
        """Give its events, those that are there."""
        for seq in range(start, stop):
            if seq in self._bodies:
                yield Stored(seq, self._bodies[seq], self._leaf or leaf_hash(self._bodies[seq]))

    def chunks(self, start: int, stop: int) -> Iterator[list[Stored]]:
        """Give them two at a time."""
        found = list(self.read(start, stop))
        yield from (found[n : n + 2] for n in range(0, len(found), 2))


def reader(base: Base | None = BASE, leaf: bytes | None = None, **bodies: bytes) -> Reader:
    """Give a log with events at positions `at_N`."""
    return cast("Reader", Log(base, {int(at.removeprefix("at_")): body for at, body in bodies.items()}, leaf))


def test_replay_begins_with_the_base() -> None:
    """State and frontier of it; of a log that was never cut, nothing."""
    state, frontier = pruned.start(reader())
    assert state == STATE
    assert (frontier.size, frontier.root()) == (256, tree(LEAVES).root())
    state, frontier = pruned.start(reader(None))
    assert (state, frontier.size) == (State(), 0)
    assert pruned.account_at_base(reader(), "m") == Account("2026-11-23", 5)
    assert pruned.account_at_base(reader(), "other") is None


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (
            {"fold": FOLD_VERSION + 1},
            f", is of version {FOLD_VERSION + 1}, and this program reads up to {FOLD_VERSION}",
            "use the newer Pai that has pruned it",
        ),
        ({"digest": "0" * 64}, ": it does not match its digest", HINT),
        ({"position": 512}, ": it is the state at position 256", HINT),
        ({"peaks": b"x"}, ": 1 bytes are no frontier of 256 leaves", HINT),
    ],
)
def test_base_that_is_not_whole_is_damage(change: dict[str, object], message: str, hint: str) -> None:
    """It is said where the log begins, what is wrong there, and what to do; an older version's base is read."""
    base = BASE._replace(**change)
    with pytest.raises(LogDamaged) as caught:
        pruned.load_base(base)
    assert caught.value.message == f"the state at position {base.position}, where the log begins{message}"
    assert caught.value.hint == hint
    assert pruned.load_base(BASE._replace(fold=0))[0] == STATE


def test_cuts_are_told_newest_first_each_by_its_event() -> None:
    """And whoever asks for an event that was dropped is told by whom, when and where to."""
    log = reader(at_300=cut(256, 128, 200), at_200=cut(128, 0, None))
    assert [(each.position, each.payload.first) for each in pruned.prunings(log)] == [(300, 256), (200, 128)]
    assert list(pruned.prunings(reader(None))) == []
    found = [pruned.where(log, position) for position in (0, 127, 128, 255, 256, 300)]
    assert [each and each.position for each in found] == [200, 200, 300, 300, None, None]
    assert pruned.where(reader(at_300=cut(256, 64, None)), 10) is None
    error = pruned.dropped(log, 127)
    assert isinstance(error, NotFound)
    assert error.message == (
        "position 127 is not on the log any more, which begins at #256: pruned on 2026-11-23 by o@example.com"
    )
    assert error.hint == "events #0 to #127 were exported to /to/128; pai verify reads it"
    error = pruned.dropped(log, 300, "the moment")
    assert error.message == "the moment is not on the log any more, which begins at #256"
    assert error.hint == "pai log type:log.pruned says where the events before are"


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (reader(), "the event at position 300 does not say that the log was pruned"),
        (reader(at_300=b"{}"), "the event at position 300 does not say that the log was pruned"),
        (
            reader(leaf=bytes(32), at_300=cut(256, 0, None)),
            "the event at position 300 does not say that the log was pruned",
        ),
        (
            reader(at_300=ev.encode(ev.Event("a", ev.DaemonStopped(reason=""), "id", "daemon", "t"))),
            "the event at position 300 does not say that the log was pruned",
        ),
        (reader(at_300=cut(256, 0, 300)), "the event at position 300 tells of a cut after it"),
        (reader(at_300=cut(256, 0, 299)), "the event at position 299 does not say that the log was pruned"),
    ],
)
def test_cut_that_is_not_told_is_damage(log: Reader, message: str) -> None:
    """No event, another event, other bytes than were hashed, or cuts in no order."""
    with pytest.raises(LogDamaged) as caught:
        list(pruned.prunings(log))
    assert (caught.value.message, caught.value.hint) == (message, HINT)


@pytest.mark.parametrize("offset", [0, 1, 2, 127, 128, 255])
def test_path_in_a_tile_leads_to_its_root(offset: int) -> None:
    """Eight hashes, for every leaf of it, in whichever tile it stands."""
    path = pruned.path_in_tile(LEAVES, offset)
    assert len(path) == 8 * 32
    assert pruned.tile_root(Kept(512 + offset, b"", LEAVES[offset], path)) == tree(LEAVES).root()


@pytest.mark.parametrize("leaves", [LEAVES[:-1], [*LEAVES, LEAVES[0]]])
def test_path_needs_a_full_tile(leaves: list[bytes]) -> None:
    """What is kept is kept of whole tiles."""
    with pytest.raises(LogDamaged) as caught:
        pruned.path_in_tile(leaves, 0)
    assert caught.value.message == f"a tile of the log has {len(leaves)} leaf hashes"
    assert caught.value.hint == HINT


def test_digest_of_kept_events_is_of_their_positions_and_hashes() -> None:
    """As the page of the format says: decimal position, a space, the leaf hash, one after the other."""
    kept = [Kept(7, b"", LEAVES[7], b""), Kept(30, b"", LEAVES[30], b"")]
    assert pruned.kept_digest(kept) == hashlib.sha256(b"7 " + LEAVES[7] + b"30 " + LEAVES[30]).hexdigest()


def test_frontier_is_extended_by_events_that_are_whole() -> None:
    """Up to where it is asked, from where it stands."""
    bodies = {f"at_{n}": b"%d" % n for n in range(7)}
    frontier = tree(LEAVES[:2])
    extend(frontier, reader(**bodies), 6)
    assert (frontier.size, frontier.root()) == (6, tree(LEAVES[:6]).root())


@pytest.mark.parametrize(
    ("missing", "leaf", "message"),
    [
        (3, None, "position 3 is missing, 4 follows"),
        (6, None, "position 6 is missing, the log has 7 events"),
        (9, bytes(32), "the event at position 0 does not match its hash"),
    ],
)
def test_frontier_is_not_extended_over_what_is_not_whole(missing: int, leaf: bytes | None, message: str) -> None:
    """A gap, an end that comes too early, other bytes than were hashed."""
    bodies = {f"at_{n}": b"%d" % n for n in range(7) if n != missing}
    with pytest.raises(LogDamaged) as caught:
        extend(Frontier(), reader(leaf=leaf, **bodies), 7)
    assert (caught.value.message, caught.value.hint) == (message, TREE_HINT)


ALL = [leaf_hash(b"%d" % n) for n in range(600)]


class Hashes:
    """The hashes of a log of 600 events that begins at position 512: its leaves from there, and whole tiles' roots."""

    def hashes(self, tier: int, start: int, stop: int) -> list[bytes]:
        """Give those that are there."""
        if tier:
            return [tree(ALL[256 * n : 256 * n + 256]).root() for n in range(start, min(stop, 2))]
        return ALL[start:stop] if start >= 512 else []


@pytest.mark.parametrize("size", [256, 512, 513, 600])
@pytest.mark.parametrize("position", [0, 255, 256, 300, 511, 512, 599])
def test_kept_event_is_proved_by_its_path(position: int, size: int) -> None:
    """Its neighbours were dropped: the path stands for them, below its tile's root and nowhere else."""
    hashes = Tree(cast("Reader", Hashes()))
    if position >= size:
        return
    tile = ALL[position - position % 256 :][:256]
    path = pruned.path_in_tile(tile, position % 256) if position < 512 else b""
    proof = hashes.inclusion(position, size, path)
    assert verify_inclusion(ALL[position], position, size, proof, tree(ALL[:size]).root())
    if path:
        with pytest.raises(LogDamaged) as caught:
            hashes.inclusion(position, size)
        assert caught.value.hint == TREE_HINT
        assert caught.value.message.startswith("a hash of the tree is missing at position ")


def test_tree_of_stored_hashes_is_that_of_the_leaves() -> None:
    """Roots, frontiers and consistency of what is there, and where the first hash is missing that is not."""
    hashes = Tree(cast("Reader", Hashes()))
    for size in (256, 512, 513, 599, 600):
        whole = tree(ALL[:size])
        assert hashes.root(size) == whole.root()
        assert (hashes.frontier(size).size, hashes.frontier(size).peaks) == (size, whole.peaks)
        shown = hashes.consistency(size, 600)
        assert verify_consistency(size, 600, shown, whole.root(), tree(ALL).root())
    assert hashes.root(512) == node_hash(tree(ALL[:256]).root(), tree(ALL[256:512]).root())
    for size, missing in ((601, 600), (768, 512), (1024, 512), (3, 0)):
        with pytest.raises(LogDamaged, match=f"^a hash of the tree is missing at position {missing}$"):
            hashes.root(size)


def at(state: State) -> Reader:
    """Give a log that begins with a state."""
    data = dump(state)
    base = Base(256, tree(LEAVES).pack(), data, hashlib.sha256(data).hexdigest(), 300, FOLD_VERSION)
    return reader(base, at_300=cut(256, 0, None))


def test_of_what_was_dropped_only_the_revision_in_force_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after its acceptance nothing differed from the base, unless another one was pinned there."""
    free = State(position=256, accepted=200)
    pinned = State(position=256, accepted=200, pin=Order("o@example.com", "t", "", "c"))
    monkeypatch.setattr(past, "state_then", lambda _, position: State(position=position))
    assert past.objects_at(at(free), 201) == free
    for log, position in ((at(free), 200), (at(free), 202), (at(free), 255), (at(pinned), 201)):
        with pytest.raises(NotFound, match=f"^position {position - 1} is not on the log"):
            past.objects_at(log, position)
    assert [past.objects_at(at(free), position).position for position in (256, 257)] == [256, 257]

    assert past.accepted_state(at(free), free) is free
    assert past.accepted_state(at(free), pinned) == free
