"""What a recorder says of itself, in which words: open, held, failed, closed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from reconciler.core.errors import LogNotWritable
from reconciler.core.state import dump
from reconciler.log.store import FREE
from reconciler.recorder import Recorder
from reconciler.recorder.recorder import Status
from tests.support_log import FaultyBackend, decide, new_log_of, secret


@pytest.fixture(params=["memory", "shared"])
def backend(tmp_path: Path, request: pytest.FixtureRequest) -> FaultyBackend:
    """Give a log with one event that fails when told to."""
    return FaultyBackend(new_log_of(request.param, tmp_path))


def said(error: pytest.ExceptionInfo[LogNotWritable]) -> tuple[str, str]:
    return error.value.message, error.value.hint


def test_recorder_that_is_closed_says_so_and_takes_nothing(backend: FaultyBackend) -> None:
    """It has brought the log together, has no thread any more, and may be closed again."""
    with Recorder(backend) as recorder:
        assert recorder.status() == Status(True, "", False)
        assert recorder.gathered is None
        (writer,) = [thread for thread in threading.enumerate() if thread.name == "pai-recorder"]
        assert writer.daemon
    assert recorder.gathered is True
    assert not writer.is_alive()
    assert recorder.status() == Status(False, "the log is closed", False)
    with pytest.raises(LogNotWritable) as caught:
        recorder.read(dump)
    assert said(caught) == ("the log is closed", "")
    for refused in (lambda: recorder.record(decide(secret("a"))), recorder.probe):
        with pytest.raises(LogNotWritable) as caught:
            refused()
        assert said(caught) == ("the log is being closed", "")
    recorder.close()
    assert backend.log.reader().size() == 1


def test_held_recorder_says_why_and_what_to_do(backend: FaultyBackend) -> None:
    """It can be read; what ends the hold is recorded, and then it goes on."""
    with Recorder(backend) as recorder:
        recorder.hold("rollback detected")
        assert recorder.status() == Status(False, "rollback detected", True)
        for refused in (lambda: recorder.record(decide(secret("a"))), recorder.probe):
            with pytest.raises(LogNotWritable) as caught:
                refused()
            assert said(caught) == ("rollback detected", "an operator decides: pai verify, then pai verify --accept")
        assert recorder.read(lambda state: state.position) == 1
        assert recorder.resume(decide(secret("b"))).first == 1
        assert recorder.status() == Status(True, "", False)
        assert recorder.record(decide(secret("c"))).first == 2


def test_recorder_that_cannot_open_its_log_again_says_why_until_the_pause_is_over(backend: FaultyBackend) -> None:
    """Every call gets the same words and the same way out, reading too; a first try is made after the pause alone."""
    with Recorder(backend, retry_s=3600) as recorder:
        backend.due.before_commit, backend.due.opens = 1, 1
        with pytest.raises(LogNotWritable) as caught:
            recorder.record(decide(secret("a")))
        unknown = "it is not known whether this was done: disk full, says the test"
        assert said(caught) == (unknown, f"{FREE}; `pai log` shows it if it was recorded")
        why = "the log is not writable: cannot open, says the test"
        for refused in (lambda: recorder.record(decide(secret("b"))), lambda: recorder.read(dump), recorder.probe):
            with pytest.raises(LogNotWritable) as caught:
                refused()
            assert said(caught) == (why, FREE)
        assert recorder.status() == Status(False, why, False)
        recorder._retry_at = 0.0
        recorder.probe()
        assert recorder.status() == Status(True, "", False)
        assert recorder.read(lambda state: state.position) == 1
    assert recorder.gathered is True


def test_each_commit_is_told_with_the_size_of_the_log(backend: FaultyBackend) -> None:
    """From the moment that somebody asks for it."""
    told: list[int] = []
    with Recorder(backend) as recorder:
        recorder.record(decide(secret("a")))
        recorder.on_commit(told.append)
        recorder.record(decide(secret("b"), secret("c")))
        recorder.record(decide(secret("d")))
    assert told == [4, 5]


def test_opening_that_fails_gives_the_right_to_write_back(tmp_path: Path) -> None:
    """Whoever opens next finds the log free."""
    backend = FaultyBackend(new_log_of("memory", tmp_path))
    backend.due.opens = 1
    released: list[bool] = []
    backend.release = lambda: released.append(True)  # type: ignore[method-assign]
    with pytest.raises(LogNotWritable, match=r"^cannot open, says the test$"):
        Recorder(backend)
    assert released == [True]


def test_recorder_keeps_house_unless_another_does(tmp_path: Path) -> None:
    """Snapshots and blocks at the distances that it is given, none without."""
    for keeps, found in ((True, ([4], 5)), (False, ([], 0))):
        log = new_log_of("memory", tmp_path)
        with Recorder(log.writer(), snapshot_every=4, block_events=5, housekeeping=keeps) as recorder:
            for n in range(4):
                recorder.record(decide(secret(f"s{n}")))
        reader = log.reader()
        assert ([each.position for each in reader.snapshots()][-1:], reader.head().indexed) == found


def test_state_that_was_spoiled_is_made_anew_by_the_writer(tmp_path: Path) -> None:
    """Until it is, everybody is told to try again; half a fold may be in it."""
    with Recorder(new_log_of("memory", tmp_path).writer()) as recorder:
        with recorder._lock:
            recorder._spoil()
            assert recorder._state is None
            assert recorder.status() == Status(False, "the state is being made anew after an internal error", False)
            assert recorder._hint == "try again in a moment"
        deadline = time.monotonic() + 10
        while not recorder.status().writable:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert recorder.record(decide(secret("a"))).first == 1
