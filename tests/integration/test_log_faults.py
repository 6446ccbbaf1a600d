"""Killed processes, failing disks, foreign files: nothing acknowledged is lost, and nothing wrong is believed.

PAI_KILLS sets how often the writer is killed (default 200), PAI_POINTS at which system calls.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconciler.core.errors import CouldNotRun, LogBusy, LogDamaged, LogNotWritable
from reconciler.core.events import decode
from reconciler.core.state import dump
from reconciler.log.check.whole import check
from reconciler.log.creation import create_log
from reconciler.log.open import log_at
from reconciler.log.replay import projected, restore
from reconciler.log.sqlite.store import SqliteBackend, SqliteReader, open_reader
from reconciler.log.store import Stored
from reconciler.recorder import Recorder
from tests.integration.log_writer import write
from tests.support_log import decide, new_log, secret

KILLS = int(os.environ.get("PAI_KILLS", "200"))
POINTS = range(*map(int, os.environ.get("PAI_POINTS", "1:17:5").split(":")))
"""Which of the system calls of a thread fail: from the first number to before the second, in steps of the third."""
THREADS = 4


def read_acks(path: Path) -> dict[int, str]:
    """Give the acknowledged events: position to id."""
    acknowledged: dict[int, str] = {}
    for line in path.read_text().splitlines():
        word, *rest = line.split()
        if word == "ack":
            for offset, ulid in enumerate(rest[1:]):
                assert int(rest[0]) + offset not in acknowledged, "a position was acknowledged twice"
                acknowledged[int(rest[0]) + offset] = ulid
    return acknowledged


def assert_nothing_lost(path: Path, acks: Path) -> int:
    """Check the whole log, and every acknowledged event in it; give their number."""
    reader = open_reader(path)
    assert check(reader) == []
    ids = {stored.seq: decode(stored.body).id for stored in reader.read()}
    acknowledged = read_acks(acks)
    assert {seq: ids.get(seq) for seq in acknowledged} == acknowledged
    assert reader.size() % 2 == 1, "half a decision was recorded"
    reader.close()
    return len(acknowledged)


def test_no_acknowledged_event_is_lost_by_kill_9(tmp_path: Path) -> None:
    """Killed again and again in the middle of its work, the writer loses nothing it acknowledged, and leaves no gap."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.integration.log_writer"])
    path, acks, total = new_log(tmp_path), tmp_path / "acks", tmp_path / "all"
    dice = random.Random(os.environ.get("PAI_SEED", "20"))  # noqa: S311
    known = 0
    for _ in range(KILLS):
        acks.write_text("")
        writer = processes.Process(target=write, args=(path, acks, 0, THREADS))
        writer.start()
        deadline = time.monotonic() + 30
        wanted = dice.randrange(0, 3)  # some die while they start
        while acks.read_text().count("\n") < wanted:
            assert time.monotonic() < deadline
            assert writer.is_alive()
        time.sleep(dice.uniform(0, 0.08))  # the moment of the kill is the input, not a wait for something
        writer.kill()
        writer.join()
        writer.close()
        known = check_tail(path, acks, known)
        with total.open("a") as out:
            out.write(acks.read_text())
    assert assert_nothing_lost(path, total) > KILLS


def check_tail(path: Path, acks: Path, start: int) -> int:
    """Look at what was added since `start` through a reader, before any writer has repaired anything."""
    reader = open_reader(path)
    size = reader.size()
    ids = {stored.seq: decode(stored.body).id for stored in reader.read(start)}
    assert list(ids) == list(range(start, size))
    acknowledged = read_acks(acks)
    assert {seq: ids.get(seq) for seq in acknowledged} == acknowledged
    assert dump(projected(reader)) == dump(restore(reader).state)
    reader.close()
    return size


def run_writer(path: Path, acks: Path, count: int, *limit: int, strace: tuple[str, ...] = ()) -> int:
    """Run the writer with one thread, under strace if wanted; give its exit code (negative: the signal)."""
    command = [sys.executable, "-m", "tests.integration.log_writer", str(path), str(acks), str(count), "1"]
    if strace:
        assert shutil.which("strace"), "strace is missing: install it, the fault tests need it"
        command = ["strace", "-f", "-qq", *strace, *command]
    done = subprocess.run([*command, *map(str, limit)], timeout=60, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr or NO_START.search(done.stderr), done.stderr
    return done.returncode


NO_START = re.compile(r"^reconciler\.core\.errors\.(LogNotWritable|CouldNotRun): ", re.MULTILINE)
"""How a writer ends that the disk does not let start."""

AT_A_CALL = {
    "kill": "pwrite64,fdatasync:signal=SIGKILL",
    "EIO": "fdatasync:error=EIO",
    "ENOSPC": "pwrite64:error=ENOSPC",
    "short write": "",
}
"""What strace makes of the n-th call. It only pretends short writes: the kernel makes one at a file's limit."""
SHORT_WRITE_BYTES = 1237
"""A limit of n times as much cuts a page or a frame of the WAL at another byte for each n."""


@pytest.mark.parametrize("fault", sorted(AT_A_CALL))
def test_no_acknowledged_event_is_lost_at_a_system_call(tmp_path: Path, fault: str) -> None:
    """Killed, or failed by the disk, at the n-th write or sync of a thread, the writer loses nothing acknowledged."""
    for when in POINTS:
        folder = tmp_path / str(when)
        folder.mkdir()
        path, acks = new_log(folder), folder / "acks"
        if fault == "short write":
            code = run_writer(path, acks, max(30, when), when * SHORT_WRITE_BYTES)
        else:
            inject = f"inject={AT_A_CALL[fault]}:when={when}"
            code = run_writer(
                path, acks, max(30, when), strace=("-o", "/dev/null", "-e", "trace=pwrite64,fdatasync", "-e", inject)
            )
        if fault == "kill":
            assert code in (-signal.SIGKILL, 128 + signal.SIGKILL)
        else:
            assert code == 0 or not acks.exists() or acks.read_text() == ""  # a start may fail
        assert_nothing_lost(path, acks)
        with Recorder(SqliteBackend(path)) as recorder:
            recorder.record(decide(secret("after"), secret("after")))
        assert_nothing_lost(path, acks)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync:error=EIO:when=2",
        "fdatasync:error=EIO:when=4..6",
        "fdatasync:error=EIO:when=5+",
        "pwrite64:error=ENOSPC:when=40..43",
        "pwrite64:error=ENOSPC:when=40+",
        "pwrite64:retval=100:when=40",
    ],
)
def test_failing_disk_is_reported_and_loses_nothing(tmp_path: Path, fault: str) -> None:
    """Failing syncs and writes fail calls; what was acknowledged before, between and after is there."""
    path, acks = new_log(tmp_path), tmp_path / "acks"
    run_writer(path, acks, 30, strace=("-o", "/dev/null", "-e", "trace=pwrite64,fdatasync", "-e", f"inject={fault}"))
    said = acks.read_text().splitlines()
    assert len(said) == 30
    if "+" in fault:
        assert said[-1] == "failed"
    elif "retval" not in fault:
        assert said[-1].startswith("ack")
    assert_nothing_lost(path, acks)


def test_every_acknowledgement_follows_a_sync(tmp_path: Path) -> None:
    """Between one acknowledgement and the next lies a sync of the WAL that had succeeded: synchronous=FULL."""
    path, acks, trace = new_log(tmp_path), tmp_path / "acks", tmp_path / "trace"
    assert run_writer(path, acks, 20, strace=("-y", "-o", str(trace), "-e", "trace=write,fdatasync")) == 0
    synced = False
    acknowledged = 0
    for line in trace.read_text().splitlines():
        if re.search(r"fdatasync\(\d+<[^>]*-wal>\) += 0|fdatasync resumed>\) += 0", line):
            synced = True
        elif re.search(rf"write\(\d+<{re.escape(str(acks))}>", line):
            assert synced, "an event was acknowledged before it was synced"
            synced = False
            acknowledged += 1
    assert acknowledged == 20


def test_full_disk_fails_calls_and_recovers_by_itself(tmp_path: Path) -> None:
    """At the size limit calls fail; once there is room the same process goes on, with nothing lost."""
    path, acks = new_log(tmp_path), tmp_path / "acks"
    assert run_writer(path, acks, 200, 2_000_000) == 0
    said = [line.split()[0] for line in acks.read_text().splitlines()]
    assert said[0] == said[-1] == "ack"
    assert "failed" in said
    assert assert_nothing_lost(path, acks) == 2 * said.count("ack")


def test_full_file_system_loses_nothing(tmp_path: Path) -> None:
    """On a file system that is really full the writer reports it; everything acknowledged is there."""
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("only root may mount a small file system; the size limit above tests the same")
    try:
        path, acks = new_log(tmp_path), tmp_path / "acks"
        run_writer(path, acks, 60)
        said = [line.split()[0] for line in acks.read_text().splitlines()]
        assert (said[0], said[-1]) == ("ack", "failed")
        assert assert_nothing_lost(path, acks) == 2 * said.count("ack")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_reader_works_after_kill_without_a_writer(tmp_path: Path) -> None:
    """After a kill -9 a reader sees everything that was acknowledged, and leaves the file as it found it."""
    path, acks = new_log(tmp_path), tmp_path / "acks"
    trace = ("-o", "/dev/null", "-e", "trace=pwrite64", "-e", "inject=pwrite64:signal=SIGKILL:when=40")
    run_writer(path, acks, 0, strace=trace)
    before = path.read_bytes()
    assert path.with_name("log.db-wal").stat().st_size > 0
    for _ in range(2):
        reader = open_reader(path)
        assert read_acks(acks).keys() <= set(range(reader.size()))
        reader.close()
    assert path.read_bytes() == before
    assert_nothing_lost(path, acks)


def test_creation_is_atomic_under_kill(tmp_path: Path) -> None:
    """Killed at any write, sync or rename of its making, a log is not there, or whole; making it again works."""
    code = (
        "import sys; from pathlib import Path; from reconciler.log.creation import create_log\n"
        "from reconciler.log.open import log_at\n"
        "create_log(log_at(Path(sys.argv[1])), origin='o', vkey='k')"
    )
    calls = "pwrite64,fdatasync,fsync,rename,unlink"
    made = 0
    for when in (1, 2, 4, 7, 10, 11, 12, 13, 14):
        path = tmp_path / str(when) / "log.db"
        path.parent.mkdir()
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={calls}:signal=SIGKILL:when={when}"]
        subprocess.run([*strace, sys.executable, "-c", code, str(path)], check=False)
        if not path.exists():
            create_log(log_at(path), origin="o", vkey="k")
            made += 1
        reader = open_reader(path)
        assert (reader.size(), check(reader)) == (1, [])
        reader.close()
        with Recorder(SqliteBackend(path)) as recorder:
            recorder.record(decide(secret("a")))
    assert made > 0


def foreign(path: Path, kind: str) -> None:
    """Make `path` into something that is no log of this version."""
    import sqlite3

    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello\n" * 10_000)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "header":
        path.write_bytes(b"SQLite format 3\0")
    else:
        db = sqlite3.connect(path, isolation_level=None)
        statements = {
            "application": "PRAGMA application_id = 7",
            "newer": "PRAGMA user_version = 3",
            "older": "PRAGMA user_version = 1",
            "table": "DROP TABLE head",
            "headless": "DELETE FROM head",
            "longer": "UPDATE head SET size = size + 1",
        }
        db.execute(statements[kind])
        db.close()


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "empty",
        "text",
        "folder",
        "header",
        "application",
        "newer",
        "older",
        "table",
        "headless",
        "longer",
    ],
)
def test_foreign_or_damaged_file_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    """What is no log of this version is refused with a hint, by readers and writers, and never changed or made anew."""
    path = new_log(tmp_path)
    foreign(path, kind)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LogDamaged) as caught:
        Recorder(SqliteBackend(path))
    assert caught.value.hint
    if kind not in ("headless", "longer"):
        with pytest.raises(LogDamaged):
            open_reader(path)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_damaged_schema_is_refused_and_let_go(tmp_path: Path) -> None:
    """A file whose schema SQLite cannot read is damaged, and nothing of it stays open in the process that tried."""
    path = new_log(tmp_path)
    data = path.read_bytes()
    assert data.count(b"BEFORE INSERT ON events") == 1
    path.write_bytes(data.replace(b"BEFORE INSERT ON events", b"BEFORE INSERT XX events"))
    caught = []
    for attempt in (open_reader, lambda place: Recorder(SqliteBackend(place))):
        with pytest.raises(LogDamaged, match="malformed") as error:
            attempt(path)
        caught.append(error)  # which keeps the frames, and whatever they hold
    descriptors = Path("/proc/self/fd")
    held = [os.readlink(each) for each in descriptors.iterdir() if each.is_symlink()]
    assert [name for name in held if name.startswith(str(path))] == []


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_truncated_file_is_noticed(tmp_path: Path, share: float) -> None:
    """A log cut anywhere is refused or reported, never taken for a shorter log."""
    path = new_log(tmp_path)
    with Recorder(SqliteBackend(path)) as recorder:
        for _ in range(5):
            recorder.record(decide(*(secret(f"s{n}") for n in range(100))))
    size = path.stat().st_size
    os.truncate(path, int(size * share))
    with pytest.raises(LogDamaged):
        Recorder(SqliteBackend(path))
    try:
        reader = open_reader(path)
    except LogDamaged:
        return
    assert check(reader) != []
    reader.close()


def test_reader_never_makes_a_file(tmp_path: Path) -> None:
    """Opening a log that is not there for reading leaves the folder empty."""
    with pytest.raises(LogDamaged, match="no log"):
        SqliteReader(tmp_path / "log.db")
    assert list(tmp_path.iterdir()) == []


def test_busy_log_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    """A second recorder gets LogBusy at once, with exit code 3 and a hint."""
    path = new_log(tmp_path)
    with Recorder(SqliteBackend(path)):
        with pytest.raises(LogBusy) as caught:
            Recorder(SqliteBackend(path))
        assert (caught.value.exit_code, bool(caught.value.hint)) == (3, True)
        assert isinstance(caught.value, CouldNotRun)


def test_file_system_without_locks_is_named_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network share may have none: that is neither a bug nor another process."""
    path = new_log(tmp_path)

    def refuse(_fd: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("reconciler.log.lock.fcntl.flock", refuse)
    with pytest.raises(LogNotWritable, match=r"the file system of .*/log\.db\.lock gives no lock") as caught:
        SqliteBackend(path)
    assert "on a disk of this machine" in caught.value.hint


def test_replayed_event_of_an_unknown_type_is_refused(tmp_path: Path) -> None:
    """A log written by a newer Pai is not half-understood: the position is named."""
    from reconciler.tlog.merkle import leaf_hash

    path = new_log(tmp_path)
    backend = SqliteBackend(path)
    store = backend.open()
    body = b'{"actor":"a","data":{},"id":"01","subject":"x/y","time":"t","type":"future.thing.v1"}'
    store.append([Stored(1, body, leaf_hash(body))], {})
    store.close()
    with pytest.raises(LogDamaged, match="position 1"):
        Recorder(backend)
