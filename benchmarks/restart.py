"""How long `pai serve` takes to start again on a log of 1,000,000 events, from starting the process to `/readyz` 200.

The log is the recorder's own work: a workspace of 1,000 manifests, its snapshots as it takes them, and after the last
one as many events as there can be before the next is due. Beside it: the same start with the snapshots thrown away.
"""

from __future__ import annotations

import contextlib
import sqlite3
import statistics

from benchmarks.site import Site, call, pai, site
from benchmarks.table import Row, at_most, note
from reconciler.core.events import BindingChanged, Draft
from reconciler.core.state import State
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder

EVENTS = 1_000_000
SNAPSHOT_EVERY = 10_000
MODELS, AGENTS = 900, 100
_BATCH = 1_000


def run(quick: bool) -> list[Row]:
    """Start five times, or three times on a hundredth of the events; the medians."""
    events = EVENTS // 100 * (2 if quick else 100)
    with site(MODELS, AGENTS) as place:
        call(pai(), "-w", place.workspace, "reconcile")
        _fill(place, events)
        starts = sorted(_start(place) for _ in range(3 if quick else 5))
        _drop_snapshots(place)
        without = _start(place)
    middle = statistics.median(start for start, _ in starts)
    name = f"restart with a snapshot, {events:,} events"
    return [
        at_most(f"{name}: to ready", middle, 1, "s", without[0], "without one"),
        note(f"{name}: most memory until then", starts[-1][1], "MB"),
    ]


def _start(place: Site) -> tuple[float, float]:
    with place.serving() as served:
        return served.ready_s, served.peak_mb


def _fill(place: Site, events: int) -> None:
    """Bring the log up to about `events`, the last of them after the last snapshot."""
    with Recorder(SqliteBackend(place.database), snapshot_every=SNAPSHOT_EVERY) as recorder:
        _record(recorder, events - SNAPSHOT_EVERY)
    with Recorder(SqliteBackend(place.database), snapshot_every=100 * EVENTS) as recorder:
        _record(recorder, events)


def _record(recorder: Recorder, until: int) -> None:
    while (position := recorder.read(lambda state: state.position)) < until:
        count = min(_BATCH, until - position)
        recorder.record(lambda state, count=count: _changes(state, count))  # type: ignore[misc]


def _changes(state: State, count: int) -> list[Draft]:
    """Change one binding after the other, as pushes do."""
    drafts = []
    names = sorted(state.models)
    for number in range(state.position, state.position + count):
        now = state.models[names[number % len(names)]]
        spec = {**now.spec, "maxTokensPerDay": number}
        changed = BindingChanged(
            spec=spec,
            previous=now.spec,
            changed=["maxTokensPerDay"],
            file=now.file,
            line=now.line,
            revision=now.revision,
            labels=now.labels,
            annotations=now.annotations,
        )
        drafts.append(Draft("alice@example.com", f"model/{now.name}", changed))
    return drafts


def _drop_snapshots(place: Site) -> None:
    with contextlib.closing(sqlite3.connect(place.database, isolation_level=None)) as db:
        db.execute("DELETE FROM snapshots")
