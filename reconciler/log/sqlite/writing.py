"""What is written into an open transaction of the log's file: events, rows, and the head that counts them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from reconciler.core.errors import LogDamaged
from reconciler.log.sqlite import subtrees
from reconciler.log.sqlite.errors import RESTORE
from reconciler.log.sqlite.index import portions
from reconciler.log.store import Rows, Stored
from reconciler.tlog.merkle import Frontier, Tiers

# Damaged values may have another type than their column's; whoever checks them gets the right type all the same.
HEAD = (
    "SELECT coalesce(CAST(size AS INTEGER), -1), coalesce(CAST(peaks AS BLOB), x''),"
    " coalesce(CAST(projected AS INTEGER), -1), coalesce(CAST(fold AS INTEGER), -1),"
    " coalesce(CAST(indexed AS INTEGER), -1), coalesce(CAST(index_version AS INTEGER), -1) FROM head"
)
_SET_HEAD = "UPDATE head SET size = ?, peaks = ?, projected = ?"
_INSERT = "INSERT INTO events (seq, body, leaf) VALUES {}"
_PUT_ROWS = "INSERT INTO rows (kind, name, body) VALUES {} ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body"
_DROP_ROW = "DELETE FROM rows WHERE kind = ? AND name = ?"


def prepare_writer(db: sqlite3.Connection) -> None:
    """Have a connection write durably."""
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0").fetchone()  # a commit leaves the file as it is


def write(db: sqlite3.Connection, events: Sequence[Stored], rows: Rows) -> None:
    """Add events and rows inside an open transaction; the frontier is read inside it too, never remembered."""
    size, peaks, *_ = db.execute(HEAD).fetchone()
    if events and events[0].seq != size:
        raise LogDamaged(f"the log has {size} events, position {events[0].seq} does not continue it")
    try:
        frontier = Frontier.unpack(size, peaks)
    except ValueError as error:
        raise LogDamaged(f"the log's Merkle frontier is damaged: {error}", RESTORE) from error
    tiers: Tiers = {}
    frontier.extend([event.leaf for event in events], tiers)
    insert(db, _INSERT, events)
    subtrees.write(db, tiers)
    db.execute(_SET_HEAD, (frontier.size, frontier.pack(), frontier.size))
    put_rows(db, rows)
    for key, body in rows.items():
        if body is None:
            db.execute(_DROP_ROW, key)


def put_rows(db: sqlite3.Connection, rows: Rows) -> None:
    """Put the rows that have a body, in place of those of the same key."""
    insert(db, _PUT_ROWS, ((*key, body) for key, body in rows.items() if body is not None))


def insert(db: sqlite3.Connection, statement: str, records: Iterable[tuple[object, object, object]]) -> None:
    """Insert records, up to 64 by one statement (the connection keeps each size prepared), or 512.

    Each statement gives the GIL away, and under load waits for it long; executemany does so for every record.
    """
    for part in portions(records):
        sql = statement.format(", ".join(["(?, ?, ?)"] * len(part)))
        db.execute(sql, [field for record in part for field in record])
