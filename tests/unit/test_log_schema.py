"""What a log's file must be to be one, and what is put right in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.core.errors import LogBusy, LogDamaged
from reconciler.log.sqlite import pruned
from reconciler.log.sqlite.errors import RESTORE
from reconciler.log.sqlite.schema import amiss, lost_guards, put_right, recognise
from reconciler.log.sqlite.store import open_reader
from tests.support_log import new_log

OTHER_VERSION = "use the version of Pai that wrote it, or begin a new workspace with pai init"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a log with one event."""
    return new_log(tmp_path)


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection to it that no guard of Pai holds back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        yield made


@pytest.mark.parametrize(
    ("statements", "said", "hint"),
    [
        (["PRAGMA application_id = 7"], "P is not a log of Pai", RESTORE),
        (["PRAGMA application_id = 0", "DROP TABLE marks"], "P is not a log of Pai", RESTORE),
        (["DROP TABLE marks"], "P has no table marks", RESTORE),
        (["DROP TABLE spent", "DROP TABLE marks"], "P has no table marks", RESTORE),
        (["PRAGMA user_version = 9"], "P has log format 9, this version of Pai knows {}", OTHER_VERSION),
        *(
            (
                [f"PRAGMA {lost} = 0", "ALTER TABLE head ADD COLUMN more INTEGER"],
                "P has no log format, and its table head is not that of a log",
                RESTORE,
            )
            for lost in ("application_id", "user_version")
        ),
        (
            ["PRAGMA user_version = 0", "ALTER TABLE subtrees ADD COLUMN more INTEGER"],
            "P has no log format, and its table subtrees is not that of a log",
            RESTORE,
        ),
    ],
)
def test_file_that_is_no_log_is_refused(
    db: sqlite3.Connection, path: Path, statements: list[str], said: str, hint: str
) -> None:
    """By its ids and its tables; what is wrong first is told."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    recognise(db, path)
    for statement in statements:
        db.execute(statement)
    with pytest.raises(LogDamaged) as caught:
        recognise(db, path)
    assert caught.value.message.replace(str(path), "P") == said.format(version)
    assert caught.value.hint == hint


def test_file_without_its_ids_is_a_log_if_its_tables_are_one(db: sqlite3.Connection, path: Path) -> None:
    """A dump has neither."""
    for name in ("application_id", "user_version"):
        db.execute(f"PRAGMA {name} = 0")
        recognise(db, path)


def test_text_must_be_utf_8(db: sqlite3.Connection, path: Path, tmp_path: Path) -> None:
    """As the bytes of events are compared with it."""
    with closing(sqlite3.connect(tmp_path / "wide.db", isolation_level=None)) as wide:
        wide.execute("PRAGMA encoding = 'UTF-16le'")
        for (sql,) in db.execute("SELECT sql FROM sqlite_schema WHERE type = 'table'").fetchall():
            wide.execute(sql)
        with pytest.raises(LogDamaged) as caught:
            recognise(wide, path)
    assert caught.value.message == f"{path} has its text in UTF-16le"
    assert caught.value.hint == "copy the log with .backup or VACUUM INTO instead"


@pytest.mark.parametrize(
    ("statements", "told", "guards"),
    [
        ([], [], []),
        (["PRAGMA journal_mode = TRUNCATE"], ["the journal mode is truncate"], []),
        (["PRAGMA application_id = 0"], ["the application id is lost"], []),
        (["PRAGMA user_version = 0"], ["the format version is lost"], []),
        (
            ["PRAGMA journal_mode = DELETE", "PRAGMA page_size = 4096", "VACUUM", "PRAGMA journal_mode = WAL"],
            ["the page size is 4096"],
            [],
        ),
        (["PRAGMA auto_vacuum = FULL", "VACUUM"], ["auto_vacuum is on"], []),
        (["DROP VIEW log", "CREATE VIEW log AS SELECT 1"], ["view log is another one"], []),
        (["DROP VIEW usage"], ["view usage is missing"], []),
        (["DROP TRIGGER events_delete"], [], ["trigger events_delete is missing"]),
        (
            ["DROP TRIGGER events_update", "CREATE TRIGGER events_update BEFORE UPDATE ON events BEGIN SELECT 1; END"],
            [],
            ["trigger events_update is another one"],
        ),
    ],
)
def test_what_is_lost_is_told_and_put_right(
    db: sqlite3.Connection, path: Path, statements: list[str], told: list[str], guards: list[str]
) -> None:
    """Settings, views and guards; nothing is said of what was right, and nothing is left."""
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
    before = db.execute(schema).fetchall()
    for statement in statements:
        db.execute(statement)
    assert amiss(db) == told
    assert amiss(db, still=True) == [each for each in told if "journal" not in each]
    assert lost_guards(db) == guards
    assert put_right(db) == told + guards
    assert (amiss(db), lost_guards(db), put_right(db)) == ([], [], [])
    assert db.execute(schema).fetchall() == before
    recognise(db, path)


def test_journal_mode_that_cannot_be_changed_now_is_told(db: sqlite3.Connection, path: Path) -> None:
    """While somebody reads; nothing else is changed then."""
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("DROP VIEW usage")
    db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        with pytest.raises((LogBusy, sqlite3.OperationalError)):
            put_right(db)
    assert amiss(db) == ["the journal mode is delete", "view usage is missing"]


def test_pruned_log_that_does_not_say_where_it_begins_is_damage(db: sqlite3.Connection, path: Path) -> None:
    """Nor does one that says a place where none can begin."""
    for statement in pruned.SCHEMA:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {pruned.PRUNED_VERSION}")
    for position in (None, 0, 1):
        if position is not None:
            db.execute("INSERT OR REPLACE INTO base VALUES (0, ?, x'', x'', '', 0, 0)", (position,))
        with closing(open_reader(path)) as log:
            if position:
                assert log.first() == position
                continue
            with pytest.raises(LogDamaged) as caught:
                log.first()
            assert caught.value.message == f"{path} was pruned, and does not say where it begins"
            assert caught.value.hint == RESTORE
