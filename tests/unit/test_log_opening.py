"""Opening a log's file: beside what others left there, without the right to write, and who holds its lock."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.core.errors import LogBusy, LogNotWritable
from reconciler.log.lock import WriterLock
from reconciler.log.sqlite import opening
from reconciler.log.sqlite.opening import beside, mark, open_database
from reconciler.log.sqlite.place import SqliteLog


def made(path: Path, rows: int) -> sqlite3.Connection:
    """Make a database in WAL mode, everything in its file, and leave it open."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t AS WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n LIMIT ?)"
               " SELECT n, hex(zeroblob(500)) AS text FROM n", (rows,))  # fmt: skip
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return db


def rows(db: sqlite3.Connection) -> int:
    """Count the rows that a connection sees, and let go of it."""
    with closing(db):
        return int(db.execute("SELECT count(*) FROM t").fetchone()[0])


def test_what_its_own_writer_left_is_used(tmp_path: Path) -> None:
    """What waits in the WAL is seen, and neither file is removed."""
    path = tmp_path / "log.db"
    with closing(made(path, 3)) as writer:
        writer.execute("INSERT INTO t VALUES (4, '')")
        files = [beside(path, end).stat().st_ino for end in ("-wal", "-shm")]
        for mode in ("ro", "rw"):
            opened = open_database(path, mode)  # type: ignore[arg-type]
            assert (opened.still, rows(opened.db)) == (False, 4)
        assert [beside(path, end).stat().st_ino for end in ("-wal", "-shm")] == files


@pytest.mark.parametrize(
    ("code", "mode", "still"),
    [
        (sqlite3.SQLITE_CANTOPEN, "ro", True),
        (sqlite3.SQLITE_READONLY_CANTINIT, "ro", True),
        (sqlite3.SQLITE_IOERR, "ro", False),
        (sqlite3.SQLITE_CANTOPEN, "rw", False),
    ],
)
@pytest.mark.parametrize("waiting", [False, True])
def test_reader_that_may_not_write_sees_the_file_as_it_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, mode: str, still: bool, waiting: bool
) -> None:
    """Also what waits in a WAL; any other error is raised, and every one to a writer."""
    path, other = tmp_path / "log.db", tmp_path / "other.db"
    with closing(made(other, 3)) as writer:
        if waiting:
            writer.execute("INSERT INTO t VALUES (4, '')")
        for end in ("", "-wal"):
            shutil.copy(beside(other, end), beside(path, end))
    given = opening.connect

    def connect(path: Path, how: str) -> sqlite3.Connection:
        if how == f"mode={mode}":
            raised = sqlite3.OperationalError("no")
            raised.sqlite_errorcode = code
            raise raised
        return given(path, how)

    monkeypatch.setattr(opening, "connect", connect)
    if not still:
        with pytest.raises(sqlite3.OperationalError, match="no"):
            open_database(path, mode)  # type: ignore[arg-type]
        return
    opened = open_database(path, mode)  # type: ignore[arg-type]
    assert (opened.still, rows(opened.db)) == (True, 3 + waiting)
    assert not beside(path, "-shm").exists()


def test_files_are_told_apart_by_what_lies_there(tmp_path: Path) -> None:
    """The file by its contents, the `-shm` by which file it is; the WAL counts where a reader does not follow it."""
    path = tmp_path / "log.db"
    path.write_bytes(b"log")
    seen = []
    for end, change in (
        ("", b"log 2"),
        ("-shm", b"new"),
        ("-shm", b"other"),
        ("-wal", b"new"),
        ("-wal", b"more of it"),
    ):
        before = mark(path, still=True), mark(path, still=False)
        beside(path, end).write_bytes(change)
        after = mark(path, still=True), mark(path, still=False)
        seen.append([old == new for old, new in zip(before, after, strict=True)])
    assert seen == [[False, False], [False, False], [True, True], [False, True], [False, True]]
    beside(path, "-shm").rename(tmp_path / "gone")
    assert mark(path, still=True) != after[0]


def test_every_connection_is_careful(tmp_path: Path) -> None:
    """It trusts no schema, checks cells, and gives damaged text as it stands there."""
    path = tmp_path / "log.db"
    with closing(made(path, 1)) as writer:
        writer.execute("UPDATE t SET text = CAST(x'61ff' AS TEXT)")
    with closing(open_database(path, "ro").db) as db:
        asked = [
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("trusted_schema", "cell_size_check", "cache_size")
        ]
        assert asked == [0, 1, -16384]
        assert db.execute("SELECT text FROM t").fetchone() == ("a\udcff",)


def test_lock_that_cannot_be_made_is_named_with_a_way_out(tmp_path: Path) -> None:
    """It needs a folder."""
    path = tmp_path / "none" / "log.db.lock"
    with pytest.raises(LogNotWritable) as caught:
        WriterLock(path)
    assert caught.value.message == f"the lock file {path} cannot be opened: No such file or directory"
    assert caught.value.hint == "check the folder's owner and mode"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"123\n", ", process 123"),
        (b"123\nmore\n", ", process 123"),
        (b"123", ", process 123"),
        (b"12x\n", ""),
        (b"12\xff\n", ""),
        (b"", ""),
    ],
)
def test_holder_of_a_lock_is_named_if_it_says_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bytes, said: str
) -> None:
    """Whatever stands in the file, somebody holds it; unless it is asked to, nobody waits."""
    monkeypatch.setattr("reconciler.log.lock.time.sleep", None)
    path = tmp_path / "log.db.lock"
    lock = WriterLock(path)
    path.write_bytes(written)
    with pytest.raises(LogBusy) as caught:
        WriterLock(path)
    assert caught.value.message == f"another process writes this log{said} ({path})"
    assert caught.value.hint == "stop it, or let it do the work: commands use a running daemon by themselves"
    (tmp_path / "log.db").write_bytes(b"log")
    with pytest.raises(LogBusy):
        SqliteLog(tmp_path / "log.db").writer()
    lock.release()
    lock.release()
    WriterLock(path).release()


def test_doubt_is_noted_for_the_next_holder(tmp_path: Path) -> None:
    """Until somebody takes it back."""
    path = tmp_path / "log.db.lock"
    for doubted in (True, False):
        lock = WriterLock(path)
        lock.doubt(doubted)
        assert path.read_bytes().startswith(b"%d\n" % os.getpid())
        lock.release()
        lock.doubt(not doubted)
        following = WriterLock(path)
        assert following.doubted is doubted
        following.release()
