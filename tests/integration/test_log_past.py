"""The state of a past moment, told from the index and a few events, is the state that replaying gives."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core import events as ev
from reconciler.core.errors import NotFound
from reconciler.core.events import decode
from reconciler.core.state import RowKey, State, row, row_keys
from reconciler.log import past
from reconciler.log.past import state_then
from reconciler.log.replay import state_at
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.recorder import Recorder
from tests.integration.test_log_tampering import tamper
from tests.support_history import PERSON, outcome, requests, revisions
from tests.support_log import binding, new_log, no_secret, secret

SEEDS = 3
BEGIN_US = 4_000_000_000_000_000
"""In 2096: after the beginning of the log, which has the real time."""


def accepted(n: int, *moved: ev.Moved) -> ev.Draft:
    """Accept a commit that moves objects."""
    people = {"author": PERSON, "committer": PERSON}
    commit = {"commit": f"{n:040}", "parents": [], **people, "message": "", "signature": None}
    payload = ev.RevisionAccepted(**commit, counts=ev.Counts(1, 1, 0, 0, 0, 2), moved=[*moved])  # type: ignore[arg-type]
    return ev.Draft("a@example.com", "revision/x", payload)


def others(chance: random.Random, n: int) -> list[ev.Draft]:
    """Change something that is neither a budget nor a binding's version, or something else again."""
    name, mail = f"m{chance.randrange(3)}", "a@example.com"
    place = {"file": f"f{n}.yaml", "line": n, "revision": f"{n:040}"}
    moved = [ev.Moved("model", name, f"moved-{n}.yaml", n), ev.Moved("agent", "agent-1", f"moved-{n}.yaml", n + 1)]
    agent = ev.AgentCreated(spec={"modelBindings": [name]}, previous=None, changed=[], **place)  # type: ignore[arg-type]
    deleted = ev.BindingDeleted(spec=None, previous={"model": "x"}, changed=[], **place)  # type: ignore[arg-type]
    key = {"agent": "agent-1", "digest": f"d{n % 3}"}
    issued = ev.KeyIssued(**key, expires="", networks=[], admin=n % 2 == 0)  # type: ignore[arg-type]
    return chance.choice(
        [
            [ev.Draft(mail, f"agent/agent-{n % 3}", agent)],
            [ev.Draft(mail, f"model/{name}", deleted)],
            [accepted(n, *moved)],
            [ev.Draft(mail, f"key/k{n % 3}", issued)],
            [ev.Draft(mail, f"key/k{n % 3}", ev.KeyRevoked(**key))],
            [secret(f"s{n % 3}", f"digest {n}")],
            [no_secret(f"s{n % 3}")],
            [binding(name, n)],
        ]
    )


def fallback(chance: random.Random, n: int) -> Iterator[list[ev.Draft]]:
    """Let one request reserve on a binding, fail, and reserve on another; the answer comes later."""
    request, agent, day = f"req_fallback_{n}", "agent-1", "2026-11-20"
    for model in ("m0", "m1"):
        reserved = ev.TokensReserved(
            request=request, agent=agent, key="key-x", surface="openai", day=day, tokens=50 + n, input=50, output=n,
            binding=1,
        )  # fmt: skip
        yield [ev.Draft(agent, f"model/{model}", reserved)]
        yield [outcome(chance, request, model, agent, day)]


def unpushed(drafts: list[ev.Draft]) -> list[ev.Draft]:
    """Leave out pushes: without any, few commits are read."""
    return [draft for draft in drafts if not isinstance(draft.payload, ev.PushAdmitted)]


def fill(path: Path, seed: int) -> None:
    """Write some hundred events whose requests overlap and reach from block to block; the first has no pushes."""
    chance = random.Random(seed)  # noqa: S311
    clock = itertools.count(BEGIN_US, 181_000_000).__next__
    streams = [requests(chance, 240), *(fallback(chance, n) for n in range(8))]
    more = (
        [others(chance, n) for n in range(60)],
        [revisions(n) if seed else unpushed(revisions(n)) for n in range(12)],
    )
    streams += [iter(each) for each in more]
    with Recorder(SqliteBackend(path), clock=clock, block_events=16 + 16 * seed, snapshot_every=100) as recorder:
        for draft in (binding("still", 1), accepted(900, ev.Moved("model", "still", "moved.yaml", 9)), accepted(901)):
            recorder.record(lambda _, draft=draft: [draft])  # type: ignore[misc]
        while streams:
            stream = chance.choice(streams)
            drafts = next(stream, None)
            if drafts is None:
                streams.remove(stream)
            elif drafts:
                recorder.record(lambda _, drafts=drafts: drafts)  # type: ignore[misc]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Give some logs with many small blocks, the first of them without snapshots."""
    paths = []
    for seed in range(SEEDS):
        paths.append(new_log(tmp_path_factory.mktemp(f"past-{seed}")))
        fill(paths[-1], seed)
    tamper(paths[0], "DELETE FROM snapshots")
    return paths


def rows_of(state: State) -> dict[RowKey, bytes | None]:
    """Give all that a projection of the state holds, and where it stands."""
    return {key: row(state, key) for key in row_keys(state)} | {("position", ""): b"%d" % state.position}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_state_of_every_moment_is_what_replaying_gives(
    logs: list[Path], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every position the objects, keys, secrets, accounts and the branch are those of a replay."""
    monkeypatch.setattr(past, "NEAR_EVENTS", 0)
    with contextlib.closing(open_reader(logs[seed])) as log:
        head = log.head()
        assert 32 * 5 < head.indexed <= head.size
        replayed = State()
        for stored in log.read():
            replayed.apply(decode(stored.body))
            state = state_then(log, replayed.position)
            assert rows_of(state) == rows_of(replayed), replayed.position
            assert not state.ledger.open
        assert rows_of(state_then(log, 0)) == rows_of(State())


def test_few_events_are_read_for_a_moment_long_ago(logs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of blocks before the moment's own no tokens are read, and of a binding the last version."""
    monkeypatch.setattr(past, "NEAR_EVENTS", 0)
    with contextlib.closing(open_reader(logs[0])) as log:
        folded: Counter[type] = Counter()
        apply = State.apply

        def counted(state: State, event: ev.Event) -> None:
            folded[type(event.payload)] += 1
            apply(state, event)

        monkeypatch.setattr(State, "apply", counted)
        state_then(log, (block := log.block_of(log.head().indexed - 1) or 0) + 1)
    assert folded[ev.TokensReserved] <= 1
    assert folded[ev.BindingCreated] + folded[ev.BindingChanged] <= 4 < block


def test_what_comes_after_a_moment_costs_it_nothing(logs: list[Path]) -> None:
    """The steps that SQLite takes for the changes before a moment are few, however long the log is."""
    with contextlib.closing(open_reader(logs[0])) as log:
        steps: Counter[int] = Counter()
        size = log.head().indexed
        for stop in (40, size):
            log._db.set_progress_handler(lambda stop=stop: steps.update({stop: 1}), 1)  # type: ignore[misc]
            assert list(log.changes(0, stop, ()))
        log._db.set_progress_handler(None, 0)
    assert steps[40] * 5 < steps[size]


def test_moment_needs_no_index(logs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log whose index is of another version, or whose projection is stale, is replayed."""
    monkeypatch.setattr(past, "NEAR_EVENTS", 0)
    for n, statement in enumerate(
        ("UPDATE head SET index_version = 0", "UPDATE head SET fold = 0", "UPDATE head SET projected = projected - 1")
    ):
        path = tmp_path / f"{n}.db"
        shutil.copy(logs[1], path)
        tamper(path, statement, "DELETE FROM marks" if n == 0 else "DELETE FROM rows")
        with contextlib.closing(open_reader(path)) as log:
            position = log.size() // 2
            assert rows_of(state_then(log, position)) == rows_of(state_at(log, position))


def test_moment_beyond_the_end_is_not_found(logs: list[Path]) -> None:
    """A position that the log does not have yet is said to be none."""
    with contextlib.closing(open_reader(logs[0])) as log, pytest.raises(NotFound, match="there is no position"):
        state_then(log, log.size() + 1)
