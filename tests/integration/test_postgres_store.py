"""What the log in Postgres promises beside the port: guards, a node's rights, errors that say nothing secret."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.sql import SQL, Identifier

from reconciler.core.errors import CouldNotRun, LogBusy, LogDamaged, LogNotWritable, PaiError
from reconciler.core.events import Draft
from reconciler.log.postgres.errors import error_of
from reconciler.log.postgres.place import PostgresLog, prepare
from reconciler.log.postgres.store import PostgresStore
from reconciler.log.store import Base
from reconciler.log.url import PostgresAddress, read_address
from reconciler.recorder import Recorder
from tests.support_log import decide, new_log_of, secret, some
from tests.support_postgres import postgres

SAYS = "PAI01"


@pytest.fixture
def log() -> PostgresLog:
    """A log with its first event."""
    made = new_log_of("postgres", Path())
    assert isinstance(made, PostgresLog)
    return made


def as_node(log: PostgresLog) -> PostgresAddress:
    """Let a role work on a log, and give the log's address for it."""
    role = f"node_{log.address.schema}"
    prepare(log.address, role)
    return postgres().address(log.address.schema, role)


CHANGES = [
    "UPDATE {s}.events SET body = ''",
    "DELETE FROM {s}.events",
    "TRUNCATE {s}.events",
    "DELETE FROM {s}.head",
    "INSERT INTO {s}.kept VALUES (0, '', '', '')",
    "INSERT INTO {s}.events VALUES (2, '', '')",
    "INSERT INTO {s}.events VALUES (-1, '', '')",
    "INSERT INTO {s}.events VALUES (1, '', ''), (3, '', '')",
    "SELECT {s}.move_head(9, '', 5)",
]


@pytest.mark.parametrize("change", CHANGES)
def test_guards_refuse_what_is_no_growth(log: PostgresLog, change: str) -> None:
    """Even the owner is refused, and nothing is changed."""
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        with pytest.raises(psycopg.Error) as caught:
            db.execute(change.format(s=log.address.schema))
        assert caught.value.sqlstate == SAYS
    with contextlib.closing(log.reader()) as reader:
        assert (reader.size(), reader.faults()) == (1, [])


@pytest.mark.parametrize(
    "change",
    [
        *CHANGES[:5],
        "ALTER TABLE {s}.events DISABLE TRIGGER USER",
        "DROP TABLE {s}.events",
        "CREATE TABLE {s}.mine (x int)",
        "INSERT INTO {s}.base VALUES (0, 1, '', '', '', 1, 1)",
        "SET session_replication_role = replica",
    ],
)
def test_node_has_no_right_to_change_events(log: PostgresLog, change: str) -> None:
    """The role that nodes have reads and adds; everything else is the owner's."""
    with psycopg.connect(as_node(log).conninfo, autocommit=True) as db:
        with pytest.raises((pg.InsufficientPrivilege, psycopg.Error)) as caught:
            db.execute(change.format(s=log.address.schema))
        assert caught.value.sqlstate in ("42501", SAYS)


def test_node_records_with_its_rights(log: PostgresLog) -> None:
    """Recording, the index, snapshots and the projection need no more; pruning does."""
    node = PostgresLog(as_node(log))
    with Recorder(node.writer(), snapshot_every=10, block_events=5) as recorder:
        for number in range(30):
            recorder.record(decide(secret(f"s{number}")))
    with contextlib.closing(node.reader()) as reader:
        assert (reader.size(), reader.head().indexed > 0, bool(reader.snapshots())) == (31, True, True)
    with contextlib.closing(PostgresStore(node.address)) as store, pytest.raises(LogNotWritable, match="lacks a right"):
        store.prune(Base(1, b"", b"", "", 1, 1), [])


def test_lost_guard_is_told(log: PostgresLog) -> None:
    """Whoever switched a guard off is found out."""
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        db.execute(f"ALTER TABLE {log.address.schema}.events DISABLE TRIGGER events_change")
    with contextlib.closing(log.reader()) as reader:
        assert reader.faults() == ["trigger events_change is missing or off"]


def test_turn_that_cannot_be_left_is_answered_once(log: PostgresLog) -> None:
    """Whoever had nothing to record is told so, and the recorder goes on though the connection ended meanwhile."""

    def cut(_: object) -> list[Draft]:
        with psycopg.connect(log.address.conninfo, autocommit=True) as db:
            query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'pai'"
            db.execute(query + " AND query LIKE %s", (f"%{log.address.schema}%",))
        return []

    with Recorder(log.writer(), retry_s=0) as recorder:
        assert recorder.submit(cut).wait(30).events == ()
        assert recorder.submit(decide(secret("after"))).wait(30).first == 1


def test_node_reads_no_table_of_others(log: PostgresLog) -> None:
    """Those that lie in the same schema stay closed to it."""
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        db.execute(SQL("CREATE TABLE {s}.theirs ()").format(s=Identifier(log.address.schema)))
    with psycopg.connect(as_node(log).conninfo) as db, pytest.raises(pg.InsufficientPrivilege):
        db.execute(SQL("SELECT FROM {s}.theirs").format(s=Identifier(log.address.schema)))


def test_password_is_in_no_statement(log: PostgresLog) -> None:
    """The server, whose log has statements, is sent what it keeps of it, and the role may come in with it."""
    role = f"hashed_{log.address.schema}"
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        owner = f"weak_{log.address.schema}"
        db.execute(f"CREATE ROLE {owner} LOGIN; GRANT CREATE ON DATABASE postgres TO {owner}")
    with pytest.raises(CouldNotRun, match="may not make the role"):
        prepare(postgres().address(f"{log.address.schema}_3", owner), role, "plain-pass-word")
    said = (postgres().folder / "log").read_text()
    assert f'CREATE ROLE "{role}"' in said
    assert "plain-pass-word" not in said
    prepare(log.address, role, "plain-pass-word")
    with psycopg.connect(log.address.conninfo) as db:
        (kept,) = db.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,)).fetchone() or ("",)
    assert kept.startswith("SCRAM-SHA-256$")


def test_database_that_cannot_hold_every_name_is_refused(log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in no letters of Latin-1 would stop the log; and no variable of the client makes one so."""
    name = f"latin_{log.address.schema}"
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        db.execute(SQL("CREATE DATABASE {d} ENCODING 'LATIN1' TEMPLATE template0").format(d=Identifier(name)))
    latin = read_address(f"postgresql://owner@/{name}?host={postgres().folder}")
    with pytest.raises(CouldNotRun, match="encoding is LATIN1"):
        prepare(latin)
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with Recorder(log.writer()) as recorder:
        recorder.record(decide(secret("\u4e2d")))


def test_preparing_again_changes_nothing(log: PostgresLog) -> None:
    """Neither the schema nor a role's password is touched once it is there."""
    address = as_node(log)
    prepare(log.address, address.conninfo.split("//")[1].split("@")[0], "another password")
    prepare(log.address)
    with contextlib.closing(PostgresStore(address)) as store:
        store.append(some(1, 1), {})


def test_role_that_may_not_be_made_says_what_to_run(log: PostgresLog) -> None:
    """Where the owner may make no roles, the error has the SQL for somebody who may."""
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        owner = f"owner_{log.address.schema}"
        db.execute(f"CREATE ROLE {owner} LOGIN; GRANT CREATE ON DATABASE postgres TO {owner}")
    address = postgres().address(f"{log.address.schema}_2", owner)
    with pytest.raises(CouldNotRun, match="may not make the role") as caught:
        prepare(address, "some_node", "s3cr3t")
    assert 'CREATE ROLE "some_node" LOGIN' in caught.value.hint
    assert "s3cr3t" not in caught.value.hint
    prepare(address)


def test_schema_of_something_else_is_no_log(log: PostgresLog) -> None:
    """Neither nothing, nor another version, nor a schema without a log is taken for one."""
    with pytest.raises(LogDamaged, match="has no log"):
        PostgresLog(postgres().address("nothing_here")).reader()
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        db.execute(SQL("UPDATE {s}.format SET version = 99").format(s=Identifier(log.address.schema)))
    with pytest.raises(LogDamaged, match="version 99"):
        log.reader()


def test_unreachable_server_says_where_and_no_more(tmp_path: Path) -> None:
    """Nothing of the password is in what is said, nor in what a traceback would show."""
    address = read_address(f"postgresql://u:s3cr3t@/db?host={tmp_path}")
    with pytest.raises(CouldNotRun) as caught:
        PostgresLog(address).reader()
    assert caught.value.message == "postgresql://u@/db cannot be read: nobody listens there"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_every_error_of_the_library_is_one_of_ours() -> None:
    """A kind that psycopg adds is mapped too, by what it descends from."""
    kinds = [each for _, each in inspect.getmembers(pg, inspect.isclass) if issubclass(each, psycopg.Error)]
    assert len(kinds) > 200
    for kind in kinds:
        for writing in (True, False):
            found = error_of("here", kind("it says s3cr3t"), writing)
            assert isinstance(found, PaiError)
            assert "s3cr3t" not in found.message + found.hint
    assert isinstance(error_of("here", pg.LockNotAvailable(), writing=True), LogBusy)
    assert isinstance(error_of("here", pg.UniqueViolation(), writing=True), LogDamaged)
    assert isinstance(error_of("here", pg.DiskFull(), writing=True), LogNotWritable)
    assert isinstance(error_of("here", pg.QueryCanceled(), writing=False), CouldNotRun)
