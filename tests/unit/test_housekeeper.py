"""What is derived from the log and kept beside it: when snapshots, blocks and the projection are made, and of what."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.events import Draft, TokensReserved, decode
from reconciler.core.state import FOLD_VERSION, State, dump
from reconciler.log.creation import projection_rows
from reconciler.log.replay import restore
from reconciler.log.store import Store
from reconciler.recorder.housekeeper import NOTHING_DUE, Housekeeper
from reconciler.recorder.indexer import STEP_EVENTS, Indexer
from tests.support_log import new_log_of, some, stored


class Kept:
    """A log in memory with its state, and batches committed one after the other."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = new_log_of("memory", folder).writer().open()
        self.state: State = restore(self.store).state

    def commit(self, keeper: Housekeeper, count: int, drafts: list[Draft] | None = None) -> bool:
        """Commit a batch as the recorder does, and tell whether something was due with it."""
        batch = some(self.state.position, count) if drafts is None else stored(self.state.position, drafts)
        events = [decode(each.body) for each in batch]
        for event in events:
            self.state.apply(event)
        due = keeper.take(self.state)
        self.store.append(batch, projection_rows(self.state))
        keeper.add(events, due)
        return due is not NOTHING_DUE

    def snapshots(self) -> list[int]:
        """Give the positions of the snapshots, newest first."""
        return [snapshot.position for snapshot in self.store.snapshots()]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Give a log with one event."""
    return Kept(tmp_path)


def keeper_of(kept: Kept, snapshot: int = 0, every: int = 10_000, block: int = 1000) -> Housekeeper:
    return Housekeeper(kept.store, kept.state, snapshot, snapshot_every=every, block_events=block)


def test_snapshot_is_taken_of_the_batch_that_makes_it_due_and_saved_later(kept: Kept) -> None:
    """It holds the state after that batch, whatever comes before it is saved."""
    keeper = keeper_of(kept, every=10)
    assert not keeper.is_due(9)
    assert keeper.is_due(10)
    assert not kept.commit(keeper, 8)
    assert not keeper.behind
    assert kept.commit(keeper, 1)
    at_ten = dump(kept.state)
    assert keeper.behind
    assert keeper.is_due(10)
    assert not keeper._snapshot_due(19)
    assert not kept.commit(keeper, 3)
    assert kept.snapshots() == []
    keeper.step()
    assert not keeper.behind
    (snapshot,) = kept.store.snapshots()
    assert (snapshot.position, snapshot.fold, snapshot.data, snapshot.intact()) == (10, FOLD_VERSION, at_ten, True)
    assert restore(kept.store).snapshot == 10
    assert not keeper.is_due(19)
    assert keeper.is_due(20)


@pytest.mark.parametrize(
    ("snapshot", "every", "taken"), [(0, 1, [1]), (0, 10, [1]), (0, 19, [1]), (0, 20, []), (1, 10, []), (1, 1, [])]
)
def test_snapshot_is_taken_at_the_end_if_it_spares_a_start_much(
    kept: Kept, snapshot: int, every: int, taken: list[int]
) -> None:
    """A tenth of the usual distance or more, at least one event."""
    keeper_of(kept, snapshot, every).close(kept.state)
    assert kept.snapshots() == taken


@pytest.mark.parametrize("stale", ["size", "fold", None])
def test_projection_is_made_anew_if_it_is_behind_or_of_another_fold(kept: Kept, stale: str | None) -> None:
    """Otherwise it stays as it is."""
    if stale == "size":
        kept.store.append(some(1, 1), {})
        kept.store.project({("secret", "old"): b"{}"}, FOLD_VERSION)
        kept.store.append(some(2, 1), {})
        kept.state = restore(kept.store).state
        kept.store._log.change(lambda data: setattr(data, "projected", 2))  # type: ignore[attr-defined]
    else:
        kept.store.project({("secret", "old"): b"{}"}, FOLD_VERSION - (stale == "fold"))
    keeper_of(kept)
    rows, head = kept.store.rows(), kept.store.head()
    assert (rows == projection_rows(kept.state)) is (stale is not None)
    assert (head.projected, head.fold) == (head.size, FOLD_VERSION)


def test_block_ends_with_the_batch_that_fills_it(kept: Kept) -> None:
    """Its events are in the index at once; those after it wait for the next."""
    keeper = keeper_of(kept, block=4)
    assert [keeper.is_due(position) for position in (3, 4)] == [False, True]
    assert [kept.commit(keeper, count) for count in (2, 1, 3)] == [False, True, False]
    assert kept.store.head().indexed == 4
    assert kept.commit(keeper, 6)
    assert kept.store.head().indexed == 13
    assert not keeper.behind


def test_large_batch_is_indexed_step_by_step(kept: Kept) -> None:
    """A block after each step where no account changes; what comes meanwhile waits behind it."""
    keeper = keeper_of(kept, block=600)
    assert kept.commit(keeper, 2 * STEP_EVENTS + 5)
    assert not kept.commit(keeper, 3)
    found = []
    while keeper.behind:
        keeper.step()
        found.append(kept.store.head().indexed)
    assert found == [1 + STEP_EVENTS, 1 + 2 * STEP_EVENTS, 1 + 2 * STEP_EVENTS + 5, 1 + 2 * STEP_EVENTS + 5]
    assert keeper_of(kept, block=600)._indexer._block.stop == kept.state.position


def test_large_batch_that_changes_accounts_is_one_block(kept: Kept) -> None:
    """In its middle nobody knows the accounts."""
    keeper = keeper_of(kept, block=600)
    reserved = [
        Draft(
            "w",
            "model/m",
            TokensReserved(
                request=f"r{n}", agent="w", key="", surface="", day="2026-11-23", tokens=1, input=1, output=0, binding=0
            ),
        )
        for n in range(STEP_EVENTS + 100)
    ]
    assert kept.commit(keeper, 0, reserved)
    found = []
    while keeper.behind:
        keeper.step()
        found.append(kept.store.head().indexed)
    assert found == [0, 1 + STEP_EVENTS + 100]


def test_batch_of_a_step_is_indexed_at_once(kept: Kept) -> None:
    """One event more is not."""
    keeper = keeper_of(kept, block=600)
    kept.commit(keeper, STEP_EVENTS)
    assert not keeper.behind
    kept.commit(keeper, STEP_EVENTS + 1)
    assert keeper.behind
    keeper.step()
    assert kept.store.head().indexed == 1 + 2 * STEP_EVENTS
    keeper.step()
    assert (keeper.behind, kept.store.head().indexed) == (False, 2 + 2 * STEP_EVENTS)


def test_full_block_that_a_killed_program_left_is_sealed(kept: Kept) -> None:
    """With the accounts of the log's end, if there are any to seal it with."""
    kept.store.append(some(1, 5), {})
    kept.state = restore(kept.store).state
    left = kept.store.head().indexed
    Indexer(kept.store, 4)
    assert kept.store.head().indexed == left
    indexer = Indexer(kept.store, 4, kept.state.ledger.accounts)
    assert kept.store.head().indexed == 6
    assert [indexer.due(position) for position in (9, 10)] == [False, True]
    indexer.end(10)
    assert [indexer.due(position) for position in (13, 14)] == [False, True]
