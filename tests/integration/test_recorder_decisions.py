"""The recorder decides on the live state, records what it decided, and answers when it is durable."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.errors import LogNotWritable, Refused
from reconciler.core.events import BindingChanged, Draft, SecretStored, decode, encode
from reconciler.core.state import State, dump
from reconciler.log.check.whole import check
from reconciler.log.replay import projected, restore, state_at
from reconciler.log.store import Log
from reconciler.recorder import Prepared, Recorder, Ticket
from tests.support_log import LOGS, OWN, FaultyBackend, LoneRecorder, binding, decide, new_log_of, no_secret, secret

DECIDES_AT_ONCE = pytest.mark.parametrize("log", OWN, indirect=True)
"""On a log that one recorder has for itself; on a shared one, a decision waits for a turn."""


@pytest.fixture(params=sorted(LOGS))
def log(tmp_path: Path, request: pytest.FixtureRequest) -> Log:
    """A log of each kind, with its first event."""
    return new_log_of(request.param, tmp_path)


@pytest.fixture(params=[Recorder, LoneRecorder])
def recorder(log: Log, request: pytest.FixtureRequest) -> Iterator[Recorder]:
    """A recorder on that log; its callers wait for its thread, or commit themselves."""
    with request.param(log.writer()) as opened:
        yield opened


def test_record_gives_positions_and_events(recorder: Recorder, log: Log) -> None:
    """A receipt names the positions that the log and every reader have, too."""
    first = recorder.record(decide(secret("a"), secret("b")))
    second = recorder.record(decide(secret("c")))
    assert (first.positions, second.positions) == (range(1, 3), range(3, 4))
    assert [event.subject for event in first.events] == ["secret/a", "secret/b"]
    reader = log.reader()
    assert reader.size() == 4
    assert projected(reader).secrets.keys() == {"a", "b", "c"}
    assert check(reader) == []
    reader.close()


@DECIDES_AT_ONCE
def test_decide_sees_what_is_not_durable_yet(log: Log) -> None:
    """A decision builds on those before it while their commit still runs."""
    backend = FaultyBackend(log)
    with Recorder(backend) as recorder:
        backend.due.gate.clear()
        first = recorder.submit(decide(secret("a")))
        assert backend.due.waiting.acquire(timeout=10)

        def second(state: State) -> list[Draft]:
            assert "a" in state.secrets
            return [secret("b")]

        later = recorder.submit(second)
        nothing = recorder.submit(decide())
        assert [ticket.done for ticket in (first, later, nothing)] == [False, False, False]
        with pytest.raises(TimeoutError):
            later.wait(0.01)
        backend.due.gate.set()
        assert later.wait(10).first == 2
        assert first.done
        assert nothing.wait(10).events == ()


@pytest.mark.parametrize(("number", "text"), [(1000, "x"), (10, "x" * 100_000)], ids=["events", "bytes"])
@DECIDES_AT_ONCE
def test_large_decision_is_a_batch_of_its_own(log: Log, number: int, text: str) -> None:
    """Who waits already is committed before very many events or long ones, and these with nobody else, in order."""
    backend = FaultyBackend(log)
    with Recorder(backend) as recorder:
        backend.due.gate.clear()
        recorder.submit(decide(secret("a")))
        assert backend.due.waiting.acquire(timeout=10)
        prepared = Prepared([binding(f"m{n}", n + 1, text) for n in range(number)])
        before = recorder.submit(decide(secret("b")))
        large = recorder.submit(lambda _: prepared)
        after = recorder.submit(lambda state: [secret("c")] * (f"m{number - 1}" in state.models))
        backend.due.gate.set()
        assert after.wait(10).first == number + 3
        assert (before.wait(10).first, large.wait(10).first) == (2, 3)
    assert backend.due.appends == [1, 1, number, 1]
    with contextlib.closing(log.reader()) as reader:
        assert check(reader) == []
        assert projected(reader).models["m7"].position == 10


HOSTILE = '"id":"00000000000000000000000000","subject":"x","time":"0000-00-00T00:00:00.000000Z","type":"'


@pytest.mark.parametrize("number", [1, 600])
def test_what_was_prepared_is_what_deciding_it_gives(recorder: Recorder, log: Log, number: int) -> None:
    """The events of prepared drafts are those of their stored bytes, whatever texts look like what is put in."""
    given: dict[str, object] = {
        "id": "0" * 26,
        "subject": "x",
        "time": "0000-00-00T00:00:00.000000Z",
        "type": "y",
        HOSTILE: HOSTILE,
    }
    spec = {"provider": "x", "model": "y", **given}
    written = BindingChanged(spec=spec, file=HOSTILE, line=1, revision="r", previous=given, changed=[HOSTILE])
    drafts = [Draft(HOSTILE, f"model/m{n}", written) for n in range(number)]
    receipt = recorder.record(lambda _: Prepared([*drafts, secret("a")]))
    with contextlib.closing(log.reader()) as reader:
        bodies = [stored.body for stored in reader.read(1, number + 2)]
        assert list(map(decode, bodies)) == list(receipt.events)
        assert [(e.actor, e.subject, e.payload) for e in receipt.events] == [*drafts, secret("a")]
        assert list(map(encode, receipt.events)) == bodies
        assert check(reader) == []


@DECIDES_AT_ONCE
def test_nothing_to_do_is_answered_only_after_what_it_saw(log: Log) -> None:
    """An empty decision that saw an undurable event fails with it, so that nobody is told 'done' wrongly."""
    backend = FaultyBackend(log)
    with Recorder(backend) as recorder:
        backend.due.gate.clear()
        backend.due.before_commit = 1
        first = recorder.submit(decide(secret("a")))
        assert backend.due.waiting.acquire(timeout=10)
        nothing = recorder.submit(lambda state: [] if "a" in state.secrets else [secret("a")])
        backend.due.gate.set()
        for ticket in (first, nothing):
            with pytest.raises(LogNotWritable):
                ticket.wait(10)


def test_refused_records_nothing(recorder: Recorder) -> None:
    """A refusal reaches the caller and leaves state and log alone."""

    def refuse(_state: State) -> list[Draft]:
        raise Refused("no")

    before = recorder.read(dump)
    with pytest.raises(Refused, match="no"):
        recorder.record(refuse)
    assert recorder.read(dump) == before
    assert recorder.record(decide(secret("a"))).first == 1


@pytest.mark.parametrize(
    "bad",
    [
        Draft("tester", "secret/x", SecretStored(keys={"k": float("nan")})),  # type: ignore[dict-item]
        Draft("tester", "secret/x", SecretStored(keys={"k": 5})),  # type: ignore[dict-item]
        Draft("tester", "secret/x", SecretStored(keys={"k": "\ud800"})),
        Draft(None, "secret/x", SecretStored(keys={})),  # type: ignore[arg-type]
    ],
)
def test_draft_that_could_not_be_replayed_records_nothing(recorder: Recorder, bad: Draft) -> None:
    """What cannot be stored or read back is refused together with the whole decision."""
    before = recorder.read(dump)
    with pytest.raises(ValueError, match=r".+"):
        recorder.record(decide(secret("good"), bad))
    assert recorder.read(dump) == before
    assert recorder.record(decide(secret("a"))).first == 1


def test_concurrent_callers_share_commits(log: Log) -> None:
    """64 threads get distinct positions in commit order, with far fewer transactions than events."""
    backend = FaultyBackend(log)
    with Recorder(backend) as recorder:
        seen: list[int] = []

        def call() -> None:
            for _ in range(10):
                receipt = recorder.record(decide(secret("a"), secret("b")))
                seen.append(receipt.first)

        threads = [threading.Thread(target=call) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == list(range(1, 1281, 2))
        assert sum(backend.due.appends) == 1280
        assert len(backend.due.appends) < 640
        assert all(size % 2 == 0 for size in backend.due.appends), "a decision was split"


def test_every_thread_of_a_batch_is_answered(log: Log) -> None:
    """Each who waits gets the own receipt, also twice for one ticket, and also if another has given up waiting."""
    backend = FaultyBackend(log)
    with Recorder(backend) as recorder:
        backend.due.gate.clear()
        tickets = [recorder.submit(decide(secret(f"s{number}"))) for number in range(20)]
        waited = [*tickets, *tickets[:5]]
        found = [0] * len(waited)

        def wait(number: int) -> None:
            found[number] = waited[number].wait(10).first

        threads = [threading.Thread(target=wait, args=(number,)) for number in range(len(waited))]
        for thread in threads:
            thread.start()
        with pytest.raises(TimeoutError):
            tickets[7].wait(0.01)
        backend.due.gate.set()
        for thread in threads:
            thread.join(10)
    assert found == [*range(1, 21), *range(1, 6)]


def test_callbacks_come_once_whenever_added(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """A callback added before or after the outcome is called once; one that raises stops nobody."""
    calls: list[Ticket] = []
    ticket = recorder.submit(decide(secret("a")))
    ticket.add_done_callback(lambda _: 1 / 0)
    ticket.add_done_callback(calls.append)
    ticket.wait(10)
    ticket.add_done_callback(calls.append)
    recorder.record(decide(secret("b")))  # the writer thread has done everything before
    assert calls == [ticket, ticket]
    assert "callback" in caplog.text


def test_times_and_ids_grow_over_a_clock_that_goes_back(log: Log) -> None:
    """Neither a clock that goes back nor a restart with an old clock makes times or ids go back."""
    readings = itertools.chain([2_000_000_000_000_000, 1_900_000_000_000_000, 5], itertools.repeat(7))
    for _ in range(2):
        with Recorder(log.writer(), clock=readings.__next__) as recorder:
            for _ in range(3):
                recorder.record(decide(secret("a"), secret("b")))
    reader = log.reader()
    assert check(reader) == []
    assert restore(reader).state.time == "2033-05-18T03:33:20.000000Z"
    reader.close()


def test_close_commits_what_is_pending(log: Log) -> None:
    """Closing answers every ticket; afterwards nothing is taken."""
    recorder = Recorder(log.writer())
    tickets = [recorder.submit(decide(secret(f"s{n}"))) for n in range(100)]
    recorder.close()
    recorder.close()
    assert [ticket.wait(0).first for ticket in tickets] == list(range(1, 101))
    assert recorder.status().writable is False
    with pytest.raises(LogNotWritable, match="closed"):
        recorder.record(decide(secret("x")))
    with pytest.raises(LogNotWritable, match="closed"):
        recorder.read(dump)


def test_readers_see_whole_batches_while_a_writer_runs(log: Log) -> None:
    """Every look through the projection is the state that the events up to there give."""
    stop = threading.Event()
    with Recorder(log.writer()) as recorder:

        def write() -> None:
            for n in itertools.count():
                if stop.is_set():
                    return
                recorder.record(decide(binding(f"m{n % 7}", n + 1), secret(f"s{n % 5}")))

        writer = threading.Thread(target=write)
        writer.start()
        reader = log.reader()
        positions = set()
        while len(positions) < 20:
            state = projected(reader)
            positions.add(state.position)
            assert state.position % 2 == 1, "half a decision was seen"
            assert dump(state_at(reader, state.position)) == dump(state)
        stop.set()
        writer.join()
        reader.close()


NAMES = st.sampled_from(["a", "b", "c"])
DRAFTS = st.one_of(
    st.builds(binding, NAMES, st.integers(1, 2**53 - 1)),
    st.builds(secret, NAMES, st.text(st.characters(codec="utf-8"), max_size=5)),
    st.builds(no_secret, NAMES),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(st.lists(st.lists(DRAFTS, max_size=4), max_size=4), min_size=1, max_size=3),
    every=st.integers(1, 9),
    kind=st.sampled_from([Recorder, LoneRecorder]),
    place=st.sampled_from(sorted(LOGS)),
)
def test_replay_equals_live_state(
    tmp_path_factory: pytest.TempPathFactory,
    rounds: list[list[list[Draft]]],
    every: int,
    kind: type[Recorder],
    place: str,
) -> None:
    """After any decisions and restarts: replay, projection, snapshot start and live state are one and the same."""
    log = new_log_of(place, tmp_path_factory.mktemp("log"))
    for decisions in rounds:
        with kind(log.writer(), snapshot_every=every) as recorder:
            for drafts in decisions:
                recorder.record(decide(*drafts))
            live = recorder.read(dump)
            reader = log.reader()
            assert dump(projected(reader)) == live
            assert dump(restore(reader).state) == live
            assert check(reader, deep=False) == []
            reader.close()


def test_held_log_takes_nothing_before_what_ends_the_hold(log: Log) -> None:
    """Others ask all the time: none of them gets in before the acceptance is durable, nor if that comes to nothing."""
    backend = FaultyBackend(log)
    with Recorder(backend) as recorder:
        recorder.hold("rolled back, says the test")
        backend.due.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            resuming = pool.submit(recorder.resume, decide(secret("accepted")))
            assert backend.due.waiting.acquire(timeout=10)
            with pytest.raises(LogNotWritable, match="rolled back"):
                recorder.submit(decide(secret("early")))
            backend.due.gate.set()
            assert [event.subject for event in resuming.result(10).events] == ["secret/accepted"]
        assert recorder.record(decide(secret("late"))).first == 2


def test_hold_goes_on_when_what_should_end_it_is_refused_or_fails(log: Log) -> None:
    """No moment is left in which others could record."""
    backend = FaultyBackend(log)
    with Recorder(backend, retry_s=0.0) as recorder:
        recorder.hold("rolled back, says the test")

        def refuse(_state: State) -> list[Draft]:
            raise Refused("no")

        with pytest.raises(Refused):
            recorder.resume(refuse)
        backend.due.before_commit = 1
        with pytest.raises(LogNotWritable, match="disk full"):
            recorder.resume(decide(secret("accepted")))
        with pytest.raises(LogNotWritable, match="rolled back"):
            recorder.record(decide(secret("early")))
        assert recorder.status().held


@DECIDES_AT_ONCE
def test_answers_that_waited_say_nothing_of_how_quick_the_disk_is(log: Log) -> None:
    """A lone caller on a slow disk would commit by itself after them, and hold up its loop."""
    backend = FaultyBackend(log)
    with Recorder(backend, quick_s=0.02) as recorder:
        backend.due.gate.clear()
        slow = recorder.submit(decide(secret("a")))
        assert backend.due.waiting.acquire(timeout=10)
        nothing = recorder.submit(decide())
        threading.Timer(0.05, backend.due.gate.set).start()
        slow.wait(10)
        nothing.wait(10)
        threads: list[str] = []
        recorder.on_commit(lambda _size: threads.append(threading.current_thread().name))
        recorder.submit(decide(secret("b")), alone=True).wait(10)
        assert threads == ["pai-recorder"]


def test_hold_for_another_reason_stands_when_the_first_ends(log: Log) -> None:
    """What was found while the end of a hold was being written is not ended with it."""
    backend = FaultyBackend(log)
    with Recorder(backend) as recorder, ThreadPoolExecutor(1) as pool:
        recorder.hold("first")
        backend.due.gate.clear()
        resuming = pool.submit(recorder.resume, decide(secret("a")))
        assert backend.due.waiting.acquire(timeout=10)
        recorder.hold("second")
        backend.due.gate.set()
        assert resuming.result(10).first == 1
        assert recorder.status() == (False, "second", True)
        with pytest.raises(LogNotWritable, match="second"):
            recorder.record(decide(secret("b")))
