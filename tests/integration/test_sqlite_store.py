"""What the log in a SQLite file promises beside what every log does: guards, modes, the lock file."""

from __future__ import annotations

import contextlib
import errno
import itertools
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.errors import LogBusy, LogDamaged, LogNotWritable
from reconciler.log.sqlite import place, subtrees
from reconciler.log.sqlite import store as sqlite_store
from reconciler.log.sqlite.errors import RESTORE
from reconciler.log.sqlite.place import create
from reconciler.log.sqlite.store import WAITING_BYTES_MAX, SqliteBackend, SqliteStore, open_reader
from reconciler.log.store import FREE, Snapshot, Stored
from reconciler.tlog.merkle import leaf_hash
from tests.support_log import new_log, some


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


def test_settle_waits_for_no_reader_forever(store: SqliteStore) -> None:
    """Settling leaves an empty WAL, so that nothing depends on pages that an fsync may have lost."""
    store.append(some(1, 50), {})
    store.settle()
    assert store.size() == 51
    wal = store.path.with_name("log.db-wal")
    assert 0 < wal.stat().st_size < 100_000  # only the one harmless write after the truncation


def test_reader_that_stays_keeps_the_file_from_being_whole(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both for a copy of it alone and for settling; when it goes, both are done."""
    monkeypatch.setattr(sqlite_store, "GATHER_S", 0.01)
    assert store.gather()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        store.append(some(1, 2), {})
        assert not store.gather()
        with pytest.raises(LogNotWritable) as caught:
            store.settle()
        assert caught.value.message == f"{path} has a reader that does not let go"
        assert caught.value.hint == "end long-running readers"
    assert store.gather()
    store.settle()


def test_wal_of_a_large_commit_is_cut_again(store: SqliteStore) -> None:
    """What one large revision needed of the disk while it was committed is given back with the commits after it."""
    wal = store.path.with_name("log.db-wal")
    body = b"x" * 1_000_000
    store.append([Stored(seq, body, leaf_hash(body)) for seq in range(1, 41)], {})
    assert wal.stat().st_size > 40_000_000
    store.append(some(41, 1), {})
    assert wal.stat().st_size <= 2 * WAITING_BYTES_MAX


def test_wal_is_cut_once_its_readers_are_gone(store: SqliteStore) -> None:
    """A reader of an older moment, a snapshot and a projection made anew leave it no larger for good either."""
    wal = store.path.with_name("log.db-wal")
    data = b"x" * 30_000_000
    writes: list[Callable[[int], object]] = [
        lambda seq: store.append([Stored(seq, data, leaf_hash(data))], {}),
        lambda seq: store.save_snapshot(Snapshot(seq, 1, b"", data, b"")),
        lambda seq: store.project({("model", "a"): data}, 1) or seq,
    ]
    for write in writes:
        for is_read in (True, False):
            with contextlib.closing(open_reader(store.path)) as reader, contextlib.ExitStack() as moment:
                if is_read:
                    moment.enter_context(reader.moment())
                    assert reader.size()
                write(store.size())
                assert wal.stat().st_size > len(data)
            for _ in range(2):
                store.append(some(store.size(), 1), {})
            assert wal.stat().st_size <= 2 * WAITING_BYTES_MAX


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


def test_create_refuses_what_a_lost_log_left(path: Path) -> None:
    """A log is never made over another, nor over what a lost one left behind."""
    before = path.read_bytes()
    with pytest.raises(LogDamaged, match="exists") as caught:
        create(path, [], {}, 1)
    assert caught.value.hint == "move it away first"
    assert path.read_bytes() == before
    path.rename(path.with_name("log.db-wal"))
    with pytest.raises(LogDamaged, match="exists"):
        create(path, [], {}, 1)


def test_creation_that_was_killed_leaves_nothing_to_the_next(path: Path) -> None:
    """Whatever it had begun."""
    path.unlink()
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"log.db.new{end}").write_bytes(b"half of something")
    create(path, [], {}, 1)
    assert {each.name for each in path.parent.iterdir()} == {"log.db", "log.db.lock"}


def test_creation_that_fails_says_of_which_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in its way, what SQLite says, and the last step; nothing is left that would pass for a log."""
    path.unlink()
    draft = path.with_name("log.db.new")

    def failing(*_: object) -> None:
        raise sqlite3.OperationalError("why") if len(_) == 2 and _[1] == "mode=rw" else OSError(errno.EIO, "why")

    def said() -> tuple[str, str]:
        with pytest.raises(LogNotWritable) as caught:
            create(path, [], {}, 1)
        assert not path.exists()
        return caught.value.message, caught.value.hint

    draft.mkdir()
    assert said() == (f"{draft} cannot be made: Is a directory", FREE)
    draft.rmdir()
    with monkeypatch.context() as patch:
        patch.setattr(place, "connect", failing)
        assert said() == (f"{draft} cannot be written: why", FREE)
    with monkeypatch.context() as patch:
        patch.setattr(place.os, "rename", failing)
        assert said() == (f"{path} cannot be made: why", FREE)
    create(path, [], {}, 1)


def test_index_that_points_nowhere_is_damage(store: SqliteStore, path: Path) -> None:
    """At a block that has no such mark, at itself or at a later one: a search ends with that."""
    block = "INSERT INTO marks VALUES (?, 'type', 'x', ?, x'00000000', NULL)"
    for pointing in ([(8, 8)], [(8, 9), (9, None)], [(8, 4)]):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("DELETE FROM marks")
            db.execute("INSERT OR REPLACE INTO marked VALUES ('type', 'x', 8)")
            db.executemany(block, pointing)
        with pytest.raises(LogDamaged, match="the index of type x is broken at block ") as caught:
            list(itertools.islice(store.marks_back("type", "x", 20), 5))
        assert caught.value.hint == RESTORE


def test_subtrees_of_a_log_are_counted() -> None:
    """A tile has 256; a tile of tiles is one more."""
    sizes = (0, 255, 256, 511, 512, 65_535, 65_536)
    assert [subtrees.count(size) for size in sizes] == [0, 0, 1, 1, 2, 255, 257]
