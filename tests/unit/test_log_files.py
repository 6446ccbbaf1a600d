"""The log's file as others leave it, and what SQLite says of it: which error, in which words, with which way out."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from reconciler.core.errors import CouldNotRun, LogBusy, LogDamaged, LogNotWritable, PaiError, TooLong
from reconciler.log.sqlite.errors import AFRESH, RESTORE, mapped
from reconciler.log.sqlite.files import Ours, must_exist
from reconciler.log.store import FREE

BUSY = "try again; if it stays so, see what has it open, and that its file system knows locks"
READABLE = "check its owner and mode, and the disk"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file that is not empty."""
    made = tmp_path / "log.db"
    made.write_bytes(b"log")
    return made


def told(caught: pytest.ExceptionInfo[PaiError], path: Path) -> tuple[str, str | None]:
    """Give what an error says, and its way out; the path as `P`."""
    return caught.value.message.replace(str(path), "P"), caught.value.hint


def test_file_with_something_in_it_exists(path: Path) -> None:
    """No file, an empty one, a folder and one that may not be looked at do not, each in words of its own."""
    must_exist(path)
    path.write_bytes(b"")
    with pytest.raises(LogDamaged) as empty:
        must_exist(path)
    with pytest.raises(LogDamaged) as folder:
        must_exist(path.parent)
    assert told(empty, path) == told(folder, path.parent) == ("P is empty or no file", RESTORE)
    with pytest.raises(LogDamaged) as missing:
        must_exist(path.with_name("none"))
    hint = "restore the file from a backup; a new workspace gets one by `pai init`"
    assert told(missing, path.with_name("none")) == ("there is no log at P", hint)
    below = path / "below"
    with pytest.raises(CouldNotRun) as unreadable:
        must_exist(below)
    assert told(unreadable, below) == ("P cannot be read: Not a directory", "check its owner and mode")


def test_file_that_another_program_touched_is_not_ours(path: Path) -> None:
    """Written over, replaced, gone; what the writer itself made of it is taken."""
    ours = Ours(path)
    assert ours.same()
    ours.check()
    path.write_bytes(b"more of it")
    assert not ours.same()
    with pytest.raises(LogDamaged) as over:
        ours.check()
    said = "while in use: stop what uses it, and restore it"
    assert told(over, path) == (f"P was written over by another program {said}", AFRESH)
    ours.take()
    ours.check()
    os.utime(path, ns=(1, 1))
    with pytest.raises(LogDamaged) as touched:
        ours.check()
    assert told(touched, path) == told(over, path)
    other = path.with_name("other")
    other.write_bytes(b"more of it")
    other.rename(path)
    with pytest.raises(LogDamaged) as replaced:
        ours.check()
    assert told(replaced, path) == (f"P was replaced by another file {said}", AFRESH)
    path.unlink()
    assert not ours.same()
    with pytest.raises(LogDamaged) as gone:
        ours.check()
    hint = "or stop what uses it, and start it where the folder is now"
    assert told(gone, path) == ("P was moved or removed while in use: put it back", hint)


@pytest.mark.parametrize(
    ("code", "writing", "kind", "message", "hint"),
    [
        (sqlite3.SQLITE_CORRUPT, False, LogDamaged, "P is damaged: why", RESTORE),
        (sqlite3.SQLITE_NOTADB, True, LogDamaged, "P is damaged: why", RESTORE),
        (sqlite3.SQLITE_INTERRUPT, True, TooLong, TooLong().message, TooLong().hint),
        (sqlite3.SQLITE_BUSY, True, LogBusy, "P is busy: why", BUSY),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, False, LogBusy, "P is busy: why", BUSY),
        (sqlite3.SQLITE_FULL, True, LogNotWritable, "P cannot be written: why", FREE),
        (sqlite3.SQLITE_IOERR_READ, False, CouldNotRun, "P cannot be read: why", READABLE),
        (None, False, CouldNotRun, "P cannot be read: why", READABLE),
        (None, True, LogNotWritable, "P cannot be written: why", FREE),
    ],
)
def test_what_sqlite_says_is_an_error_of_ours(
    path: Path, code: int | None, writing: bool, kind: type[PaiError], message: str, hint: str
) -> None:
    """By the primary part of its code; whoever writes is told that nothing can be written."""
    raised = sqlite3.OperationalError("why")
    if code is not None:
        raised.sqlite_errorcode = code
    with pytest.raises(kind) as caught, mapped(path, writing):
        raise raised
    assert told(caught, path) == (message, hint)
    assert caught.value.__cause__ is raised


def test_what_is_no_fault_of_the_file_is_raised_as_it_is(path: Path) -> None:
    """A mistake of this program stays one; a schema that cannot even be quoted is damage."""
    with pytest.raises(sqlite3.ProgrammingError), mapped(path, writing=True):
        raise sqlite3.ProgrammingError("ours")
    with pytest.raises(LogDamaged) as caught, mapped(path, writing=True):
        b"\xff".decode()
    assert told(caught, path) == ("P is damaged: its schema cannot be read", RESTORE)
    assert (TooLong().message, TooLong().hint) == (
        "the query took too long",
        "narrow it: since:, model:, agent:, or a smaller limit",
    )
