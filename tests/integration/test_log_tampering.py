"""Whatever single bit of a stored value is flipped, the check says so."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from reconciler.core.errors import LogDamaged
from reconciler.log.check.whole import check
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.recorder import Recorder
from tests.support_log import new_log, with_snapshots

COLUMNS = [
    ("events", "seq"), ("events", "body"), ("events", "leaf"),
    ("head", "size"), ("head", "peaks"), ("head", "projected"), ("head", "fold"),
    ("rows", "kind"), ("rows", "name"), ("rows", "body"),
    ("snapshots", "position"), ("snapshots", "fold"), ("snapshots", "peaks"), ("snapshots", "data"),
    ("snapshots", "digest"),
    ("head", "indexed"), ("head", "index_version"), ("marked", "kind"), ("marked", "value"), ("marked", "block"),
    ("marks", "block"), ("marks", "kind"), ("marks", "value"), ("marks", "previous"), ("marks", "offsets"),
]  # fmt: skip


ORDERS = {
    "events": "seq",
    "head": "id",
    "rows": "kind, name",
    "snapshots": "position",
    "marked": "kind, value",
    "marks": "block, kind, value",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with events, rows, two snapshots and a tail; it checks clean."""
    path = new_log(tmp_path_factory.mktemp("whole"))
    with_snapshots(path)
    reader = open_reader(path)
    assert check(reader) == []
    assert len(reader.snapshots()) == 2
    reader.close()
    return path


def tamper(path: Path, *statements: str) -> None:
    """Change the file behind Pai's back, guards removed."""
    db = sqlite3.connect(path, isolation_level=None)
    guards = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    try:
        for statement in statements:
            db.execute(statement)
        for _, sql in guards:
            db.execute(sql)
    finally:
        db.close()


def found(path: Path) -> list[str]:
    """Give what opening and checking complain about."""
    try:
        reader = open_reader(path)
    except LogDamaged as error:
        return [error.message]
    problems = [f"{problem.position} {problem.message}" for problem in check(reader, deep=False)]
    reader.close()
    return problems


def flip(path: Path, table: str, column: str, row: int, bit: int) -> bool:
    """Flip one bit of one value; False if the database cannot hold the outcome (a key that exists already)."""
    db = sqlite3.connect(path, isolation_level=None)
    order = ORDERS[table]
    count = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
    offset = f"FROM {table} ORDER BY {order} LIMIT 1 OFFSET {row % count}"
    kind, raw = db.execute(f"SELECT typeof({column}), CAST({column} AS BLOB) {offset}").fetchone()
    key = db.execute(f"SELECT {order} {offset}").fetchone()
    db.close()
    if kind == "integer":
        value = int(raw) ^ 1 << bit % 63
        new = str(value)
    else:
        if not raw:
            return False
        data = bytearray(raw)
        data[bit // 8 % len(data)] ^= 1 << bit % 8
        new = f"x'{data.hex()}'" if kind == "blob" else f"CAST(x'{data.hex()}' AS TEXT)"
    where = " AND ".join(f"{name} = '{part}'" for name, part in zip(order.split(", "), key, strict=True))
    try:
        tamper(path, f"UPDATE {table} SET {column} = {new} WHERE {where}")  # noqa: S608
    except sqlite3.IntegrityError:
        return False
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(COLUMNS), row=st.integers(0, 200), bit=st.integers(0, 20_000))
@example(place=("events", "body"), row=0, bit=0)
@example(place=("events", "leaf"), row=64, bit=255)
@example(place=("head", "peaks"), row=0, bit=0)
@example(place=("snapshots", "fold"), row=1, bit=0)
@example(place=("rows", "name"), row=3, bit=7)
def test_flipped_bit_is_noticed(whole: Path, tmp_path: Path, place: tuple[str, str], row: int, bit: int) -> None:
    """One flipped bit anywhere in what is stored makes the check complain."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:  # a copy over another's WAL would be mended by it
        path = Path(folder) / "log.db"
        shutil.copy(whole, path)
        assume(flip(path, *place, row, bit))
        assert found(path) != []


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("DELETE FROM events WHERE seq = 7", "7 "),
        ("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)", "None "),
        ("DELETE FROM events WHERE seq >= 30", "None "),
        ("UPDATE events SET (body, leaf) = (SELECT body, leaf FROM events WHERE seq = 5) WHERE seq = 6", "6 "),
        ("INSERT INTO events SELECT max(seq) + 1, body, leaf FROM events", "67 "),
        ("DELETE FROM rows WHERE name = 's1'", "None "),
        ("INSERT INTO rows VALUES ('model', 'ghost', x'7b7d')", "None "),
    ],
)
def test_tampering_is_noticed_at_its_place(whole: Path, tmp_path: Path, statement: str, position: str) -> None:
    """Deleted, repeated, cut and invented events and rows are noticed, and the first bad position is named."""
    path = tmp_path / "log.db"
    shutil.copy(whole, path)
    tamper(path, statement)
    problems = found(path)
    assert problems
    assert problems[0].startswith(position)


def test_rehashed_event_is_noticed_by_the_tree(whole: Path, tmp_path: Path) -> None:
    """Who changes an event and its leaf hash still contradicts the frontier, the projection or a snapshot."""
    path = tmp_path / "log.db"
    shutil.copy(whole, path)
    db = sqlite3.connect(path)
    (body,) = db.execute("SELECT body FROM events WHERE seq = 5").fetchone()
    db.close()
    new = body.replace(b'"tester"', b'"nobody"')
    leaf = hashlib.sha256(b"\x00" + new).hexdigest()
    tamper(path, f"UPDATE events SET body = x'{new.hex()}', leaf = x'{leaf}' WHERE seq = 5")  # noqa: S608
    assert any("frontier" in problem for problem in found(path))


def test_start_refuses_a_changed_event(whole: Path, tmp_path: Path) -> None:
    """A recorder does not start on events that do not match their hashes, even if they still read well."""
    path = tmp_path / "log.db"
    shutil.copy(whole, path)
    tamper(
        path,
        "DELETE FROM snapshots",
        "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'tester', 'nobody') AS BLOB) WHERE seq = 66",
    )
    with pytest.raises(LogDamaged, match="position 66"):
        Recorder(SqliteBackend(path))


def test_missing_guard_is_noticed(whole: Path, tmp_path: Path) -> None:
    """A log whose append-only trigger was removed does not pass the deep check."""
    path = tmp_path / "log.db"
    shutil.copy(whole, path)
    db = sqlite3.connect(path)
    db.execute("DROP TRIGGER events_delete")
    db.close()
    reader = open_reader(path)
    assert any("events_delete" in problem.message for problem in check(reader))
    reader.close()
