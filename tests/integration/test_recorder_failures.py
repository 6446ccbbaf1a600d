"""After a failed commit nobody is told a lie, and the recorder goes on from what is really on disk."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from reconciler.core.budget import Account, Ledger, Reservation
from reconciler.core.errors import LogDamaged, LogNotWritable, OutcomeUnknown
from reconciler.core.state import FOLD_VERSION, Head, Key, Resource, Row, State, dump
from reconciler.log.check.whole import check
from reconciler.log.replay import restore
from reconciler.log.sqlite.place import SqliteLog
from reconciler.log.sqlite.store import COMMITS_MAX, SqliteBackend
from reconciler.log.store import Log, Snapshot
from reconciler.recorder import Prepared, Recorder
from tests.support import until
from tests.support_log import (
    LOGS,
    OWN,
    FaultyBackend,
    LoneRecorder,
    binding,
    decide,
    new_log,
    new_log_of,
    secret,
    with_snapshots,
)

FOLD_SHAPES = {3: "7d1c14a7", 4: "9b9c2fc1", 5: "9b9c2fc1", 6: "2bcabdb1"}
"""A digest of the shapes of the state, its rows and their parts, for the fold version."""


DECIDES_AT_ONCE = pytest.mark.parametrize("backend", OWN, indirect=True)
"""On a log that one recorder has for itself; on a shared one, a decision waits for a turn."""


@pytest.fixture(params=sorted(LOGS))
def backend(tmp_path: Path, request: pytest.FixtureRequest) -> FaultyBackend:
    """A backend that fails when told to, on a log of each kind with its first event."""
    return FaultyBackend(new_log_of(request.param, tmp_path))


@pytest.fixture(params=[Recorder, LoneRecorder])
def recorder(backend: FaultyBackend, request: pytest.FixtureRequest) -> Iterator[Recorder]:
    """A recorder on that backend that tries again after 20 ms; callers wait for its thread, or commit themselves."""
    with request.param(backend, retry_s=0.02) as opened:
        yield opened


def assert_whole(recorder: Recorder, log: Log) -> None:
    """Live state, replay and everything stored agree."""
    reader = log.reader()
    assert check(reader) == []
    assert dump(restore(reader).state) == recorder.read(dump)
    reader.close()


def test_failed_commit_is_reported_and_leaves_no_trace(recorder: Recorder, backend: FaultyBackend) -> None:
    """The caller gets LogNotWritable, the state forgets the event, and the next one takes its position."""
    recorder.record(decide(secret("a")))
    backend.due.before_commit = 1
    with pytest.raises(LogNotWritable, match="disk full") as caught:
        recorder.record(decide(secret("b"), secret("c")))
    assert caught.value.hint
    assert recorder.read(lambda state: set(state.secrets)) == {"a"}
    assert recorder.record(decide(secret("d"))).first == 2
    assert_whole(recorder, backend.log)


def test_commit_that_failed_and_is_there_counts_once(recorder: Recorder, backend: FaultyBackend) -> None:
    """An event whose commit failed after it reached the disk is found, and is not recorded twice."""
    backend.due.after_commit = 1
    assert recorder.record(decide(secret("a"))).first == 1
    assert recorder.record(decide(secret("b"))).first == 2
    assert_whole(recorder, backend.log)


@pytest.mark.parametrize("later", ["", "opens", "settles"])
@pytest.mark.parametrize("fault", ["before_commit", "after_commit"])
def test_nobody_is_told_what_cannot_be_known(
    recorder: Recorder, backend: FaultyBackend, fault: str, later: str
) -> None:
    """Recorded, not recorded, or that it is not known and how to look: what is told is what is found afterwards."""
    setattr(backend.due, fault, 1)
    if later:
        setattr(backend.due, later, 1)
    if fault == "after_commit" and not later:
        recorder.record(decide(secret("a")))
    else:
        with pytest.raises(LogNotWritable) as caught:
            recorder.record(decide(secret("a")))
        assert caught.type is (OutcomeUnknown if later else LogNotWritable)
        assert ("not known" in caught.value.message) == ("`pai log`" in caught.value.hint) == bool(later)
    until("the log is writable again", lambda: _probed(recorder))
    assert recorder.read(lambda state: set(state.secrets)) == ({"a"} if fault == "after_commit" else set())
    assert_whole(recorder, backend.log)


def _probed(recorder: Recorder) -> bool:
    with contextlib.suppress(LogNotWritable):
        recorder.probe()
    return recorder.status().writable


@DECIDES_AT_ONCE
def test_decisions_on_top_of_a_failed_batch_fail_too(recorder: Recorder, backend: FaultyBackend) -> None:
    """Whoever decided on what is not on disk is told so; both can try again."""
    backend.due.gate.clear()
    backend.due.before_commit = 1
    first = recorder.submit(decide(secret("a")))
    assert backend.due.waiting.acquire(timeout=10)
    second = recorder.submit(decide(secret("b")))
    backend.due.gate.set()
    for ticket in (first, second):
        with pytest.raises(LogNotWritable):
            ticket.wait(10)
    assert recorder.read(lambda state: state.secrets) == {}
    assert recorder.record(decide(secret("b"))).first == 1
    assert_whole(recorder, backend.log)


@DECIDES_AT_ONCE
def test_failure_that_is_there_still_fails_what_was_on_top(recorder: Recorder, backend: FaultyBackend) -> None:
    """If the failed batch turns out to be on disk, only that batch succeeds."""
    backend.due.gate.clear()
    backend.due.after_commit = 1
    first = recorder.submit(decide(secret("a")))
    assert backend.due.waiting.acquire(timeout=10)
    second = recorder.submit(decide(secret("b")))
    backend.due.gate.set()
    assert first.wait(10).first == 1
    with pytest.raises(LogNotWritable):
        second.wait(10)
    assert_whole(recorder, backend.log)


def test_waiting_decisions_are_answered_though_the_log_stays_closed(recorder: Recorder, backend: FaultyBackend) -> None:
    """A failed commit, a decision on top of it and a log that does not open: both are told, and it goes on later."""
    backend.due.gate.clear()
    backend.due.before_commit, backend.due.opens = 1, 1
    first = recorder.submit(decide(secret("a")))
    assert backend.due.waiting.acquire(timeout=10)
    second = recorder.submit(decide(secret("b")))
    backend.due.gate.set()
    for ticket in (first, second):
        with pytest.raises(LogNotWritable):
            ticket.wait(10)
    deadline = time.monotonic() + 10
    while not recorder.status().writable:
        assert time.monotonic() < deadline
        with contextlib.suppress(LogNotWritable):
            recorder.probe()
    assert recorder.record(decide(secret("c"))).first == 1
    assert_whole(recorder, backend.log)


def test_log_that_cannot_be_opened_again_says_why_and_recovers(recorder: Recorder, backend: FaultyBackend) -> None:
    """While the log stays closed every call says why; after the pause the next call, or `probe`, tries again."""
    backend.due.before_commit, backend.due.opens = 1, 3
    with pytest.raises(LogNotWritable):
        recorder.record(decide(secret("a")))
    assert recorder.status() == (False, "the log is not writable: cannot open, says the test", False)
    with pytest.raises(LogNotWritable, match="cannot open"):
        recorder.read(dump)
    deadline = time.monotonic() + 10
    failures = 0
    while not recorder.status().writable:
        assert time.monotonic() < deadline
        try:
            recorder.probe()
        except LogNotWritable:
            failures += 1
    assert failures >= 2
    assert recorder.record(decide(secret("b"))).first == 1
    assert_whole(recorder, backend.log)


def test_disk_that_stays_full_can_be_read_but_not_written(recorder: Recorder, backend: FaultyBackend) -> None:
    """Until a write was proved to work nobody decides anything; the last state stays readable."""
    recorder.record(decide(secret("a")))
    backend.due.before_commit, backend.due.settles = 1, 1
    with pytest.raises(LogNotWritable):
        recorder.record(decide(secret("b")))
    assert recorder.status() == (False, "the log is not writable: still full, says the test", False)
    assert recorder.read(lambda state: set(state.secrets)) == {"a"}
    deadline = time.monotonic() + 10
    while not recorder.status().writable:
        assert time.monotonic() < deadline
        with contextlib.suppress(LogNotWritable):
            recorder.probe()
    assert recorder.record(decide(secret("c"))).first == 2
    assert_whole(recorder, backend.log)


def test_fold_that_fails_half_way_leaves_no_half_state(
    recorder: Recorder, backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in the fold costs its caller an error; the state is made anew and the recorder goes on."""
    recorder.record(decide(secret("a")))
    fold = State.apply
    fail = iter([False, True])
    with monkeypatch.context() as patch:
        patch.setattr(State, "apply", lambda self, event: 1 / 0 if next(fail, False) else fold(self, event))
        with pytest.raises((ZeroDivisionError, LogNotWritable), match=r"division|ZeroDivisionError"):
            recorder.record(decide(secret("b"), secret("c")))
    deadline = time.monotonic() + 10
    while not recorder.status().writable:
        assert time.monotonic() < deadline
    assert recorder.read(lambda state: set(state.secrets)) == {"a"}
    assert recorder.record(decide(secret("d"))).first == 2
    assert_whole(recorder, backend.log)


def test_start_uses_the_newest_snapshot_and_skips_bad_ones(tmp_path: Path) -> None:
    """A start continues from the newest snapshot that is intact, of this fold and within the log, else from nothing."""
    path = new_log(tmp_path)
    with_snapshots(path)
    backend = SqliteBackend(path)
    store = backend.open()
    newest, older = store.snapshots()
    whole = dump(restore(store).state)
    assert restore(store).snapshot == newest.position
    for bad in (
        newest._replace(data=newest.data[:-1] + b"\x00"),
        newest._replace(digest=bytes(32)),
        Snapshot.of(newest.position, FOLD_VERSION + 1, newest.peaks, newest.data),
        Snapshot.of(newest.position, FOLD_VERSION, newest.peaks[:-1], newest.data),
        Snapshot.of(newest.position, FOLD_VERSION, newest.peaks, b"no state"),
        Snapshot.of(newest.position, FOLD_VERSION, newest.peaks, older.data),
    ):
        store.save_snapshot(bad)
        restored = restore(store)
        assert restored.snapshot == older.position
        assert dump(restored.state) == whole
    store.close()
    backend.release()


def test_projection_that_lags_is_made_anew(tmp_path: Path) -> None:
    """A projection of another position or fold is replaced at the start."""
    path = new_log(tmp_path)
    with_snapshots(path)
    backend = SqliteBackend(path)
    store = backend.open()
    store.project({("secret", "stale"): b"{}"}, FOLD_VERSION + 1)
    assert any("projection stands" in problem.message for problem in check(store))
    store.close()
    with Recorder(backend) as recorder:
        assert_whole(recorder, SqliteLog(path))


def test_start_refuses_a_snapshot_that_contradicts_the_tree(tmp_path: Path) -> None:
    """A frontier in the head that the events do not give is found at the start, not signed later."""
    path = new_log(tmp_path)
    with_snapshots(path)
    backend = SqliteBackend(path)
    store = backend.open()
    store._db.execute("UPDATE head SET peaks = zeroblob(length(peaks))")
    store.close()
    with pytest.raises(LogDamaged, match="frontier"):
        Recorder(backend)
    SqliteBackend(path).release()  # a failed start has given the lock back


@pytest.mark.parametrize(("before", "after"), [(1, 0), (0, 1)])
def test_failure_answers_batches_that_are_closed_already(tmp_path: Path, before: int, after: int) -> None:
    """What is very large and what was decided after it fail with what was before; a commit that did happen is found."""
    backend = FaultyBackend(new_log(tmp_path))
    with Recorder(backend, retry_s=0) as recorder:
        backend.due.gate.clear()
        first = recorder.submit(decide(secret("a")))
        assert backend.due.waiting.acquire(timeout=10)
        prepared = Prepared([binding(f"m{n}", n + 1) for n in range(1000)])
        tickets = [recorder.submit(lambda _: prepared), recorder.submit(decide(secret("c")))]
        backend.due.before_commit, backend.due.after_commit = before, after
        backend.due.gate.set()
        if after:
            first.wait(10)
        for ticket in tickets if after else [first, *tickets]:
            with pytest.raises(LogNotWritable):
                ticket.wait(10)
        assert recorder.record(decide(secret("d"))).first == 1 + after
        assert recorder.record(lambda _: prepared).first == 2 + after
    with contextlib.closing(backend.log.reader()) as log:
        assert check(log) == []


def test_snapshot_is_taken_under_load_and_on_close(tmp_path: Path) -> None:
    """Snapshots come every so many events, and on close when they spare a start something."""
    log = SqliteLog(new_log(tmp_path))
    with Recorder(log.writer(), snapshot_every=100) as recorder:
        for n in range(250):
            recorder.submit(decide(binding(f"m{n % 3}", n + 1)))
        recorder.record(decide(secret("a")))
        reader = log.reader()
        assert all(snapshot.intact() for snapshot in reader.snapshots())
    assert 252 - reader.snapshots()[0].position < 10  # what came after one spares a start nothing
    reader.close()


def test_fold_version_is_raised_with_the_shape_of_the_state() -> None:
    """Whoever changes State or a part of it must raise FOLD_VERSION, or old snapshots would be misread."""
    shapes = [
        [(field.name, str(field.type)) for field in msgspec.structs.fields(kind)]
        for kind in (State, Row, Resource, Head, Key, Ledger, Account, Reservation)
    ]
    digest = hashlib.sha256(repr(shapes).encode()).hexdigest()[:8]
    assert FOLD_SHAPES.get(FOLD_VERSION) == digest, f"raise FOLD_VERSION and note the new shape, {digest}"


def test_ids_are_never_reused_after_a_failure(recorder: Recorder, backend: FaultyBackend) -> None:
    """An id given to an event that was lost is not given again."""
    lost = recorder.submit(decide(secret("a")))
    ids = [lost.wait(10).events[0].id]
    for n in itertools.islice(itertools.count(), 5):
        backend.due.before_commit = 1
        ticket = recorder.submit(decide(secret("b")))
        with pytest.raises(LogNotWritable):
            ticket.wait(10)
        ids.append(ticket._outcome.events[0].id)
        ids.append(recorder.record(decide(secret(f"c{n}"))).events[0].id)
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("idle", [False, True], ids=["at work", "idle"])
@pytest.mark.parametrize("more", [3, 300])
def test_log_that_is_written_over_is_noticed_and_left_as_it_is(tmp_path: Path, more: int, idle: bool) -> None:
    """An older copy over the file keeps its inode, and maybe its size: nothing is recorded, nothing mixed into it."""
    path, copy = new_log(tmp_path), tmp_path / "copy.db"
    shutil.copy(path, copy)
    with Recorder(SqliteBackend(path)) as recorder:
        for number in range(more):
            recorder.record(decide(secret(f"b{number}")))
    with Recorder(SqliteBackend(path), retry_s=0) as recorder:
        recorder.record(decide(secret("a")))
        time.sleep(0.02)  # a file system may tell times in steps of some milliseconds
        shutil.copyfile(copy, path)
        if idle:
            recorder.look()
            assert "was written over by another program" in recorder.status().reason
        for _ in range(2):
            with pytest.raises(LogNotWritable, match="was written over by another program") as caught:
                recorder.record(decide(secret("b")))
            assert "log.db-wal" in caught.value.hint
        assert recorder.status().writable is False
    assert path.read_bytes() == copy.read_bytes()
    if more == 300:  # of fewer events, the WAL has every page that they are in
        with pytest.raises(LogDamaged, match=r"was written over while in use, is no whole log with what lies beside"):
            Recorder(SqliteBackend(path))
        assert path.read_bytes() == copy.read_bytes()
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    for _ in range(2):  # the second start has nothing to doubt
        with Recorder(SqliteBackend(path)) as recorder:
            recorder.record(decide(secret("b")))


def test_log_that_was_only_touched_goes_on_after_a_start(tmp_path: Path) -> None:
    """What is whole with what lies beside it loses nothing: the next start reads it all, and takes it."""
    path = new_log(tmp_path)
    with Recorder(SqliteBackend(path), retry_s=0) as recorder:
        recorder.record(decide(secret("a")))
        time.sleep(0.02)
        path.touch()
        recorder.look()
        assert recorder.status().writable is False
    with Recorder(SqliteBackend(path)) as recorder:
        assert recorder.record(decide(secret("b"))).first == 2


def test_log_that_is_put_back_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was moved away and back: it is the very file, and need not be read as a whole."""
    path = new_log(tmp_path)
    monkeypatch.setattr(SqliteBackend, "_prove", None)
    with Recorder(SqliteBackend(path), retry_s=0) as recorder:
        away = path.rename(path.with_name("away.db"))
        recorder.look()
        with pytest.raises(LogNotWritable, match="was moved or removed while in use: put it back"):
            recorder.record(decide(secret("a")))
        away.rename(path)
        assert recorder.record(decide(secret("a"))).first == 1
    with Recorder(SqliteBackend(path)):
        pass


def test_own_writes_are_not_taken_for_another_programs(tmp_path: Path) -> None:
    """Bringing the WAL into the file, at whatever moment, changes it as nobody else may."""
    path = new_log(tmp_path)
    with Recorder(SqliteBackend(path), snapshot_every=50, block_events=30) as recorder:
        before = path.stat().st_mtime_ns
        for number in range(3 * COMMITS_MAX):
            recorder.record(decide(secret(f"s{number % 7}")))
            if number % 10 == 0:
                recorder.look()
        assert path.stat().st_mtime_ns > before, "the WAL was brought in meanwhile"
        assert recorder.status().writable
    with Recorder(SqliteBackend(path)) as recorder:
        recorder.look()
        assert recorder.status().writable


@pytest.mark.parametrize("deed", ["remove", "replace"])
def test_log_that_is_taken_away_is_noticed(tmp_path: Path, deed: str) -> None:
    """Nothing is acknowledged into a file that has lost its name, and a copy put in its place is not believed."""
    path = new_log(tmp_path)
    with Recorder(SqliteBackend(path), retry_s=0) as recorder:
        recorder.record(decide(secret("a")))
        kept = path.rename(path.with_name("kept.db"))
        if deed == "replace":
            shutil.copy(kept, path)
        for _ in range(2):
            with pytest.raises(LogNotWritable):
                recorder.record(decide(secret("b")))
        assert recorder.status().writable is False
    assert path.exists() == (deed == "replace")


def test_row_that_cannot_be_made_fails_its_callers(
    recorder: Recorder, backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in the projection leaves nobody waiting, and nothing half-recorded."""
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.recorder.batches.row_value", lambda _state, _key: 1 / 0)
        with pytest.raises(LogNotWritable, match="ZeroDivisionError"):
            recorder.submit(decide(secret("a"))).wait(10)
    assert recorder.record(decide(secret("b"))).first == 1
    assert_whole(recorder, backend.log)
