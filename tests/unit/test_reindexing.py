"""Going on with an index where it ends, or making it anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import LogDamaged
from reconciler.log import reindexing
from reconciler.log.replay import restore
from reconciler.log.store import Store
from tests.support_log import new_log_of, some


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Give a log of 25 events that is in no index, and that knows no block yet."""
    made = new_log_of("memory", tmp_path).writer().open()
    made.append(some(1, 24), {})
    return made


def blocks(store: Store) -> list[int]:
    """Give where the blocks of the index begin."""
    return sorted({block for block, _, _ in store.whole_index().marks})


def test_index_is_made_anew_in_blocks_of_the_size_given(store: Store) -> None:
    """What fills no block stays outside; the state is that of all events."""
    assert reindexing.reindex(store, 10) == restore(store).state
    assert (blocks(store), store.head().indexed) == ([0, 10], 20)
    reindexing.reindex(store, 5)
    assert (blocks(store), store.head().indexed) == ([0, 5, 10, 15, 20], 25)


@pytest.mark.parametrize(("behind_max", "begins"), [(15, 0), (14, 20)])
def test_index_that_lacks_more_than_a_crash_leaves_is_made_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, behind_max: int, begins: int
) -> None:
    """Up to a block and the largest decision, the events that it lacks are taken into the next block."""
    monkeypatch.setattr(reindexing, "BEHIND_MAX", behind_max)
    store.clear_index(reindexing.INDEX_VERSION)
    block = reindexing.open_block(store, 10)
    assert (block.first, block.stop, store.head().indexed) == (begins, 25, begins)
    assert [block.full(more) for more in (4, 5)] == [begins == 0, True]


def test_index_of_another_version_is_made_anew(store: Store) -> None:
    """Also if it lacks nothing."""
    reindexing.reindex(store, 5)
    store.clear_index(reindexing.INDEX_VERSION - 1)
    assert reindexing.open_block(store, 10).first == 20
    assert store.head().index_version == reindexing.INDEX_VERSION
    assert blocks(store) == [0, 10]


def test_event_that_is_missing_is_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says that it has more events than there are."""
    monkeypatch.setattr(store, "size", lambda: 26)
    with pytest.raises(LogDamaged, match=r"^position 25 is missing$") as caught:
        reindexing.reindex(store, 10)
    assert caught.value.hint == "run `pai verify`"
