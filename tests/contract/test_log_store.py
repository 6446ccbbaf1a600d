"""What every log promises, whatever keeps it: run over each."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.audit.tail import Tail
from reconciler.audit.terms import Query
from reconciler.core.errors import LogBusy, LogDamaged, TooLong
from reconciler.core.events import LogCreated, decode
from reconciler.core.state import RowKey
from reconciler.log.creation import create_log
from reconciler.log.store import Backend, Base, Kept, Log, Snapshot, Store, Stored
from reconciler.tlog.merkle import Frontier
from tests.support_log import LOGS, ORIGIN, OWN, some

LOG: RowKey = ("log", "")
S1: RowKey = ("secret", "s1")


@pytest.fixture(params=sorted(LOGS))
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Log:
    """A log that was not made yet, of each kind."""
    return LOGS[request.param](tmp_path)


@pytest.fixture
def log(place: Log) -> Log:
    """A log with its first event."""
    create_log(place, origin=ORIGIN, vkey="key")
    return place


@pytest.fixture
def store(log: Log) -> Iterator[Store]:
    """That log, open for writing."""
    backend = log.writer()
    opened = backend.open()
    yield opened
    opened.close()
    backend.release()


def test_append_gives_back_the_same_bytes(store: Store) -> None:
    """What was appended reads back byte by byte, from any position, in both directions, and in chunks."""
    events = some(1, 700)
    store.append(events, {})
    store.look()
    assert store.size() == 701
    assert list(store.read(1)) == events
    assert list(store.read(5, 7)) == events[4:6]
    assert list(store.read_back())[:-1] == events[::-1]
    assert [e.seq for e in store.read_back(before=3)] == [2, 1, 0]
    assert [event for chunk in store.chunks(3, 9) for event in chunk] == [tuple(event) for event in events[2:8]]
    assert [body for chunk in store.bodies(1) for body in chunk] == [event.body for event in events]
    assert [len(chunk) for chunk in store.bodies()] == [701]
    assert next(iter(store.chunks()))[0][0] == next(iter(store.read())).seq == 0
    assert list(store.read_at([])) == []
    assert [body for chunk in store.bodies(3, 9) for body in chunk] == [event.body for event in events[2:8]]
    assert [e.seq for e in store.read_at([4, 700, 2])] == [700, 4, 2]


def test_read_back_finds_bytes(store: Store) -> None:
    """The prefilter keeps exactly the events that contain every one of the byte strings."""
    store.append(some(1, 30), {})
    assert [e.seq for e in store.read_back(contains=[b'"secret/s1'])] == [*range(19, 9, -1), 1]
    assert [e.seq for e in store.read_back(contains=[b"secret.stored", b'"secret/s7"'])] == [7]
    assert list(store.read_back(contains=["é".encode()])) == []


def test_append_keeps_the_frontier_of_all_leaves(store: Store) -> None:
    """The head carries the Merkle frontier over every leaf, whatever the batches were."""
    for first, count in ((1, 1), (2, 6), (8, 100)):
        store.append(some(first, count), {})
    tree = Frontier()
    tree.extend(event.leaf for event in store.read())
    assert (store.head().size, store.head().peaks) == (108, tree.pack())


def test_subtree_hashes_come_with_the_events_and_can_be_made_anew(store: Store) -> None:
    """Tier 0 are the leaves, tier 1 the roots of 256 of them; made again they are the same."""
    store.append(some(1, 300), {})
    store.append(some(301, 300), {})
    leaves = [event.leaf for event in store.read()]
    roots = []
    for at in (0, 256):
        tree = Frontier()
        tree.extend(leaves[at : at + 256])
        roots.append(tree.root())
    assert store.hashes(0, 598, 700) == leaves[598:]
    assert store.hashes(1, 0, 9) == roots
    store.plant()
    assert store.hashes(1, 0, 9) == roots
    assert store.hashes(2, 0, 1) == []


def test_append_puts_and_removes_rows_with_the_events(store: Store) -> None:
    """Rows are replaced, added and removed in the transaction of the events."""
    store.append(some(1, 1), {S1: b"one", LOG: b"log"})
    store.append(some(2, 1), {S1: b"two"})
    assert store.row(S1) == b"two"
    assert store.rows() == {S1: b"two", LOG: b"log"}
    store.append(some(3, 1), {S1: None})
    assert store.row(S1) is None
    assert store.head().projected == store.size() == 4


@pytest.mark.parametrize("first", [0, 1, 3, 9])
def test_append_refuses_positions_that_do_not_continue_the_log(store: Store, first: int) -> None:
    """A batch that overlaps or leaves a gap is refused whole: no event, no row, no frontier."""
    store.append(some(1, 1), {})
    before = (store.head(), list(store.read()), store.rows())
    with pytest.raises(LogDamaged):
        store.append(some(first, 3), {S1: b"x"})
    assert (store.head(), list(store.read()), store.rows()) == before


def test_append_is_all_or_nothing(store: Store) -> None:
    """A gap inside a batch takes back everything before it."""
    before = (store.head(), store.rows())
    first, second, third = some(1, 3)
    with pytest.raises(LogDamaged):
        store.append([first, third, second], {S1: b"x"})
    assert (store.head(), store.rows(), store.size()) == (*before, 1)
    store.append([first, second, third], {})
    assert store.size() == 4


def test_project_replaces_all_rows(store: Store) -> None:
    """A new projection leaves nothing of the former one."""
    store.append(some(1, 1), {S1: b"old"})
    store.project({LOG: b"new"}, 7)
    assert store.rows() == {LOG: b"new"}
    assert (store.head().projected, store.head().fold) == (2, 7)


def test_snapshots_keep_the_two_newest(store: Store) -> None:
    """Older snapshots go; the same position is replaced."""
    for position in (1, 2, 3, 3):
        store.save_snapshot(Snapshot.of(position, 1, b"p" * 32, b"data %d" % position))
    kept = store.snapshots()
    assert [snapshot.position for snapshot in kept] == [3, 2]
    assert all(snapshot.intact() for snapshot in kept)


def test_snapshots_keep_the_first_of_each_million_events(store: Store) -> None:
    """Of events far back one stays that a past moment is told from, but none of another fold."""
    for position, fold in ((7, 1), (1_000_005, 1), (1_000_009, 2), (1_000_011, 2), (2_000_003, 2), (3_000_001, 2)):
        store.save_snapshot(Snapshot.of(position, fold, b"", b""))
    for position in (3_000_005, 3_000_007, 3_000_009):
        store.save_snapshot(Snapshot.of(position, 2, b"", b""))
    kept = [snapshot.position for snapshot in store.snapshots()]
    assert kept == [3_000_009, 3_000_007, 3_000_001, 2_000_003, 1_000_009]


def test_what_is_before_the_cut_goes(store: Store) -> None:
    """Pruning leaves the kept events, and no snapshot of what was dropped."""
    store.append(some(1, 299), {})
    for position in (100, 290):
        store.save_snapshot(Snapshot.of(position, 1, b"", b""))
    tree = Frontier()
    tree.extend(event.leaf for event in store.read(0, 256))
    kept = [Kept(*event, b"") for event in store.read(7, 9)]
    base = Base(256, tree.pack(), b"state", "digest", 299, 5)
    store.prune(base, kept)
    assert (store.size(), store.first(), store.base(), store.kept()) == (300, 256, base, kept)
    assert [event.seq for event in store.read()] == [7, 8, *range(256, 300)]
    assert [snapshot.position for snapshot in store.snapshots()] == [290]
    assert (store.hashes(0, 7, 9), store.hashes(1, 0, 2)) == ([], [tree.root()])


def test_reader_sees_one_moment(log: Log, store: Store) -> None:
    """Inside `moment` a reader sees nothing of later commits, outside the newest state."""
    with contextlib.closing(log.reader()) as reader:
        with reader.moment():
            assert reader.size() == 1
            store.append(some(1, 1), {S1: b"x"})
            with reader.moment():
                assert (reader.size(), reader.row(S1), len(list(reader.read()))) == (1, None, 1)
            assert reader.size() == 1
        assert (reader.size(), reader.row(S1)) == (2, b"x")


def test_reader_is_stopped_at_its_deadline(log: Log, store: Store) -> None:
    """A reader that was told to be gentle ends, with an error that says so, and is current as long as the log is."""
    store.append(some(1, 500), {})
    with contextlib.closing(log.reader()) as reader:
        assert reader.is_current()
        reader.keep_little()
        reader.be_gentle(0.0)
        with pytest.raises(TooLong):
            list(reader.read())


def test_look_that_is_late_gives_what_it_has_and_the_next_one_goes_on(log: Log, store: Store) -> None:
    """A slow log is no error for whoever follows it, however often a look is late; each event comes once."""
    store.append(some(1, 300), {})
    tail, seen = Tail(log, Query(), 0), []
    with contextlib.closing(tail):
        for _ in range(3):
            seen += tail.look(deadline=0.0)
            assert (tail.behind, tail.waiting, tail.position) == (True, False, len(seen))
        seen += tail.look(deadline=time.monotonic() + 60)
        assert ([row.seq for row in seen], tail.behind) == (list(range(301)), False)


def test_close_may_be_called_twice(log: Log) -> None:
    """Closing and releasing are safe to repeat."""
    backend = log.writer()
    store = backend.open()
    store.close()
    store.close()
    backend.release()
    backend.release()


@pytest.mark.parametrize("place", OWN, indirect=True)
def test_second_writer_is_refused(log: Log) -> None:
    """Only one may write; readers are let in, and the next writer when the first has let go."""
    backend = log.writer()
    for wait_s in (0.0, 0.05):
        with pytest.raises(LogBusy, match="writ") as caught:
            log.writer(wait_s)
        assert caught.value.hint
    log.reader().close()
    took: list[Backend] = []
    late = threading.Thread(target=lambda: took.append(log.writer(10)))
    late.start()
    late.join(0.05)
    assert took == []  # it waits
    backend.release()
    late.join(10)
    took[0].release()
    log.writer().release()


def test_turn_gives_what_others_appended(log: Log) -> None:
    """A log of one's own has no others; on a shared one, whoever has a turn sees all before it, and nobody adds."""
    backend = log.writer()
    store = backend.open()
    if not store.shared:
        store.append(some(1, 2), {})
        with store.turn(1) as tail:
            assert list(tail) == []
        store.close()
        return backend.release()
    other = log.writer()
    beside = other.open()
    with beside.turn(1) as tail:
        assert list(tail) == []
        late = threading.Thread(target=lambda: took.append([each.seq for each in _turn(store, 1)]))
        took: list[list[int]] = []
        late.start()
        late.join(0.05)
        assert took == []  # it waits
        beside.append(some(1, 2), {})
    late.join(10)
    assert took == [[1, 2]]
    for each in (store, beside):
        each.close()
    backend.release()
    return other.release()


def _turn(store: Store, position: int) -> list[Stored]:
    with store.turn(position) as tail:
        return list(tail)


def test_log_that_was_not_made_is_no_log(place: Log) -> None:
    """Neither reading nor writing makes one."""
    for opening in (place.reader, place.writer):
        with pytest.raises(LogDamaged, match=re.escape(str(place))) as caught:
            opening()
        assert caught.value.hint
    create_log(place, origin=ORIGIN, vkey="key")
    place.reader().close()


def test_first_event_says_whose_log_it_is(store: Store) -> None:
    """It is the program's own, about the log."""
    (event,) = (decode(stored.body) for stored in store.read())
    assert (event.actor, event.subject) == ("pai", f"log/{ORIGIN}")
    assert event.payload == LogCreated(origin=ORIGIN, vkey="key")


def test_create_refuses_an_existing_log(log: Log) -> None:
    """A log is never made over another."""
    with contextlib.closing(log.reader()) as reader:
        before = list(reader.read())
        with pytest.raises(LogDamaged, match="exists"):
            log.create([], {}, 1)
        assert list(reader.read()) == before
