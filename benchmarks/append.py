"""How fast the recorder puts events on the disk, and how fast it starts again.

    python -m benchmarks.append [--quick] [--events N] [--folder DIR]

Measured against a bare SQLite commit of the same bytes with the same PRAGMAs in the same run: the disk's own time is in
both. Use a folder on the disk that matters; a tmpfs makes every figure meaningless.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.table import Row, at_least, at_most, note, show
from reconciler.core.events import BindingChanged, Draft, Event, SecretStored, encode
from reconciler.core.state import FOLD_VERSION, State, dump, row, row_keys
from reconciler.gateway.bridge import Bridge
from reconciler.log.creation import create_log
from reconciler.log.open import log_at
from reconciler.log.replay import fold, projected, restore
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.log.sqlite.writing import insert
from reconciler.log.stamp import Stamper
from reconciler.log.store import Snapshot, Stored
from reconciler.recorder import Recorder
from reconciler.tlog.merkle import Frontier, leaf_hash

CALLERS = 64
ORIGIN = "benchmark/log"
MODELS = 50
"""Bindings that the events are about; each is a projection row."""


def run(quick: bool, events: int | None = None, folder: Path | None = None) -> list[Row]:
    """Measure everything in a new folder inside `folder`; `quick` does a hundredth of the work."""
    work = Path(tempfile.mkdtemp(prefix="pai-append-", dir=folder))
    try:
        seconds = 1.0 if quick else 5.0
        bare, of = _bare_threads(work / "bare", seconds), f"bare SQLite group commit, {CALLERS} threads"
        threads, tasks = _threads(work / "threads", seconds), _tasks(work / "tasks", seconds)
        return [
            at_least(f"durable appends, {CALLERS} threads", threads, 20_000, "events/s", bare, of),
            at_least(f"durable appends, {CALLERS} asyncio tasks", tasks, 20_000, "events/s", bare, of),
            *_one_caller(work / "one", 200 if quick else 2_000),
            *_restart(work / "restart", events or (20_000 if quick else 1_000_000)),
        ]
    finally:
        shutil.rmtree(work)


def _recorder(folder: Path) -> Recorder:
    folder.mkdir()
    create_log(log_at(folder / "log.db"), origin=ORIGIN, vkey="none")
    return Recorder(SqliteBackend(folder / "log.db"))


def _change(number: int) -> Draft:
    name = f"model-{number % MODELS}"
    spec: dict[str, object] = {"provider": "gemini", "model": "gemini-2.0-flash", "maxTokensPerDay": number}
    payload = BindingChanged(
        spec=spec, previous=spec, changed=["maxTokensPerDay"], file=f"models/{name}.yaml", line=1, revision="3" * 40
    )
    return Draft("alice@example.com", f"model/{name}", payload)


def _threads(folder: Path, seconds: float) -> float:
    """Let threads record one event after the other, and count those that were acknowledged."""
    counts = [0] * CALLERS
    with _recorder(folder) as recorder:
        deadline = time.perf_counter() + seconds

        def call(caller: int) -> None:
            while time.perf_counter() < deadline:
                draft = _change(caller + counts[caller] * CALLERS)
                recorder.record(lambda _state, draft=draft: [draft])  # type: ignore[misc]
                counts[caller] += 1

        return _rate(counts, lambda: _together(call))


def _together(call: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _bare_threads(folder: Path, seconds: float) -> float:
    """The least that 64 waiting threads and a writer thread need: bytes made beforehand, inserted, nothing else."""
    folder.mkdir()
    db = _bare_database(folder / "bare.db")
    body = encode(
        Event("alice@example.com", _change(1).payload, "0" * 26, "model/model-1", "2026-11-23T00:00:00.000000Z")
    )
    wake, counts = threading.Condition(), [0] * CALLERS
    pending: list[threading.Lock] = []
    deadline = time.perf_counter() + seconds

    def write() -> None:
        size = 0
        while True:
            with wake:
                if not wake.wait_for(lambda: pending, timeout=0.2):
                    return
                batch = pending[:]
                pending.clear()
            db.execute("BEGIN IMMEDIATE")
            insert(db, "INSERT INTO events VALUES {}", [(size + n, body, bytes(32)) for n in range(len(batch))])
            db.execute("COMMIT")
            size += len(batch)
            for gate in batch:
                gate.release()

    def call(caller: int) -> None:
        gate = threading.Lock()
        gate.acquire()
        while time.perf_counter() < deadline:
            with wake:
                pending.append(gate)
                wake.notify()
            gate.acquire()
            counts[caller] += 1

    writer = threading.Thread(target=write)
    writer.start()
    rate = _rate(counts, lambda: _together(call))
    writer.join()
    db.close()
    return rate


def _tasks(folder: Path, seconds: float) -> float:
    """The same from one asyncio loop: submit, then await the ticket."""
    counts = [0] * CALLERS
    with _recorder(folder) as recorder:

        async def call(caller: int, deadline: float, bridge: Bridge) -> None:
            while time.perf_counter() < deadline:
                draft = _change(caller + counts[caller] * CALLERS)
                await bridge.outcome(recorder.submit(lambda _state, draft=draft: [draft]))  # type: ignore[misc]
                counts[caller] += 1

        async def everybody() -> None:
            deadline = time.perf_counter() + seconds
            bridge = Bridge()
            await asyncio.gather(*(call(caller, deadline, bridge) for caller in range(CALLERS)))

        return _rate(counts, lambda: asyncio.run(everybody()))


def _rate(counts: list[int], work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return sum(counts) / (time.perf_counter() - start)


def _one_caller(folder: Path, count: int) -> list[Row]:
    """Take turns: one event through the recorder, the same bytes by a bare commit."""
    ours: list[float] = []
    bare: list[float] = []
    with _recorder(folder) as recorder:
        other = _bare_database(folder / "bare.db")
        for number in range(count):
            draft = _change(number)
            start = time.perf_counter()
            receipt = recorder.record(lambda _state, draft=draft: [draft])  # type: ignore[misc]
            between = time.perf_counter()
            body = encode(receipt.events[0])
            prepared = time.perf_counter()
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO events VALUES (?, ?, ?)", (number, body, bytes(32)))
            other.execute("COMMIT")
            bare.append(time.perf_counter() - prepared)
            ours.append(between - start)
        other.close()
    rows = []
    for name, percentile in (("p50", 50), ("p99", 99)):
        a, b = _percentile(ours, percentile) * 1000, _percentile(bare, percentile) * 1000
        rows.append(note(f"one caller {name}: recorder", a, "ms"))
        rows.append(note(f"one caller {name}: bare SQLite commit", b, "ms"))
        difference = f"one caller {name}: above bare"
        rows.append(at_most(difference, a - b, 1.0, "ms") if name == "p50" else note(difference, a - b, "ms"))
    return rows


def _bare_database(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    for statement in ("page_size = 16384", "journal_mode = WAL", "synchronous = FULL", "cache_size = -16384"):
        db.execute(f"PRAGMA {statement}").fetchall()
    db.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, leaf BLOB NOT NULL) STRICT")
    return db


def _percentile(values: Sequence[float], percentile: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percentile - 1]


def fill(path: Path, events: int, tail: int = 1_000) -> None:
    """Make a log of `events` events fast, with a snapshot `tail` events before its end."""
    create_log(log_at(path), origin=ORIGIN, vkey="none")
    backend = SqliteBackend(path)
    store = backend.open()
    restored = restore(store)
    state, stamper = restored.state, Stamper(lambda: 1_800_000_000_000_000, bytes)
    stamper.see("2027-01-15T08:00:00Z", "0" * 26)
    for start in range(1, events, 10_000):
        stop = min(start + 10_000, events)
        for begin, end in ((start, min(stop, max(start, events - tail))), (max(start, events - tail), stop)):
            if begin >= end:
                continue
            store.append([_stored(seq, stamper) for seq in range(begin, end)], {})
            fold(state, restored.frontier, store.chunks(begin, end))
            if end == events - tail:
                store.save_snapshot(Snapshot.of(end, FOLD_VERSION, restored.frontier.pack(), dump(state)))
    store.project({key: row(state, key) or b"" for key in row_keys(state)}, FOLD_VERSION)
    store.close()
    backend.release()


def _stored(seq: int, stamper: Stamper) -> Stored:
    draft = _change(seq) if seq % 4 else Draft("pai", f"secret/s{seq % 100}", SecretStored(keys={"token": "0" * 64}))
    body = encode(Event(draft.actor, draft.payload, stamper.next_id(), draft.subject, stamper.now()))
    return Stored(seq, body, leaf_hash(body))


def _restart(folder: Path, events: int) -> list[Row]:
    folder.mkdir()
    path = folder / "log.db"
    fill(path, events)
    Recorder(SqliteBackend(path)).close()  # makes what is derived and `fill` left out: subtree hashes and index
    start = time.perf_counter()
    recorder = Recorder(SqliteBackend(path))
    restart = time.perf_counter() - start
    recorder.close()
    start = time.perf_counter()
    reader = open_reader(path)
    projected(reader)
    read = time.perf_counter() - start
    start = time.perf_counter()
    state = State()
    fold(state, Frontier(), reader.chunks())
    replay = state.position / (time.perf_counter() - start)
    reader.close()
    return [
        at_most(f"restart with a snapshot, {events:,} events", restart, 0.3, "s"),
        at_most(f"open a reader and read {MODELS:,} rows", read * 1000, 20, "ms"),
        at_least("replay without a snapshot", replay, 200_000, "events/s"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a figure was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.append", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the work")
    parser.add_argument("--events", type=int, help="events in the log that is started again (default 1,000,000)")
    parser.add_argument("--folder", type=Path, help="where the databases go (default: the temporary folder)")
    arguments = parser.parse_args(argv)
    rows = run(arguments.quick, arguments.events, arguments.folder)
    print(show(rows))
    return 0 if all(row.ok is not False for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
