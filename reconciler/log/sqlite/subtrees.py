"""The table of subtree hashes in a SQLite log: what proofs need besides leaf hashes, kept with every append.

One row for every complete subtree of 256, 256**2, ... leaves. Derived from the leaf hashes: `pai verify` compares them,
and a log that has none (an older program made it) gets them at its next start. Callers hold the transaction and map
SQLite's exceptions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from reconciler.tlog.merkle import TILE_HEIGHT, Frontier, Tiers

TABLE: Final = "subtrees"
SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS subtrees (tier INTEGER NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL,"
    " PRIMARY KEY (tier, n)) STRICT, WITHOUT ROWID"
)
_PUT = "INSERT OR REPLACE INTO subtrees (tier, n, hash) VALUES (?, ?, ?)"
_GET = "SELECT n, coalesce(CAST(hash AS BLOB), x'') FROM subtrees WHERE tier = ? AND n >= ? AND n < ? ORDER BY n"
_LEAVES = "SELECT seq, coalesce(CAST(leaf AS BLOB), x'') FROM events WHERE seq >= ? AND seq < ? ORDER BY seq"
_CHUNK = 1 << 14


def write(db: sqlite3.Connection, tiers: Tiers) -> None:
    """Put hashes into the table."""
    for tier, (first, found) in tiers.items():
        db.executemany(_PUT, [(tier, n, value) for n, value in enumerate(found, first)])


def read(db: sqlite3.Connection, tier: int, start: int, stop: int) -> list[bytes]:
    """Give the hashes of one tier from `start` on, up to the first that is missing; tier 0 are the leaves'."""
    found: list[bytes] = []
    for n, value in db.execute(_GET, (tier, start, stop)) if tier else db.execute(_LEAVES, (start, stop)):
        if n != start + len(found):
            break
        found.append(value)
    return found


def count(size: int) -> int:
    """Give how many subtrees a log of `size` events has."""
    return sum(size >> shift for shift in range(TILE_HEIGHT, size.bit_length(), TILE_HEIGHT))


def planted(db: sqlite3.Connection) -> bool:
    """Tell whether there is a table at all."""
    return db.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (TABLE,)).fetchone() is not None


def whole(db: sqlite3.Connection, size: int) -> bool:
    """Tell whether the table has a row for every subtree of a log of `size` events, and no other."""
    return bool(db.execute("SELECT count(*) FROM subtrees").fetchone()[0] == count(size))


def plant(db: sqlite3.Connection, start: Frontier) -> None:
    """Make the table anew from the stored leaf hashes, which begin at the frontier `start`.

    Subtrees that end before it stay as they are: their leaves were dropped.
    """
    db.execute(SCHEMA)
    for (tier,) in db.execute("SELECT DISTINCT tier FROM subtrees").fetchall():
        db.execute("DELETE FROM subtrees WHERE tier = ? AND n >= ?", (tier, start.size >> TILE_HEIGHT * tier))
    for tiers in _grown(start, (leaf for _, leaf in db.execute(_LEAVES, (start.size, 2**63 - 1)))):
        write(db, tiers)


def _grown(frontier: Frontier, leaves: Iterable[bytes]) -> Iterator[Tiers]:
    chunk: list[bytes] = []
    for leaf in leaves:
        chunk.append(leaf)
        if len(chunk) == _CHUNK:
            yield _extended(frontier, chunk)
            chunk = []
    yield _extended(frontier, chunk)


def _extended(frontier: Frontier, leaves: list[bytes]) -> Tiers:
    tiers: Tiers = {}
    frontier.extend(leaves, tiers)
    return tiers
