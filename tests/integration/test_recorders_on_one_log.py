"""Several recorders on one log decide exactly: each on the log's end, a turn each, as several nodes do."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core import events as ev
from reconciler.core.budget import Account
from reconciler.core.errors import LogNotWritable, Refused
from reconciler.core.reservations import NO_DURATIONS, Denied, Usage, forfeit_open, settle, void
from reconciler.core.state import State, dump
from reconciler.log.check.whole import check
from reconciler.log.memory import MemoryLog
from reconciler.log.replay import restore
from reconciler.log.store import Log
from reconciler.recorder import Recorder
from tests.support_log import DAY, SHARED, FaultyBackend, binding, decide, hold_tokens, new_log_of, secret

LIMIT = 10_000
THREADS = 4
ROUNDS = 40


@pytest.fixture(params=SHARED)
def log(tmp_path: Path, request: pytest.FixtureRequest) -> Log:
    """A log that several may write, with its first event, of each kind."""
    return new_log_of(request.param, tmp_path)


@pytest.fixture
def nodes(log: Log) -> Iterator[list[Recorder]]:
    """Three recorders; of a log in memory the first keeps what is derived, with snapshots and blocks that end often."""
    keeps = isinstance(log, MemoryLog)
    with contextlib.ExitStack() as opened:
        yield [
            opened.enter_context(
                Recorder(
                    log.writer(), snapshot_every=60, block_events=25, housekeeping=keeps and number == 0, retry_s=0.01
                )
            )
            for number in range(3)
        ]


def assert_all_alike(log: Log, nodes: list[Recorder]) -> State:
    """Every node's state is what a replay of the log gives, and the log is whole."""
    with contextlib.closing(log.reader()) as reader:
        assert check(reader) == []
        state = restore(reader).state
    for node in nodes:
        node.look()
        assert node.read(dump) == dump(state)
    return state


def test_budget_is_exact_over_all_of_them(log: Log, nodes: list[Recorder]) -> None:
    """Threads of every node reserve, settle and void on one binding until its day is spent: never a token more."""
    nodes[0].record(decide(binding("m", LIMIT)))
    over: list[int] = []
    granted, refused = [0] * len(nodes), [0] * len(nodes)

    def work(number: int, thread: int) -> None:
        chance, node = random.Random(f"{number} {thread}"), nodes[number]  # noqa: S311
        for turn in range(ROUNDS):
            request = f"{number}-{thread}-{turn}"
            try:
                receipt = node.record(hold_tokens(request, tokens := chance.randrange(1, 120), f"n{number}"))
            except Denied:
                refused[number] += 1
                continue
            assert receipt.result == tokens
            granted[number] += 1
            account = node.read(lambda state: state.ledger.account("m", DAY))
            over.extend([account.used + account.reserved] * (account.used + account.reserved > LIMIT))
            used = Usage(tokens, 0, 0, 0, 0, tokens)
            if chance.random() < 0.8:
                node.record(lambda s, r=request, u=used: settle(s, r, u, status=200, durations=NO_DURATIONS))
            else:
                node.record(lambda s, r=request: void(s, r, status=500, durations=NO_DURATIONS, reason="x"))

    threads = [threading.Thread(target=work, args=(n, t)) for n in range(len(nodes)) for t in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    state = assert_all_alike(log, nodes)
    account = state.ledger.account("m", DAY)
    assert over == []
    assert account.reserved == 0
    assert LIMIT - 120 < account.used <= LIMIT
    assert min(granted) > 0
    assert sum(refused) > 0
    with contextlib.closing(log.reader()) as reader:
        payloads = [ev.decode(stored.body).payload for stored in reader.read()]
    requests = [payload.request for payload in payloads if isinstance(payload, ev.TokensReserved)]
    assert len(requests) == len(set(requests)) == sum(granted)


def test_decision_is_made_on_what_the_others_recorded(log: Log, nodes: list[Recorder]) -> None:
    """What one has recorded, the next decision of another sees, and no reading node needs to be told."""
    nodes[0].record(decide(secret("a")))
    seen = nodes[1].record(lambda state: [secret("b")] if "a" in state.secrets else []).positions
    assert seen == range(2, 3)
    with pytest.raises(Refused, match="it is there"):
        nodes[2].record(lambda state: _refuse("it is there") if "b" in state.secrets else [])
    assert set(assert_all_alike(log, nodes).secrets) == {"a", "b"}


def _refuse(why: str) -> list[ev.Draft]:
    raise Refused(why)


def test_start_forfeits_its_own_alone(log: Log, nodes: list[Recorder]) -> None:
    """What other nodes have in flight is theirs."""
    nodes[0].record(decide(binding("m", LIMIT)))
    for number, node in enumerate(nodes):
        node.record(hold_tokens(f"r{number}", 100, f"n{number}"))
    nodes[1].record(lambda state: forfeit_open(state, "the daemon was restarted", "n1"))
    state = assert_all_alike(log, nodes)
    assert sorted(state.ledger.open) == ["r0", "r2"]
    assert state.ledger.account("m", DAY) == Account(DAY, 100, 200)


@pytest.mark.parametrize("reached", [False, True], ids=["nothing reached the log", "it reached the log"])
def test_failure_of_one_is_its_own(log: Log, nodes: list[Recorder], reached: bool) -> None:
    """Its callers are told what is on the log; who was not decided yet gets the next turn; the others go on."""
    backend = FaultyBackend(log)
    with Recorder(backend, housekeeping=False, retry_s=0.01) as failing:
        backend.due.gate.clear()
        if reached:
            backend.due.after_commit = 1
        else:
            backend.due.before_commit = 1
        first = failing.submit(decide(secret("a")))
        assert backend.due.waiting.acquire(timeout=10)
        waiting = failing.submit(lambda state: [secret("b")] * ("a" in state.secrets) + [secret("c")])
        backend.due.gate.set()
        if reached:
            assert first.wait(10).first == 1
        else:
            with pytest.raises(LogNotWritable):
                first.wait(10)
        assert len(waiting.wait(10).events) == 1 + reached
        nodes[1].record(decide(secret("d")))
        state = assert_all_alike(log, [*nodes, failing])
    assert ("a" in state.secrets) is reached


def test_times_and_ids_never_go_back_though_clocks_differ(log: Log) -> None:
    """A node whose clock is behind stamps as the newest event does, or later."""
    clocks = [2_000_000_000_000_000, 1_000_000_000_000_000]
    with contextlib.ExitStack() as opened:
        nodes = [
            opened.enter_context(Recorder(log.writer(), clock=lambda us=us: us, housekeeping=False))  # type: ignore[misc]
            for us in clocks
        ]
        found = [event for n in range(6) for event in nodes[n % 2].record(decide(secret(f"s{n}"))).events]
        assert [event.time for event in found] == sorted(event.time for event in found)
        assert [event.id for event in found] == sorted({event.id for event in found})
        assert_all_alike(log, nodes)
