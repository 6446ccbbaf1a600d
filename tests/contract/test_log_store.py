"""What every log store promises, run over each backend."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.errors import LogBusy, LogDamaged
from reconciler.core.state import RowKey
from reconciler.log.sqlite.store import SqliteBackend, SqliteStore, create, open_reader
from reconciler.log.store import Snapshot, Stored
from reconciler.tlog.merkle import Frontier
from tests.support_log import new_log, secret, stored

LOG: RowKey = ("log", "")
S1: RowKey = ("secret", "s1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with its first event."""
    return new_log(tmp_path)


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """That log, open for writing."""
    backend = SqliteBackend(path)
    opened = backend.open()
    yield opened
    opened.close()
    backend.release()


def some(first: int, count: int) -> list[Stored]:
    """So many events from position `first` on."""
    return stored(first, [secret(f"s{n}") for n in range(first, first + count)])


def test_append_gives_back_the_same_bytes(store: SqliteStore) -> None:
    """What was appended reads back byte by byte, from any position, in both directions."""
    events = some(1, 700)
    store.append(events, {})
    assert store.size() == 701
    assert list(store.read(1)) == events
    assert list(store.read(5, 7)) == events[4:6]
    assert list(store.read_back())[:-1] == events[::-1]
    assert [e.seq for e in store.read_back(before=3)] == [2, 1, 0]


def test_read_back_finds_bytes(store: SqliteStore) -> None:
    """The prefilter keeps exactly the events that contain every one of the byte strings."""
    store.append(some(1, 30), {})
    assert [e.seq for e in store.read_back(contains=[b'"secret/s1'])] == [*range(19, 9, -1), 1]
    assert [e.seq for e in store.read_back(contains=[b"secret.stored", b'"secret/s7"'])] == [7]
    assert list(store.read_back(contains=["é".encode()])) == []


def test_append_keeps_the_frontier_of_all_leaves(store: SqliteStore) -> None:
    """The head carries the Merkle frontier over every leaf, whatever the batches were."""
    for first, count in ((1, 1), (2, 6), (8, 100)):
        store.append(some(first, count), {})
    tree = Frontier()
    tree.extend(event.leaf for event in store.read())
    assert (store.head().size, store.head().peaks) == (108, tree.pack())


def test_append_puts_and_removes_rows_with_the_events(store: SqliteStore) -> None:
    """Rows are replaced, added and removed in the transaction of the events."""
    store.append(some(1, 1), {S1: b"one", LOG: b"log"})
    store.append(some(2, 1), {S1: b"two"})
    assert store.row(S1) == b"two"
    assert store.rows() == {S1: b"two", LOG: b"log"}
    store.append(some(3, 1), {S1: None})
    assert store.row(S1) is None
    assert store.head().projected == store.size() == 4


@pytest.mark.parametrize("first", [0, 1, 3, 9])
def test_append_refuses_positions_that_do_not_continue_the_log(store: SqliteStore, first: int) -> None:
    """A batch that overlaps or leaves a gap is refused whole: no event, no row, no frontier."""
    store.append(some(1, 1), {})
    before = (store.head(), list(store.read()), store.rows())
    with pytest.raises(LogDamaged):
        store.append(some(first, 3), {S1: b"x"})
    assert (store.head(), list(store.read()), store.rows()) == before


def test_append_is_all_or_nothing(store: SqliteStore) -> None:
    """A gap inside a batch, which only the database itself can see, rolls back everything before it."""
    before = (store.head(), store.rows())
    first, second, third = some(1, 3)
    with pytest.raises(LogDamaged):
        store.append([first, third, second], {S1: b"x"})
    assert (store.head(), store.rows(), store.size()) == (*before, 1)
    store.append([first, second, third], {})
    assert store.size() == 4


def test_project_replaces_all_rows(store: SqliteStore) -> None:
    """A new projection leaves nothing of the former one."""
    store.append(some(1, 1), {S1: b"old"})
    store.project({LOG: b"new"}, 7)
    assert store.rows() == {LOG: b"new"}
    assert (store.head().projected, store.head().fold) == (2, 7)


def test_snapshots_keep_the_two_newest(store: SqliteStore) -> None:
    """Older snapshots go; the same position is replaced."""
    for position in (1, 2, 3, 3):
        store.save_snapshot(Snapshot.of(position, 1, b"p" * 32, b"data %d" % position))
    kept = store.snapshots()
    assert [snapshot.position for snapshot in kept] == [3, 2]
    assert all(snapshot.intact() for snapshot in kept)


def test_events_cannot_be_changed_even_by_other_programs(store: SqliteStore) -> None:
    """The database itself refuses UPDATE, DELETE, REPLACE and any INSERT but at the end."""
    store.append(some(1, 3), {})
    events = list(store.read())
    other = sqlite3.connect(store.path, isolation_level=None)
    for statement in (
        "UPDATE events SET body = x'00' WHERE seq = 1",
        "UPDATE events SET seq = seq + 1 WHERE seq = 3",
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM events",
        "REPLACE INTO events VALUES (2, x'00', x'00')",
        "INSERT OR REPLACE INTO events VALUES (2, x'00', x'00')",
        "INSERT INTO events VALUES (5, x'00', x'00')",
        "INSERT INTO events VALUES (-1, x'00', x'00')",
        "INSERT INTO events VALUES (NULL, x'00', x'00')",
        "INSERT INTO events (seq, body, leaf) VALUES (3, x'00', x'00') ON CONFLICT (seq) DO UPDATE SET body = x'00'",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            other.execute(statement)
    other.close()
    assert list(store.read()) == events


def test_reader_sees_one_moment(store: SqliteStore) -> None:
    """Inside `moment` a reader sees nothing of later commits, outside the newest state."""
    reader = open_reader(store.path)
    with reader.moment():
        assert reader.size() == 1
        store.append(some(1, 1), {S1: b"x"})
        assert (reader.size(), reader.row(S1), len(list(reader.read()))) == (1, None, 1)
    assert (reader.size(), reader.row(S1)) == (2, b"x")
    reader.close()


def test_settle_waits_for_no_reader_forever(store: SqliteStore) -> None:
    """Settling leaves an empty WAL, so that nothing depends on pages that an fsync may have lost."""
    store.append(some(1, 50), {})
    store.settle()
    assert store.size() == 51
    wal = store.path.with_name("log.db-wal")
    assert wal.stat().st_size < 100_000  # only the one harmless write after the truncation


def test_close_may_be_called_twice(path: Path) -> None:
    """Closing and releasing are safe to repeat."""
    backend = SqliteBackend(path)
    store = backend.open()
    store.close()
    store.close()
    backend.release()
    backend.release()


def test_log_belongs_to_its_owner_only(store: SqliteStore) -> None:
    """The log and every file beside it can be read by nobody else."""
    store.append(some(1, 1), {})
    modes = {file.name: file.stat().st_mode & 0o777 for file in store.path.parent.iterdir()}
    assert set(modes) == {"log.db", "log.db-wal", "log.db-shm", "log.db.lock"}
    assert set(modes.values()) == {0o600}


def test_second_writer_is_refused_with_the_holder(path: Path) -> None:
    """Another process, and another writer in this one, are told who holds the log."""
    code = (
        "import sys; from pathlib import Path; from reconciler.log.sqlite.store import SqliteBackend\n"
        "backend = SqliteBackend(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LogBusy, match=rf"process {holder.pid} ") as caught:
            SqliteBackend(path, wait_s=0.05)
        assert caught.value.hint
        open_reader(path).close()
        holder.kill()
        holder.wait()
        backend = SqliteBackend(path, wait_s=5)
    with pytest.raises(LogBusy):
        SqliteBackend(path)
    backend.release()


def test_create_refuses_an_existing_log(path: Path) -> None:
    """A log is never made over another, nor over what a lost one left behind."""
    before = path.read_bytes()
    with pytest.raises(LogDamaged, match="exists"):
        create(path, [], {}, 1)
    assert path.read_bytes() == before
    path.rename(path.with_name("log.db-wal"))
    with pytest.raises(LogDamaged, match="exists"):
        create(path, [], {}, 1)
