"""The log's file under everyday hands: copied, read where nothing can be written, put back while somebody follows it.

All with real daemons, real SQLite and real copies.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest

from reconciler.log.check.whole import check
from reconciler.log.open import log_at
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.recorder import Recorder
from tests.support import DEADLINE_S, PAI, Done, Site, binding, run, until
from tests.support_log import decide, new_log, secret
from tests.support_users import AS_NOBODY, IS_ROOT, let_through

BESIDE = ("-wal", "-shm")


def beside(path: Path, end: str) -> Path:
    """Name the file that SQLite keeps beside another."""
    return path.with_name(path.name + end)


def events_of(path: Path) -> int:
    """Count the events of a file as it lies there, whatever lies beside it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


@contextmanager
def shell(path: Path, statement: str = "SELECT 1 FROM head") -> Iterator[sqlite3.Connection]:
    """Hold the file open as somebody in a SQLite shell does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement).fetchall()
        yield db


@contextmanager
def follower(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """Run `pai log --follow`, from the first line that it prints on."""
    process = subprocess.Popen(
        [PAI, "log", "--follow", "-o", "jsonl"],
        bufsize=0,
        cwd=site.root,
        env=site.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert line_of(process.stdout)
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(stream: IO[bytes] | None) -> bytes:
    """Read the next line, which has to come in time."""
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], DEADLINE_S)
    assert ready, "no line came"
    return stream.readline()


def heard(process: subprocess.Popen[bytes], word: str) -> None:
    """Read a follower's lines up to one that has a word."""
    while word.encode() not in line_of(process.stdout):
        pass


@pytest.mark.parametrize("who", ["follower", "shell"])
def test_file_alone_is_the_log_after_a_clean_stop_with_a_reader(team: Site, who: str) -> None:
    """Whoever has the file open and reads nothing at the moment keeps nothing out of it; nothing is said then."""
    with follower(team) if who == "follower" else shell(team.database) as _:
        with team.daemon() as daemon:
            team.pai("apply", "-f", "-", stdin=binding("flash", 5))
        there = len(team.rows())
        assert events_of(team.database) == there
        assert "alone does not hold" not in daemon.log


def test_stop_says_that_the_file_alone_is_not_the_log(team: Site) -> None:
    """A reader in a moment of before prevents it; what to copy is said, and once it has gone, one command is enough."""
    with shell(team.database) as db:
        with team.daemon() as daemon:
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM events").fetchall()
            team.pai("apply", "-f", "-", stdin=binding("flash", 5))
        there = len(team.rows())
        assert events_of(team.database) < there
        assert f"{team.database} alone does not hold the newest events" in daemon.log
        assert f"copy {team.database}-wal together with it" in daemon.log
        copy = team.folder / "log.db"
        for end in ("", "-wal"):
            shutil.copy(beside(team.database, end), beside(copy, end))
        with closing(sqlite3.connect(copy)) as copied:
            assert copied.execute("SELECT count(*) FROM events").fetchone() == (there,)
        db.execute("ROLLBACK")
        team.pai("reconcile")
        assert events_of(team.database) == there


READING = (
    ("get", "all"),
    ("log",),
    ("verify",),
    ("status",),
    ("describe", "model", "flash"),
    ("history", "model", "flash"),
    ("usage",),
    ("prove", "1"),
)


def read_only(site: Site, kind: str) -> Iterator[Callable[..., Done]]:
    """Make a workspace one that cannot be written, and give what runs pai in it."""
    data, prefix, root = site.root / "data", [], site.root
    if kind == "mounted":
        root = site.folder / "mounted"
        root.mkdir()
        steps = (["mount", "--bind", site.root, root], ["mount", "-o", "remount,bind,ro", root])
        if os.geteuid() or any(subprocess.run(step, check=False, capture_output=True).returncode for step in steps):
            pytest.skip("only root can mount a file system, and only where the kernel lets it")
    else:
        let_through(site.root)
        for place in data.glob("log.db*"):
            place.chmod(0o444)
        data.chmod(0o555)
        prefix = list(AS_NOBODY) if IS_ROOT else []  # root may write everywhere
    settings = [f"--workspace={root}"]
    try:
        yield lambda *words: run([*prefix, PAI, *words, *settings], site.environment, site.folder)
    finally:
        if kind == "mounted":
            subprocess.run(["umount", root], check=True)
        else:
            data.chmod(0o700)


@pytest.mark.parametrize("kind", ["mounted", "forbidden"])
@pytest.mark.parametrize("waiting", [False, True], ids=["stopped", "killed"])
def test_workspace_that_cannot_be_written_can_be_read(team: Site, kind: str, waiting: bool) -> None:
    """Every reading command answers as before, also with events that wait in the WAL, and nothing is made."""
    daemon = team.daemon()
    daemon.start()
    team.pai("apply", "-f", "-", stdin=binding("flash", 5))
    (daemon.kill if waiting else daemon.stop)()
    if waiting:
        (team.root / "data" / "pai.sock").unlink()
        beside(team.database, "-shm").unlink()
        assert beside(team.database, "-wal").stat().st_size
    with contextmanager(read_only)(team, kind) as pai:
        before = sorted((team.root / "data").iterdir())
        answers = {words: pai(*words) for words in READING}
        exported = pai("export", "--format", "jsonl", "/dev/null/no")
        assert sorted((team.root / "data").iterdir()) == before
    for words, done in answers.items():
        assert (done.code, "error:" in done.err) == (0, False), (words, done)
    assert exported.code == 3, "of the target, not of the log"
    assert answers["log",].out.splitlines() == team.pai("log").out.splitlines()


def as_vacuum(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as db:
        db.execute("VACUUM INTO ?", (str(target),))


def as_backup(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as db, closing(sqlite3.connect(target)) as copy:
        db.backup(copy)


def as_dump(source: Path, target: Path, *first: str) -> None:
    with closing(sqlite3.connect(source)) as db, closing(sqlite3.connect(target)) as copy:
        for statement in first:
            copy.execute(statement)
        copy.executescript("\n".join(db.iterdump()))


def as_other_tool(source: Path, target: Path) -> None:
    as_dump(source, target, "PRAGMA page_size = 1024", "PRAGMA auto_vacuum = FULL")


def as_cp(source: Path, target: Path) -> None:
    for end in ("", *BESIDE):
        if beside(source, end).exists():
            shutil.copy(beside(source, end), beside(target, end))


def as_cp_alone(source: Path, target: Path) -> None:
    shutil.copy(source, target)


def by_shell(source: Path, target: Path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("there is no sqlite3 shell here; as_dump does the same by Python")
    dump = subprocess.run(["sqlite3", "-readonly", source, ".dump"], check=True, capture_output=True)
    subprocess.run(["sqlite3", target], input=dump.stdout, check=True)


def without_views(source: Path, target: Path) -> None:
    as_vacuum(source, target)
    with closing(sqlite3.connect(target)) as db:
        db.execute("DROP VIEW log")
        db.execute("DROP VIEW usage")
        db.execute("CREATE VIEW usage AS SELECT 1 AS day")


COPIES = (as_vacuum, as_backup, as_dump, as_other_tool, as_cp, as_cp_alone, by_shell, without_views)


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize("made", COPIES)
def test_copy_verifies_and_serves(team: Site, made: Callable[[Path, Path], None], running: bool) -> None:
    """However it was copied, also beside a daemon: readers, `pai verify` and `pai serve` take it for the log it is."""
    copy = team.folder / "copy.db"
    if running:
        with team.daemon():
            made(team.database, copy)
    else:
        made(team.database, copy)
    for end in ("", *BESIDE):
        beside(team.database, end).unlink(missing_ok=True)
        if beside(copy, end).exists():
            beside(copy, end).rename(beside(team.database, end))
    before = team.pai("log", "-o", "jsonl").out.splitlines()
    verified = team.run("verify")
    assert verified.code in ((0, 1) if running else (0,)), verified
    if verified.code:  # a copy of before the stop is a rollback, and nothing else is wrong with it
        assert "vouches for" in verified.out + verified.err
        team.pai("verify", "--accept")
    with team.daemon():
        team.pai("apply", "-f", "-", stdin=binding("flash", 7))
    assert team.pai("log", "--reverse", "-o", "jsonl").out.splitlines()[: len(before)] == before[::-1]
    assert "another tool" not in team.pai("verify").err, "all is put right"
    with closing(sqlite3.connect(team.database)) as db:
        settings = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "page_size", "auto_vacuum")]
        assert settings == ["wal", 16384, 0]
        assert db.execute("PRAGMA application_id").fetchone() == (0x5061694C,)
        assert db.execute("SELECT count(*) FROM log").fetchone() == (len(team.rows()),)


def test_settings_that_are_put_right_are_told(team: Site) -> None:
    """`pai verify` warns of them and is content; the daemon says in its log what it changed."""
    copy = team.folder / "copy.db"
    as_dump(team.database, copy)
    for end in BESIDE:
        beside(team.database, end).unlink(missing_ok=True)
    copy.rename(team.database)
    said = team.pai("verify").err
    for word in ("journal mode is delete", "application id is lost", "format version is lost", "page size is 4096"):
        assert word in said
    with team.daemon() as daemon:
        assert f"{team.database} was put right: the journal mode is delete; the application id is lost" in daemon.log


def test_lost_guards_are_put_back(tmp_path: Path) -> None:
    """A trigger that is gone, or says nothing any more, is named by the check and made anew by the writer."""
    path = new_log(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER events_delete")
        db.execute("DROP TRIGGER events_update")
        db.execute("CREATE TRIGGER events_update BEFORE UPDATE ON events BEGIN SELECT 1; END")
    with closing(open_reader(path)) as log:
        told = [problem.message for problem in check(log)]
    assert [line.split(": ")[1] for line in told] == [
        "trigger events_update is another one",
        "trigger events_delete is missing",
    ]
    with Recorder(SqliteBackend(path)):
        pass
    with closing(open_reader(path)) as log:
        assert check(log) == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("PRAGMA application_id = 7", "is not a log of Pai"),
        ("DROP TABLE marks", "is not a log of Pai"),
        ("ALTER TABLE head ADD COLUMN more INTEGER", "its table head is not that of a log"),
    ],
)
def test_file_that_is_no_log_is_refused_by_all_in_the_same_words(team: Site, statement: str, said: str) -> None:
    """What cannot be put right is told by readers, `pai verify` and `pai serve` alike, and not touched."""
    copy = team.folder / "copy.db"
    as_dump(team.database, copy)
    with closing(sqlite3.connect(copy)) as db:
        db.execute(statement)
        db.commit()
    for end in BESIDE:
        beside(team.database, end).unlink(missing_ok=True)
    copy.rename(team.database)
    before = team.database.read_bytes()
    answers = [team.pai(*words, code=3).err for words in (("get", "models"), ("verify",), ("serve",), ("reconcile",))]
    assert len(set(answers)) == 1
    assert said in answers[0]
    assert "hint: " in answers[0]
    assert team.database.read_bytes() == before


@pytest.mark.parametrize("way", ["cp", "mv"])
def test_daemon_notices_a_copy_put_over_its_log(team: Site, way: str) -> None:
    """Within a second, with nothing to record: said in its log and in readiness, and nothing is recorded any more."""
    old = team.folder / "old.db"
    as_backup(team.database, old)
    team.pai("apply", "-f", "-", stdin=binding("flash", 5))
    with team.daemon() as daemon:
        (shutil.copyfile if way == "cp" else os.replace)(old, team.database)
        until("the daemon to notice", lambda: daemon.readiness()[0] == 503)
        deed = "written over by another program" if way == "cp" else "replaced by another file"
        said = f"was {deed} while in use: stop what uses it, and restore it"
        assert f"the log is not writable: data/log.db {said}" in daemon.readiness()[1]["reasons"]
        line = f"WARNING pai.daemon: not ready: the log is not writable: {team.database} {said}"
        until("the line", lambda: line in daemon.log)
        refused = team.pai("apply", "-f", "-", stdin=binding("flash", 6), code=3).err
        assert "move log.db-wal and log.db-shm away" in refused


@pytest.mark.parametrize("way", ["cp", "mv"])
@pytest.mark.parametrize("started", [False, True], ids=["alone", "daemon"])
def test_follower_says_that_another_log_was_put_there_and_goes_on(team: Site, way: str, started: bool) -> None:
    """A backup put back over the file, by whatever way: said at once, and what comes then is printed."""
    old = team.folder / "old.db"
    shutil.copy(team.database, old)
    with follower(team) as process:
        with team.daemon():
            team.pai("apply", "-f", "-", stdin=binding("flash", 31337))
            heard(process, "31337")
        (shutil.copyfile if way == "cp" else os.replace)(old, team.database)
        if not started:
            team.pai(
                "verify", code=1
            )  # beside the follower, which has the former file's -shm: rolled back, not damaged
        if started:
            team.pai("verify", "--accept")
        said = line_of(process.stderr).decode()
        assert "this is not the log that was followed: it has" in said
        assert "going on from position" in said
        if not started:
            team.pai("verify", "--accept")
        with team.daemon():
            team.pai("apply", "-f", "-", stdin=binding("flash", 41337))
            heard(process, "41337")
    assert team.pai("verify").code == 0


def test_follower_prints_what_another_log_has_from_where_it_differs(tmp_path: Path) -> None:
    """A longer log with another end was put there: what is different is read, what is the same is not read again."""
    from reconciler.audit.tail import Tail
    from reconciler.audit.terms import Query

    path, other = new_log(tmp_path), tmp_path / "other.db"
    with Recorder(SqliteBackend(path)) as recorder:
        recorder.record(decide(secret("both")))
    shutil.copy(path, other)
    with Recorder(SqliteBackend(path)) as recorder:
        recorder.record(decide(secret("first")))
    with Recorder(SqliteBackend(other)) as recorder:
        recorder.record(decide(secret("second"), secret("third")))
    tail = Tail(log_at(path), Query(), 0)
    with closing(tail):
        assert [row.subject for row in tail.look()][1:] == ["secret/both", "secret/first"]
        shutil.copyfile(other, path)
        assert [row.subject for row in tail.look()] == ["secret/second", "secret/third"]
        assert "another event stands at position 2; going on from position 2" in tail.notice
        assert tail.look() == []
        assert tail.notice == ""


def test_api_follower_is_told_too(team: Site) -> None:
    """The stream has an event `notice`, and goes on."""
    with team.daemon() as daemon:
        key = (team.root / "data" / "admin.token").read_text().strip()
        command = ["curl", "-sN", "-H", f"Authorization: Bearer {key}", "-H", "Last-Event-ID: 5000"]
        command.append(f"http://127.0.0.1:{daemon.port}/api/v1/events?follow=1")
        with subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE) as process:
            lines = [line_of(process.stdout) for _ in range(4)]
            told = json.loads(lines[3].removeprefix(b"data: "))["notice"]
            assert lines[2] == b"event: notice\n"
            assert "5001 were read" in told
            team.pai("apply", "-f", "-", stdin=binding("flash", 31337))
            heard(process, "31337")
            process.kill()
