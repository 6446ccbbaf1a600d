"""The tables of a pruned log in its SQLite file (see `pruned`): `base`, one row, `kept`, and the cut that makes them.

A log that was never pruned has neither. One that was has another format version, so that an older program refuses it
instead of taking its first event for the log's. Functions work on an open connection; callers hold the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from reconciler.core.errors import LogDamaged
from reconciler.log.sqlite.errors import RESTORE
from reconciler.log.sqlite.views import LOG_OF_PRUNED
from reconciler.log.store import Base, Kept

PRUNED_VERSION: Final = 3
TABLES: Final = frozenset({"base", "kept"})
DELETE_GUARD: Final = (
    "CREATE TRIGGER events_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the log only grows'); END"
)
SCHEMA: Final = (
    # One row: the state and the Merkle frontier where the log begins, the event that says so, and the state's version.
    "DROP TABLE IF EXISTS base",
    "CREATE TABLE base (id INTEGER PRIMARY KEY CHECK (id = 0), position INTEGER NOT NULL, peaks BLOB NOT NULL,"
    " data BLOB NOT NULL, digest TEXT NOT NULL, event INTEGER NOT NULL, fold INTEGER NOT NULL) STRICT",
    # Events before it that stayed.
    "CREATE TABLE IF NOT EXISTS kept (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, leaf BLOB NOT NULL,"
    " path BLOB NOT NULL) STRICT",
)
GUARDS: Final = {
    f"kept_{verb.lower()}": f"CREATE TRIGGER kept_{verb.lower()} BEFORE {verb} ON kept"
    " BEGIN SELECT RAISE(ABORT, 'the log only grows'); END"
    for verb in ("INSERT", "UPDATE", "DELETE")
}
_BASE = (
    "SELECT coalesce(CAST(position AS INTEGER), -1), coalesce(CAST(peaks AS BLOB), x''),"
    " coalesce(CAST(data AS BLOB), x''), coalesce(CAST(digest AS TEXT), ''), coalesce(CAST(event AS INTEGER), -1),"
    " {fold} FROM base"
)
_FOLD_BEFORE: Final = 5
"""The version of a state that was written before its table said which."""
_KEPT = (
    "SELECT seq, coalesce(CAST(body AS BLOB), x''), coalesce(CAST(leaf AS BLOB), x''),"
    " coalesce(CAST(path AS BLOB), x'') FROM kept WHERE seq >= ? AND seq < ? ORDER BY seq"
)


class PrunedReader:
    """Looking at what a pruned log begins with; the part of a reader that knows these tables."""

    path: Path
    _db: sqlite3.Connection

    def _mapped(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def first(self) -> int:
        """Give the position that events stand from without gaps: 0 unless the log was pruned."""
        with self._mapped():
            if not is_pruned(self._db):
                return 0
            found = self._db.execute("SELECT coalesce(CAST(position AS INTEGER), -1) FROM base").fetchall()
        if len(found) != 1 or found[0][0] <= 0:
            raise LogDamaged(f"{self.path} was pruned, and does not say where it begins", RESTORE)
        return int(found[0][0])

    def base(self) -> Base | None:
        """Give what a pruned log begins with."""
        if not self.first():
            return None
        with self._mapped():
            told = self._db.execute("SELECT 1 FROM pragma_table_info('base') WHERE name = 'fold'").fetchone()
            fold = "coalesce(CAST(fold AS INTEGER), -1)" if told else str(_FOLD_BEFORE)
            return Base(*self._db.execute(_BASE.format(fold=fold)).fetchone())

    def kept(self, start: int = 0, stop: int | None = None) -> list[Kept]:
        """Give the kept events before `first`, at positions `start` to `stop` - 1, oldest first."""
        first = self.first()
        with self._mapped():
            bound = first if stop is None else min(stop, first)
            return list(map(Kept._make, self._db.execute(_KEPT, (start, bound)))) if start < bound else []


def is_pruned(db: sqlite3.Connection) -> bool:
    """Tell whether a log was pruned, also one whose version was lost."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version:
        return bool(version == PRUNED_VERSION)
    return db.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'base'").fetchone() is not None


def cut(db: sqlite3.Connection, base: Base, kept: Sequence[Kept]) -> None:
    """Drop all events before the base but `kept`, inside an open transaction: the one place where guards are lifted."""
    for statement in SCHEMA:
        db.execute(statement)
    for name in ("events_delete", *GUARDS):
        db.execute(f"DROP TRIGGER IF EXISTS {name}")
    db.execute("DELETE FROM kept")
    db.executemany("INSERT INTO kept (seq, body, leaf, path) VALUES (?, ?, ?, ?)", kept)
    db.execute("DELETE FROM events WHERE seq < ?", (base.position,))
    db.execute("INSERT INTO base (id, position, peaks, data, digest, event, fold) VALUES (0, ?, ?, ?, ?, ?, ?)", base)
    db.execute("DELETE FROM snapshots WHERE position < ?", (base.position,))
    for statement in (DELETE_GUARD, *GUARDS.values()):
        db.execute(statement)
    db.execute("DROP VIEW IF EXISTS log")
    db.execute(LOG_OF_PRUNED)
    db.execute(f"PRAGMA user_version = {PRUNED_VERSION}")
