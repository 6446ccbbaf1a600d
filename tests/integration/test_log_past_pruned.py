"""Of a pruned log, past moments and sums are told from its index as replaying and searching give them."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from itertools import product
from pathlib import Path

import pytest

from reconciler.audit.spending import spending
from reconciler.audit.terms import Query
from reconciler.core import events as ev
from reconciler.core.errors import LogDamaged, NotFound
from reconciler.core.events import decode
from reconciler.core.state import FOLD_VERSION, dump
from reconciler.log import past, pruned
from reconciler.log.past import state_then
from reconciler.log.reindexing import reindex
from reconciler.log.replay import state_at
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.log.store import Base
from reconciler.log.tree import Tree
from reconciler.recorder import Recorder
from tests.integration.test_log_past import fill, rows_of
from tests.integration.test_log_tampering import tamper
from tests.support_log import binding, new_log

CUT = 256
DAY = "2026-11-20"
LONG = "req_long"


def long_ago(path: Path) -> None:
    """Let a binding be used before all else, and one of its requests wait for its answer."""
    reserved = [
        ev.TokensReserved(
            request=name, agent="agent-1", key="key-x", surface="openai", day=DAY, tokens=70, input=50, output=20,
            binding=1,
        )
        for name in ("req_long_ago", LONG)
    ]  # fmt: skip
    with Recorder(SqliteBackend(path)) as recorder:
        recorder.record(lambda _: [binding("quiet", 1000)])
        recorder.record(lambda _: [ev.Draft("agent-1", "model/quiet", each) for each in reserved])
        recorder.record(lambda _: [settled("req_long_ago")])


def settled(name: str) -> ev.Draft:
    """Draft the answer to a request of the quiet binding."""
    payload = ev.TokensSettled(
        request=name, agent="agent-1", day=DAY, status=200, durations=ev.Durations(1, 2), reason="", input=5, cached=0,
        cache_write=0, output=5, reasoning=0, charged=10,
    )  # fmt: skip
    return ev.Draft("agent-1", "model/quiet", payload)


def cut_off(path: Path, blocks: int) -> None:
    """Drop what is before CUT, all of it, and make the index anew in small blocks."""
    with contextlib.closing(open_reader(path)) as log:
        peaks, data = Tree(log).frontier(CUT).pack(), dump(state_at(log, CUT))
    digest = hashlib.sha256(data).hexdigest()
    said = ev.LogPruned(
        first=CUT, begin=0, root="", checkpoint="", export="/part", state=digest, kept=0, digest="", previous=None
    )
    with Recorder(SqliteBackend(path)) as recorder:
        event = recorder.record(lambda _: [ev.Draft("ann@example.com", "log/x", said)]).first
    backend = SqliteBackend(path)
    with contextlib.closing(backend.open()) as store:
        store.prune(Base(CUT, peaks, data, digest, event, FOLD_VERSION), [])
        reindex(store, blocks)
    backend.release()


@pytest.fixture(scope="module", params=[0, 1])
def logs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a log of many events, and the same pruned; the second with snapshots after the cut."""
    whole = new_log(tmp_path_factory.mktemp("whole"))
    long_ago(whole)
    fill(whole, request.param)
    with Recorder(SqliteBackend(whole)) as recorder:
        recorder.record(lambda _: [settled(LONG)])
    if not request.param:
        tamper(whole, "DELETE FROM snapshots")
    cut = tmp_path_factory.mktemp("cut") / whole.name
    shutil.copy(whole, cut)
    cut_off(cut, 16)
    return whole, cut


def test_state_of_every_moment_is_what_replaying_gives(
    logs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the beginning on; before it, what was is said not to be there, however near it is."""
    monkeypatch.setattr(past, "NEAR_EVENTS", 0)
    with contextlib.closing(open_reader(logs[1])) as log:
        state, _ = pruned.start(log)
        assert LONG in state.ledger.open, "it spans the cut, and all of the blocks after it"
        assert log.head().indexed > CUT + 100
        assert rows_of(state_then(log, CUT)) == rows_of(state)
        for stored in log.read(CUT):
            state.apply(decode(stored.body))
            assert rows_of(state_then(log, state.position)) == rows_of(state), state.position
        for position in (0, 1, CUT - 1):
            with pytest.raises(NotFound, match="is not on the log any more"):
                state_then(log, position)


def test_base_says_which_version_of_the_state_it_is(logs: tuple[Path, Path], tmp_path: Path) -> None:
    """One that was cut before bases said so is read as it was written; one of a newer program names what reads it."""
    older, newer = tmp_path / "older.db", tmp_path / "newer.db"
    for path in (older, newer):
        shutil.copy(logs[1], path)
    with contextlib.closing(open_reader(logs[1])) as log:
        base, state = log.base(), pruned.start(log)[0]
        assert base is not None
        assert base.fold == FOLD_VERSION
    tamper(older, "ALTER TABLE base DROP COLUMN fold")
    with contextlib.closing(open_reader(older)) as log:
        assert log.base() == base._replace(fold=5)
        assert dump(pruned.start(log)[0]) == dump(state)
    tamper(newer, "UPDATE base SET fold = fold + 1")
    with contextlib.closing(open_reader(newer)) as log, pytest.raises(LogDamaged, match="is of version") as caught:
        pruned.start(log)
    assert "use the newer Pai" in caught.value.hint


def test_sums_are_those_of_the_events_that_stayed(logs: tuple[Path, Path], tmp_path: Path) -> None:
    """Whatever the time asked for, the index and the edges beside it give what searching all events gives."""
    searched = tmp_path / "searched.db"
    shutil.copy(logs[1], searched)
    tamper(searched, "UPDATE head SET index_version = 0")
    with contextlib.closing(open_reader(logs[0])) as log:
        times = ["", *(decode(stored.body).time for stored in log.read_at([CUT + 150, CUT + 1, CUT, CUT - 1, 100]))]
    with contextlib.closing(open_reader(logs[1])) as log, contextlib.closing(open_reader(searched)) as other:
        found = 0
        for since, until in product(times, times):
            query = Query((), since, until)
            sums = spending(log, query, ["day", "model", "agent"])
            assert sums == spending(other, query, ["day", "model", "agent"]), (since, until)
            found += len(sums)
    assert found
