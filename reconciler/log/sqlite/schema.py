"""What a log's SQLite file looks like: its schema and settings, how one is recognised, and what can be put right.

A copy that other tools made (VACUUM INTO, `.dump`, a tool with settings of its own) holds the same events in a file
with other settings. Readers, checks and the writer recognise it by the same test; the writer then puts the settings
right. Tables and what is in them are never made anew here.

Functions work on an open connection; callers map SQLite's exceptions.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.core.errors import LogBusy, LogDamaged
from reconciler.log.sqlite import index, pruned, subtrees
from reconciler.log.sqlite.errors import RESTORE
from reconciler.log.sqlite.pruned import PRUNED_VERSION, is_pruned
from reconciler.log.sqlite.views import LOG_OF_PRUNED, VIEWS

APPLICATION_ID: Final = 0x5061694C  # "PaiL"
FORMAT_VERSION: Final = 2
PAGE_BYTES: Final = 16384

_TABLES_SQL: Final = (
    # The log itself. `leaf` = SHA-256(0x00 || body).
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, leaf BLOB NOT NULL) STRICT",
    # One row: number of events, Merkle frontier, and what projection and index stand for.
    "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 0), size INTEGER NOT NULL, peaks BLOB NOT NULL,"
    " projected INTEGER NOT NULL, fold INTEGER NOT NULL,"
    " indexed INTEGER NOT NULL, index_version INTEGER NOT NULL) STRICT",
    # Derived: the state, one row an object, for readers that want it without a replay.
    "CREATE TABLE rows (kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, name))"
    " STRICT, WITHOUT ROWID",
    # Derived: whole states, so that a start need not replay everything.
    "CREATE TABLE snapshots (position INTEGER PRIMARY KEY, fold INTEGER NOT NULL, peaks BLOB NOT NULL,"
    " data BLOB NOT NULL, digest BLOB NOT NULL) STRICT",
    subtrees.SCHEMA,
    *index.SCHEMA,
)
_GUARDS_SQL: Final = (
    "CREATE TRIGGER events_insert BEFORE INSERT ON events"
    " WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM events)"
    " BEGIN SELECT RAISE(ABORT, 'the log only grows at its end'); END",
    "CREATE TRIGGER events_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the log only grows'); END",
    pruned.DELETE_GUARD,
)
SCHEMA: Final = (*_TABLES_SQL, *_GUARDS_SQL, *VIEWS)
_TABLES: Final = frozenset({"events", "head", "rows", "snapshots"}) | index.TABLES


def recognise(db: sqlite3.Connection, path: Path) -> None:
    """Make sure that this is a whole log of this version before anything else is believed. Raises LogDamaged.

    A file without application id or version (a dump has neither) is one if its tables are exactly a log's.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall())
    if application not in (APPLICATION_ID, 0) or (not application and not tables.keys() >= _TABLES):
        raise LogDamaged(f"{path} is not a log of Pai", RESTORE)
    if version not in (FORMAT_VERSION, PRUNED_VERSION, 0):
        raise LogDamaged(
            f"{path} has log format {version}, this version of Pai knows {FORMAT_VERSION}",
            "use the version of Pai that wrote it, or begin a new workspace with pai init",
        )
    wanted = _TABLES | (pruned.TABLES if is_pruned(db) else frozenset())
    if missing := sorted(wanted - tables.keys()):
        raise LogDamaged(f"{path} has no table {missing[0]}", RESTORE)
    if not (application and version):
        for name, sql in _by_name((*_TABLES_SQL, *pruned.SCHEMA)).items():
            if tables.get(name, sql) != sql:
                raise LogDamaged(f"{path} has no log format, and its table {name} is not that of a log", RESTORE)
    if (encoding := db.execute("PRAGMA encoding").fetchone()[0]) != "UTF-8":
        raise LogDamaged(f"{path} has its text in {encoding}", "copy the log with .backup or VACUUM INTO instead")


def lost_guards(db: sqlite3.Connection) -> list[str]:
    """Say which triggers that refuse changes are not as a log has them."""
    return list(_other(db, "trigger", _guards(db)))


def amiss(db: sqlite3.Connection, *, still: bool = False) -> list[str]:
    """Say which settings are not as a log has them, for reasons that say nothing about what is in it.

    Of a file that is read as it lies there, SQLite does not tell the journal mode.
    """
    told = []
    if not still and (mode := db.execute("PRAGMA journal_mode").fetchone()[0]) != "wal":
        told.append(f"the journal mode is {mode}")
    if not db.execute("PRAGMA application_id").fetchone()[0]:
        told.append("the application id is lost")
    if not db.execute("PRAGMA user_version").fetchone()[0]:
        told.append("the format version is lost")
    return [*told, *_file_shape(db), *_other(db, "view", _views(db))]


def put_right(db: sqlite3.Connection) -> list[str]:
    """Put settings, views and guards right on the one read-write connection, and say which were not. Raises LogBusy.

    The page size and the vacuum mode change nothing that is read: where they cannot be changed now, they stay.
    """
    shape = _file_shape(db)
    if not (found := [*amiss(db), *lost_guards(db)]):
        return []
    if shape:
        with contextlib.suppress(sqlite3.OperationalError):  # readers, or no room for a second copy
            db.execute("PRAGMA journal_mode = DELETE").fetchone()
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = NONE")
            db.execute("VACUUM")
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise LogBusy("the log's journal mode cannot be changed now", "end what reads the log, and try again")
    db.execute("BEGIN IMMEDIATE")
    try:
        for kind, wanted in (("trigger", _guards(db)), ("view", _views(db))):
            for name in _differing(db, kind, wanted):
                db.execute(f"DROP {kind} IF EXISTS {name}")
                db.execute(wanted[name])
        db.execute(f"PRAGMA user_version = {PRUNED_VERSION if is_pruned(db) else FORMAT_VERSION}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    left = _file_shape(db)
    return [each for each in found if each not in left]


def _file_shape(db: sqlite3.Connection) -> list[str]:
    told = []
    if (size := db.execute("PRAGMA page_size").fetchone()[0]) != PAGE_BYTES:
        told.append(f"the page size is {size}")
    if db.execute("PRAGMA auto_vacuum").fetchone()[0]:
        told.append("auto_vacuum is on")
    return told


def _guards(db: sqlite3.Connection) -> dict[str, str]:
    return _by_name((*_GUARDS_SQL, *(pruned.GUARDS.values() if is_pruned(db) else ())))


def _views(db: sqlite3.Connection) -> dict[str, str]:
    return _by_name((*VIEWS, LOG_OF_PRUNED)) if is_pruned(db) else _by_name(VIEWS)


def _other(db: sqlite3.Connection, kind: str, wanted: dict[str, str]) -> Iterator[str]:
    for name, there in _differing(db, kind, wanted).items():
        yield f"{kind} {name} is {'another one' if there else 'missing'}"


def _differing(db: sqlite3.Connection, kind: str, wanted: dict[str, str]) -> dict[str, bool]:
    """Give the names of what is missing or another one, and whether there is one."""
    found = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE type = ?", (kind,)).fetchall())
    return {name: name in found for name, sql in wanted.items() if found.get(name) != sql}


def _by_name(statements: tuple[str, ...]) -> dict[str, str]:
    """Give each CREATE statement as SQLite keeps it, by what it makes."""
    plain = [statement.replace("IF NOT EXISTS ", "", 1) for statement in statements]
    return {statement.split(" ", 3)[2]: statement for statement in plain}
