"""Several nodes on one Postgres, broken on purpose: no limit passed, no gap, every acknowledged event there once.

PAI_NODE_KILLS sets how often a node is killed (default 8), PAI_DATABASE_STOPS how often the server is stopped at once
(3), PAI_LOST_ANSWERS how many answers to a commit are lost (20), PAI_SEED the dice.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.errors import LogNotWritable
from reconciler.core.events import decode
from reconciler.core.state import State, dump
from reconciler.log.check.whole import check
from reconciler.log.creation import create_log
from reconciler.log.postgres.place import PostgresLog
from reconciler.log.replay import restore
from reconciler.log.url import read_address
from reconciler.recorder import Recorder
from tests.support_log import ORIGIN, binding, decide, new_log_of, secret
from tests.support_postgres import Postgres, postgres
from tests.support_proxy import Proxy

NODE_KILLS = int(os.environ.get("PAI_NODE_KILLS", "8"))
DATABASE_STOPS = int(os.environ.get("PAI_DATABASE_STOPS", "3"))
LOST_ANSWERS = int(os.environ.get("PAI_LOST_ANSWERS", "20"))
SEED = os.environ.get("PAI_SEED", "13")
LIMIT = 1_000_000
THREADS = 4
WAIT_S = 30


@pytest.fixture
def log() -> PostgresLog:
    """A log in the server of this process, with a binding that has a limit."""
    made = new_log_of("postgres", Path())
    assert isinstance(made, PostgresLog)
    with Recorder(made.writer(), housekeeping=False) as recorder:
        recorder.record(decide(binding("m", LIMIT)))
    return made


class Node:
    """A process that works on a log; `url` is that of the log, maybe through a proxy."""

    def __init__(self, url: str, name: str, folder: Path) -> None:
        self.name, self._acks = name, folder / name
        command = [sys.executable, "-m", "tests.integration.postgres_node", url, name, str(self._acks), str(THREADS)]
        self.process = subprocess.Popen(command)

    def lines(self) -> list[str]:
        """Give what it has told, whole lines only."""
        found = (Path(f"{self._acks}.{number}") for number in range(THREADS))
        return [line for path in found if path.exists() for line in path.read_text().split("\n")[:-1]]

    def acknowledged(self) -> list[tuple[int, str]]:
        """Give position and id of every event that was acknowledged."""
        told = (line.split() for line in self.lines() if line.startswith("ack"))
        return [(int(first) + number, ulid) for _, first, *ids in told for number, ulid in enumerate(ids)]

    def works(self, more: int) -> None:
        """Wait until it has acknowledged so many more events."""
        wanted, until = len(self.acknowledged()) + more, time.monotonic() + WAIT_S
        while len(self.acknowledged()) < wanted:
            assert time.monotonic() < until, f"{self.name} does not go on: {self.lines()[-3:]}"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it, at once."""
        self.process.kill()
        self.process.wait()


def assert_exact(log: PostgresLog, acknowledged: list[tuple[int, str]]) -> State:
    """No limit was passed at any position, no position is missing, and what was acknowledged is there, once."""
    with contextlib.closing(log.reader()) as reader:
        problems = [each.message for each in check(reader) if "anew" not in each.message]
        assert problems == []
        events = {stored.seq: decode(stored.body) for stored in reader.read()}
        state = restore(reader).state
    assert list(events) == list(range(len(events)))
    assert len({event.id for event in events.values()}) == len(events)
    assert len({position for position, _ in acknowledged}) == len(acknowledged)
    assert {position: events[position].id for position, _ in acknowledged} == dict(acknowledged)
    seen = State()
    for event in events.values():
        seen.apply(event)
        for account in seen.ledger.accounts.values():
            assert account.used + account.reserved <= LIMIT
    return state


@contextlib.contextmanager
def nodes(url: str, names: str, folder: Path) -> Iterator[list[Node]]:
    """Run nodes, and kill them at the end."""
    made = [Node(url, name, folder) for name in names]
    try:
        yield made
    finally:
        for node in made:
            node.kill()


def url_of(log: PostgresLog) -> str:
    """Give the URL of a log's address with its schema."""
    return f"{log.address.conninfo}&schema={log.address.schema}"


def test_killed_nodes_lose_nothing(log: PostgresLog, tmp_path: Path) -> None:
    """Nodes are killed at any moment, and others take their place."""
    dice, acknowledged = random.Random(SEED), list[tuple[int, str]]()  # noqa: S311
    with nodes(url_of(log), "abc", tmp_path) as running:
        for number in range(NODE_KILLS):
            victim = dice.randrange(len(running))
            running[victim].works(1)
            time.sleep(dice.uniform(0, 0.1))  # the moment of the kill is the input, not a wait for something
            running[victim].kill()
            acknowledged += running[victim].acknowledged()
            running[victim] = Node(url_of(log), f"n{number}", tmp_path)
        for node in running:
            node.works(1)
    for node in running:
        acknowledged += node.acknowledged()
    assert_exact(log, acknowledged)


def test_server_that_is_stopped_at_once_loses_nothing(tmp_path: Path) -> None:
    """Postgres crashes under working nodes, with what it has not flushed; they go on when it is back."""
    server = Postgres("wal_writer_delay=10s", "synchronous_commit=off")
    try:
        log = PostgresLog(server.new_schema())
        create_log(log, origin=ORIGIN, vkey="key")
        with Recorder(log.writer(), housekeeping=False) as recorder:
            recorder.record(decide(binding("m", LIMIT)))
        with nodes(url_of(log), "abc", tmp_path) as running:
            for _ in range(DATABASE_STOPS):
                for node in running:
                    node.works(20)
                server.stop("immediate")
                server.start()
            for node in running:
                node.works(20)
        assert_exact(log, [each for node in running for each in node.acknowledged()])
    finally:
        server.remove()


def test_node_that_stalls_with_the_turn_holds_up_nobody_for_long(log: PostgresLog, tmp_path: Path) -> None:
    """A stopped process keeps the turn until the server ends its transaction; it goes on when it is continued."""
    with nodes(url_of(log), "ab", tmp_path) as (first, second):
        for node in (first, second):
            node.works(5)
        for _ in range(3):
            first.process.send_signal(signal.SIGSTOP)
            second.works(5)
            first.process.send_signal(signal.SIGCONT)
            first.works(5)
    assert_exact(log, first.acknowledged() + second.acknowledged())


@pytest.mark.parametrize("what", ["lose_answers", "lose_commits"])
def test_commit_of_unknown_outcome_is_looked_up(log: PostgresLog, what: str) -> None:
    """Whether the answer or the commit itself was lost: what the log has is acknowledged, and nothing is done twice."""
    proxy = Proxy(postgres().folder / ".s.PGSQL.5432")
    through = PostgresLog(
        read_address(f"postgresql://owner@127.0.0.1:{proxy.port}/postgres?schema={log.address.schema}")
    )
    with Recorder(through.writer(), housekeeping=False, retry_s=0.01) as recorder:
        done, failed = list[tuple[int, str]](), 0
        for number in range(LOST_ANSWERS):
            setattr(proxy, what, 1)
            while True:
                try:
                    receipt = recorder.record(decide(secret(f"s{number}")))
                except LogNotWritable:
                    failed += 1
                    continue
                break
            done.append((receipt.first, receipt.events[0].id))
        assert recorder.read(dump)
    proxy.close()
    assert proxy.lost >= LOST_ANSWERS
    state = assert_exact(log, done)
    assert state.position == len(done) + 2
    assert (failed == 0) is (what == "lose_answers")


def test_silent_network_keeps_no_reader_waiting(log: PostgresLog) -> None:
    """Who looks whether others appended gives up as well, since whoever asks for the state waits for that."""
    proxy = Proxy(postgres().folder / ".s.PGSQL.5432")
    through = PostgresLog(
        read_address(f"postgresql://owner@127.0.0.1:{proxy.port}/postgres?schema={log.address.schema}")
    )
    recorder = Recorder(through.writer(), housekeeping=False, retry_s=0.01)
    proxy.black.set()
    looking = threading.Thread(target=recorder.look, daemon=True)
    looking.start()
    looking.join(2 * WAIT_S)
    assert not looking.is_alive()
    assert not recorder.status().writable
    proxy.black.clear()
    recorder.close()
    proxy.close()


def test_silent_network_ends(log: PostgresLog) -> None:
    """A network that swallows everything ends in an error that says so, and the recorder goes on when it is back."""
    proxy = Proxy(postgres().folder / ".s.PGSQL.5432")
    through = PostgresLog(
        read_address(f"postgresql://owner@127.0.0.1:{proxy.port}/postgres?schema={log.address.schema}")
    )
    with Recorder(through.writer(), housekeeping=False, retry_s=0.01) as recorder:
        recorder.record(decide(secret("before")))
        proxy.black.set()
        began = time.monotonic()
        with pytest.raises(LogNotWritable):
            recorder.record(decide(secret("into nothing")))
        assert time.monotonic() - began < 7 + WAIT_S
        proxy.black.clear()
        until = time.monotonic() + WAIT_S
        while True:
            try:
                recorder.record(decide(secret("after")))
                break
            except LogNotWritable:
                assert time.monotonic() < until
                threading.Event().wait(0.05)
        assert set(recorder.read(lambda state: set(state.secrets))) == {"before", "after"}
    proxy.close()
