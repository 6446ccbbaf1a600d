"""What Postgres' errors mean: mapped here, to the errors of core/errors.py, and nowhere else.

A message of libpq may quote the connection string, so only what the server said is ever shown, and of a connection that
was not made nothing but the place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import errors as pg

from reconciler.core.errors import CouldNotRun, LogBusy, LogDamaged, LogNotWritable, PaiError, TooLong

RESTORE: Final = "restore the database from a backup; Pai never makes a log anew by itself"
REACH: Final = "see that the database runs, can be reached, and takes connections; a running node goes on by itself"
BROKEN_RULE: Final = "PAI01"
"""SQLSTATE of what our own guards in the database refuse."""

_WHERE_FROM: Final = "see the URL, PGPASSFILE, or log.password_secret_file"
_READ_ONLY: Final = ("this server is read-only", "name the primary, or add target_session_attrs=read-write")
_BUSY: Final = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)
_DAMAGED: Final = (psycopg.IntegrityError, pg.DataCorrupted, pg.IndexCorrupted)
_OF_LIBPQ: Final = (
    ("password authentication failed", "the password is wrong", _WHERE_FROM),
    ("no password supplied", "a password is wanted", _WHERE_FROM),
    ("no pg_hba.conf entry", "the user may not connect from here", "add a line to pg_hba.conf, or use sslmode"),
    ("could not translate host name", "its host is not known", "see the host's name in the address"),
    ("Connection refused", "nobody listens there", REACH),
    ("No such file or directory", "nobody listens there", REACH),
    ("timeout expired", "it does not answer", REACH),
    ("certificate", "its certificate is not trusted", "see sslmode and sslrootcert in the address"),
    ("read-only", *_READ_ONLY),
)
"""What libpq says of a connection that was not made, and what is shown of it: nothing that it may quote."""
_SAID: Final[dict[type[psycopg.Error], tuple[str, str]]] = {
    pg.ReadOnlySqlTransaction: _READ_ONLY,
    pg.InvalidPassword: ("the password is wrong", _WHERE_FROM),
    pg.InvalidAuthorizationSpecification: ("the user may not connect", "see pg_hba.conf, the user and its password"),
    pg.InvalidCatalogName: ("there is no such database", "make it, then: pai database init URL"),
    pg.InsufficientPrivilege: ("the user lacks a right", "with an owner's URL: pai database init URL --node-role NAME"),
    pg.DiskFull: ("its disk is full", "free space on the database's disk"),
    pg.TooManyConnections: ("it takes no more connections", "raise max_connections, or put pgbouncer before it"),
}


@contextlib.contextmanager
def mapped(shown: str, writing: bool) -> Iterator[None]:
    """Raise what psycopg raises inside the `with` as an error of ours about the log at a place."""
    try:
        yield
    except psycopg.Error as error:
        raise error_of(shown, error, writing) from None  # its text may hold the connection string


def error_of(shown: str, error: psycopg.Error, writing: bool) -> PaiError:
    """Give the error of ours that says what one of psycopg means."""
    state = error.sqlstate or ""
    if isinstance(error, _DAMAGED) or state == BROKEN_RULE:
        return LogDamaged(f"{shown} contradicts itself: {_words(error)[0]}", RESTORE)
    if isinstance(error, (pg.UndefinedTable, pg.InvalidSchemaName)):
        return LogDamaged(f"{shown} has no log", "pai database init URL")
    if isinstance(error, pg.QueryCanceled) and not writing:
        return TooLong()
    if isinstance(error, _BUSY):
        return LogBusy(f"{shown} is busy: {_words(error)[0]}", "try again; if it stays so, see pg_locks")
    said, hint = next((_SAID[kind] for kind in type(error).__mro__ if kind in _SAID), _words(error))
    if writing:
        return LogNotWritable(f"{shown} cannot be written: {said}", hint)
    return CouldNotRun(f"{shown} cannot be read: {said}", hint)


def _words(error: psycopg.Error) -> tuple[str, str]:
    """Give what the server said, and a way out; of what libpq says, which may quote a password, what is known of it."""
    if error.sqlstate is not None:
        return error.diag.message_primary or error.sqlstate, REACH
    text = str(error)
    return next(((said, hint) for words, said, hint in _OF_LIBPQ if words in text), ("the connection was lost", REACH))
