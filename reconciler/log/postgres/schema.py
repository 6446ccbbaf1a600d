"""What a log's Postgres schema looks like: tables, guards, and how one is recognised.

`events` only grows, at its end: the guards refuse everything else, to everybody but the owner who lifts them. Every
name is qualified by the schema, since nothing of a session outlives a transaction behind pgbouncer.
"""
# ruff: noqa: S608 (only names of our own tables and columns are put into statements)

from __future__ import annotations

from typing import Final

from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL, Composed, Identifier, Literal

from reconciler.core.errors import CouldNotRun, LogDamaged
from reconciler.log.index import FIGURES
from reconciler.log.postgres.connecting import Database
from reconciler.log.postgres.errors import BROKEN_RULE

FORMAT_VERSION: Final = 1
BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL idle_in_transaction_session_timeout = '2s';"
    " SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10s'; SET LOCAL synchronous_commit = on"
)
"""What every transaction that writes begins with: nothing then depends on defaults of the server or the role."""
_LOCKS: Final = 0x506169  # "Pai": the first of the two keys of the lock, the second is the schema's oid
LOCK: Final = (
    f"SELECT pg_advisory_xact_lock({_LOCKS}, (oid::bigint - 2147483648)::int) FROM pg_namespace"
    " WHERE oid = '{s}'::regnamespace"
)
"""Waits for one's turn, which ends with the transaction."""
_SUMS = ", ".join(f"{name} bigint NOT NULL" for name in FIGURES)
_TEXT: Final = 'text COLLATE "C" NOT NULL'

_TABLES: Final = (
    # The log itself. `leaf` = SHA-256(0x00 || body).
    "CREATE TABLE {s}.events (seq bigint PRIMARY KEY, body bytea NOT NULL, leaf bytea NOT NULL)",
    # One row: number of events and Merkle frontier; it is what appending nodes take turns at.
    "CREATE TABLE {s}.head (id smallint PRIMARY KEY CHECK (id = 0), size bigint NOT NULL, peaks bytea NOT NULL)"
    " WITH (fillfactor = 50)",
    # One row: what projection and index stand for.
    "CREATE TABLE {s}.derived (id smallint PRIMARY KEY CHECK (id = 0), projected bigint NOT NULL, fold int NOT NULL,"
    " indexed bigint NOT NULL, index_version int NOT NULL) WITH (fillfactor = 50)",
    f"CREATE TABLE {{s}}.rows (kind {_TEXT}, name {_TEXT}, body bytea NOT NULL, PRIMARY KEY (kind, name))",
    "CREATE TABLE {s}.snapshots (position bigint PRIMARY KEY, fold int NOT NULL, peaks bytea NOT NULL,"
    " data bytea NOT NULL, digest bytea NOT NULL)",
    "CREATE TABLE {s}.subtrees (tier smallint NOT NULL, n bigint NOT NULL, hash bytea NOT NULL, PRIMARY KEY (tier, n))",
    # What a pruned log begins with, and the events before it that stayed.
    "CREATE TABLE {s}.base (id smallint PRIMARY KEY CHECK (id = 0), position bigint NOT NULL, peaks bytea NOT NULL,"
    " data bytea NOT NULL, digest text NOT NULL, event bigint NOT NULL, fold int NOT NULL)",
    "CREATE TABLE {s}.kept (seq bigint PRIMARY KEY, body bytea NOT NULL, leaf bytea NOT NULL, path bytea NOT NULL)",
    # The index.
    f"CREATE TABLE {{s}}.marks (block bigint NOT NULL, kind {_TEXT}, value {_TEXT}, previous bigint,"
    ' offsets bytea NOT NULL, account text COLLATE "C", PRIMARY KEY (block, kind, value))',
    f"CREATE TABLE {{s}}.marked (kind {_TEXT}, value {_TEXT}, block bigint NOT NULL, PRIMARY KEY (kind, value))",
    f"CREATE TABLE {{s}}.requests (request {_TEXT}, seq bigint NOT NULL, PRIMARY KEY (request, seq))",
    f"CREATE TABLE {{s}}.spent (span {_TEXT}, period {_TEXT}, day {_TEXT}, model {_TEXT}, agent {_TEXT}, {_SUMS},"
    " PRIMARY KEY (span, period, day, model, agent))",
    # One row: who writes, while only one program does.
    f"CREATE TABLE {{s}}.holder (id smallint PRIMARY KEY CHECK (id = 0), epoch bigint NOT NULL, name {_TEXT},"
    f" place {_TEXT}, until timestamptz NOT NULL) WITH (fillfactor = 50)",
    # One row: the version of all this.
    "CREATE TABLE {s}.format (version int NOT NULL)",
)
_GUARDS: Final = (
    f"CREATE FUNCTION {{s}}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
    f" BEGIN RAISE EXCEPTION 'the log only grows' USING ERRCODE = '{BROKEN_RULE}'; END $$",
    # The events of one statement follow the head without a gap.
    f"CREATE FUNCTION {{s}}.grow() RETURNS trigger LANGUAGE plpgsql AS $$"
    " DECLARE low bigint; high bigint; number bigint; size bigint; BEGIN"
    " SELECT min(seq), max(seq), count(*) INTO low, high, number FROM added;"
    " SELECT head.size INTO size FROM {s}.head;"
    " IF number > 0 AND (low IS DISTINCT FROM size OR high - low + 1 <> number) THEN"
    f" RAISE EXCEPTION 'the log only grows at its end' USING ERRCODE = '{BROKEN_RULE}'; END IF;"
    " RETURN NULL; END $$",
    # The head follows its events; it is what the transaction of a turn ends with.
    "CREATE FUNCTION {s}.move_head(grown bigint, new_peaks bytea, expected bigint) RETURNS void LANGUAGE plpgsql"
    " AS $$ BEGIN UPDATE {s}.head SET size = grown, peaks = new_peaks WHERE size = expected;"
    f" IF NOT FOUND THEN RAISE EXCEPTION 'the head is not where it was' USING ERRCODE = '{BROKEN_RULE}'; END IF;"
    " UPDATE {s}.derived SET projected = grown; END $$",
    "CREATE TRIGGER events_insert AFTER INSERT ON {s}.events REFERENCING NEW TABLE AS added"
    " FOR EACH STATEMENT EXECUTE FUNCTION {s}.grow()",
    "CREATE TRIGGER events_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {s}.events"
    " FOR EACH STATEMENT EXECUTE FUNCTION {s}.refuse()",
    "CREATE TRIGGER kept_change BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {s}.kept"
    " FOR EACH STATEMENT EXECUTE FUNCTION {s}.refuse()",
    "CREATE TRIGGER head_change BEFORE DELETE OR TRUNCATE ON {s}.head FOR EACH STATEMENT EXECUTE FUNCTION {s}.refuse()",
)
_RIGHTS: Final = (
    "GRANT USAGE ON SCHEMA {s} TO {r}",
    *(f"GRANT SELECT ON {table.split()[2]} TO {{r}}" for table in _TABLES),  # others' tables may lie beside them
    "GRANT INSERT ON {s}.events TO {r}",
    "GRANT INSERT, UPDATE ON {s}.head, {s}.derived, {s}.holder TO {r}",
    "GRANT INSERT, UPDATE, DELETE ON {s}.rows, {s}.snapshots, {s}.subtrees, {s}.marks, {s}.marked, {s}.requests,"
    " {s}.spent TO {r}",
)
"""What a node may do: add events, read all, and keep what is derived."""
GUARDS: Final = {"events": ("events_change", "events_insert"), "kept": ("kept_change",), "head": ("head_change",)}
"""The triggers of each table that refuse changes."""


def make(db: Database, schema: str) -> None:
    """Make the schema, empty, in one transaction; nothing is changed if it is there.

    Raises LogDamaged, CouldNotRun for a database that cannot hold every name.
    """
    encoding = db.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):
        raise CouldNotRun(f"the database's encoding is {encoding}", "make one: createdb -T template0 -E UTF8 NAME")
    with db.transaction():
        db.execute(SQL("CREATE SCHEMA IF NOT EXISTS {s}").format(s=Identifier(schema)))
        found = db.execute("SELECT to_regclass(%s)", (f'"{schema}".format',)).fetchone()
        if found is not None and found[0] is not None:
            recognise(db, schema)
            return
        for statement in (*_TABLES, *_GUARDS):
            db.execute(SQL(statement).format(s=Identifier(schema)))
        version = SQL("INSERT INTO {s}.format VALUES ({v})")
        db.execute(version.format(s=Identifier(schema), v=Literal(FORMAT_VERSION)))


def admit(db: Database, schema: str, role: str, password: str = "") -> None:
    """Let a role work as a node does, and make it if there is none; the password of one that is there stays.

    Raises CouldNotRun with what to run, if this user may not make roles.
    """
    names = {"s": Identifier(schema), "r": Identifier(role)}
    with db.transaction():
        if db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            making = SQL("CREATE ROLE {r} LOGIN").format(**names)
            try:
                with db.transaction():
                    if password:  # as psql does: the server may write statements to its log
                        hashed = db.pgconn.encrypt_password(password.encode(), role.encode()).decode()
                        db.execute(making + SQL(" PASSWORD {p}").format(p=Literal(hashed)))
                    else:
                        db.execute(making)
            except InsufficientPrivilege as error:
                hint = f"let one who may run: {making.as_string(db)} PASSWORD '...'; then try again"
                raise CouldNotRun(f"this user may not make the role {role}", hint) from error
        for statement in _RIGHTS:
            db.execute(SQL(statement).format(**names))


def recognise(db: Database, schema: str) -> None:
    """Make sure that this is a log's schema of this version. Raises LogDamaged, psycopg's error if there is none."""
    found = db.execute(SQL("SELECT version FROM {s}.format").format(s=Identifier(schema))).fetchall()
    if found != [(FORMAT_VERSION,)]:
        version = found[0][0] if found else "none"
        raise LogDamaged(
            f"the schema {schema} has version {version}, this version of Pai knows {FORMAT_VERSION}",
            "pai database init URL, by the newer version of Pai",
        )


def lost_guards(db: Database, schema: str) -> list[str]:
    """Say which guards are missing or switched off."""
    query = (
        "SELECT tgname FROM pg_trigger JOIN pg_class ON tgrelid = pg_class.oid JOIN pg_namespace ON relnamespace ="
        " pg_namespace.oid WHERE nspname = %s AND relname = %s AND tgenabled IN ('O', 'A')"
    )
    told = []
    for table, names in GUARDS.items():
        there = {name for (name,) in db.execute(query, (schema, table))}
        told += [f"trigger {name} is missing or off" for name in names if name not in there]
    return told


def lifted(schema: str, how: str) -> list[Composed]:
    """Give the statements that switch all guards off or on again ("DISABLE", "ENABLE"); they need the owner."""
    form = SQL(f"ALTER TABLE {{t}} {how} TRIGGER USER")
    return [form.format(t=Identifier(schema, table)) for table in GUARDS]
