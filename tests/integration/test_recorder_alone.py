"""A caller who has nobody else to serve commits by itself, and nothing else differs."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.events import Draft
from reconciler.core.state import State, dump
from reconciler.log.check.whole import check
from reconciler.log.replay import restore
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.recorder import Recorder
from tests.support_log import FaultyBackend, binding, decide, new_log, secret

WRITER = "pai-recorder"


@pytest.fixture
def backend(tmp_path: Path) -> FaultyBackend:
    """A backend on a log with its first event."""
    return FaultyBackend(new_log(tmp_path))


@pytest.fixture
def recorder(backend: FaultyBackend) -> Iterator[Recorder]:
    """A recorder that takes every disk for a quick one."""
    with Recorder(backend, quick_s=math.inf) as opened:
        yield opened


def committers(recorder: Recorder) -> list[str]:
    """Give a list that will name the thread of every commit."""
    names: list[str] = []
    recorder.on_commit(lambda _size: names.append(threading.current_thread().name))
    return names


def test_lone_caller_finds_its_event_durable_at_once(recorder: Recorder, backend: FaultyBackend) -> None:
    """The ticket is done when it is given, and a reader sees the event."""
    names = committers(recorder)
    ticket = recorder.submit(decide(secret("a")), alone=True)
    assert ticket.done
    assert ticket.wait(0).first == 1
    assert names == [threading.current_thread().name]
    reader = backend.log.reader()
    assert reader.size() == 2
    reader.close()


def test_slow_disk_is_left_to_the_writer(backend: FaultyBackend) -> None:
    """After a commit that took too long the next ones are made by the writer's thread."""
    with Recorder(backend, quick_s=0.1) as recorder:
        names = committers(recorder)
        backend.due.gate.clear()
        threading.Timer(0.2, backend.due.gate.set).start()
        recorder.submit(decide(secret("a")), alone=True).wait()
        recorder.submit(decide(secret("b")), alone=True).wait()
        assert names == [threading.current_thread().name, WRITER]


def test_lone_caller_waits_behind_a_commit_under_way(recorder: Recorder, backend: FaultyBackend) -> None:
    """While the writer's thread is at work, nobody else touches the store, and positions stay in order."""
    names = committers(recorder)
    backend.due.gate.clear()
    first = recorder.submit(decide(secret("a")))
    assert backend.due.waiting.acquire(timeout=10)
    second = recorder.submit(decide(secret("b")), alone=True)
    assert not second.done
    backend.due.gate.set()
    assert (first.wait(10).first, second.wait(10).first) == (1, 2)
    assert names == [WRITER, WRITER]


def test_lone_caller_does_not_pass_those_who_wait(recorder: Recorder, backend: FaultyBackend) -> None:
    """What waits for the writer's thread already is committed with it, in order."""
    backend.due.gate.clear()
    tickets = [recorder.submit(decide(secret("a")))]
    assert backend.due.waiting.acquire(timeout=10)
    tickets += [recorder.submit(decide(secret("b"))), recorder.submit(decide(secret("c")), alone=True)]
    backend.due.gate.set()
    assert [ticket.wait(10).first for ticket in tickets] == [1, 2, 3]


@pytest.mark.parametrize(("snapshot_every", "block_events"), [(10, 1000), (1000, 4), (10, 4)])
def test_blocks_and_snapshots_are_made_though_all_are_alone(
    tmp_path: Path, snapshot_every: int, block_events: int
) -> None:
    """What is due after so many events is done by the writer's thread, and everything stored agrees."""
    path = new_log(tmp_path)
    with Recorder(
        SqliteBackend(path), snapshot_every=snapshot_every, block_events=block_events, quick_s=math.inf
    ) as recorder:
        names = committers(recorder)
        for number in range(60):
            recorder.submit(decide(binding(f"m{number % 3}", number + 1)), alone=True).wait()
        live = recorder.read(dump)
    assert set(names) == {WRITER, threading.current_thread().name}
    reader = open_reader(path)
    assert (reader.head().indexed >= 48) == (block_events == 4)
    assert (restore(reader).snapshot >= 50) == (snapshot_every == 10)
    assert dump(restore(reader).state) == live
    assert check(reader) == []
    reader.close()


def test_many_who_say_they_are_alone_lose_nothing(tmp_path: Path) -> None:
    """Callers of many threads, each of which says it is alone, get positions without gaps or doubles."""
    path = new_log(tmp_path)
    found: list[int] = []
    with Recorder(SqliteBackend(path), snapshot_every=50, block_events=16, quick_s=math.inf) as recorder:

        def count(state: State) -> list[Draft]:
            return [secret(f"s{len(state.secrets)}")]

        def call(caller: int) -> None:
            tickets = (recorder.submit(count, alone=(caller + number) % 3 > 0) for number in range(50))
            found.extend(ticket.wait(30).first for ticket in tickets)

        threads = [threading.Thread(target=call, args=(caller,)) for caller in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(recorder.read(lambda state: dict(state.secrets))) == 400
        live = recorder.read(dump)
    assert sorted(found) == list(range(1, 401))
    reader = open_reader(path)
    assert dump(restore(reader).state) == live
    assert check(reader) == []
    reader.close()
