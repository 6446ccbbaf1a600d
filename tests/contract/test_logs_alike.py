"""One history on every kind of log: whoever reads it is told the same, byte by byte, pruned or not."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.state import FOLD_VERSION, dump
from reconciler.log.check.whole import check
from reconciler.log.creation import create_log
from reconciler.log.index import DENSE, SPANS
from reconciler.log.pruned import path_in_tile
from reconciler.log.replay import projected, state_at
from reconciler.log.store import Base, Kept, Log, Reader, SpentQuery
from reconciler.tlog.merkle import TILE_WIDTH, Frontier
from tests.support_history import BEGIN_US, fill
from tests.support_log import LOGS, ORIGIN

BLOCK = 32


def told(reader: Reader) -> Iterator[tuple[str, Any]]:
    """Ask a log everything that can be asked, with the question."""
    size, blocks = reader.size(), range(0, reader.size() + 2 * BLOCK, 7)
    yield "head", reader.head()
    yield "base", (reader.first(), reader.base(), reader.kept(), reader.kept(3, 42))
    for start, stop in ((0, None), (5, 60), (size - 3, None), (size + 5, None)):
        yield f"events {start} {stop}", list(reader.read(start, stop))
        yield f"events with bytes {start} {stop}", list(reader.read(start, stop, [b"model/m1", b"settled"]))
        yield f"events back {start} {stop}", list(reader.read_back(stop, [b"m2"], start))
        yield f"chunks {start} {stop}", [event for chunk in reader.chunks(start, stop) for event in chunk]
    yield "events at", list(reader.read_at([size - 1, 3, 70, size + 9, 3]))
    whole = reader.whole_index()
    yield "marks", list(whole.marks)
    newest = dict(whole.newest)
    yield "newest", sorted(newest.items())
    yield "requests", sorted(whole.requests)
    spent = {span: sorted(sums) for span, sums in whole.spent.items()}
    yield "spent", spent
    hours = sorted({key[1] for key, _ in spent["hour"]}) or [""]
    values = [(kind, value) for kind in ("type", "model", "agent", "actor", "path") for value in reader.marked(kind)]
    yield "values", values
    yield (
        "values with a beginning",
        [
            reader.marked("type", "tokens."),
            reader.marked("model", "m"),
            reader.marked("x"),
            reader.marked("type", "revision.q"),
        ],
    )
    for kind, value in [*values, ("model", "no-such")]:
        for before in (0, BLOCK, size // 2, newest.get((kind, value), 0), size):
            yield f"{kind} {value} before {before}", list(reader.marks_back(kind, value, before))
    for position in blocks:
        yield f"block of {position}", reader.block_of(position)
        yield f"mark at {position}", reader.mark(position, "agent", "agent-1")
        yield f"changes from {position}", list(reader.changes(position, size // 2, DENSE))
        yield f"accounts before {position}", list(reader.accounts_back(position))
    for request in ("req_003", "req_other_7", "req_none"):
        yield request, reader.requests(request)
    for span, by, only in itertools.product(
        SPANS, ([], ["model"], ["day", "agent"]), ([], [("model", "m1", False)], [("agent", "agent-2", True)])
    ):
        for start, stop in (("", ""), (hours[0][:10], hours[-1][:10]), (hours[len(hours) // 3], hours[-1])):
            few = SpentQuery(span, start, stop, by, only, 2)  # type: ignore[arg-type]
            yield f"{span} {by} {only} {start}: two", len(reader.spent(few))
            yield f"{span} {by} {only} {start}", sorted(reader.spent(SpentQuery(span, start, stop, by, only)))  # type: ignore[arg-type]
    yield "hashes", [reader.hashes(tier, start, start + 300) for tier in (0, 1, 2) for start in (0, 1, size - 9)]
    yield "rows", reader.rows()
    yield "row", (reader.row(("model", "m1")), reader.row(("model", "none")))
    yield "snapshots", reader.snapshots()
    yield "problems", (reader.faults(), check(reader))
    yield "state", dump(projected(reader))


@pytest.fixture
def logs(tmp_path: Path) -> list[Log]:
    """The same history on each kind of log."""
    places = [make(tmp_path) for make in LOGS.values()]
    for place in places:
        chance = random.Random(5)  # noqa: S311
        create_log(place, origin=ORIGIN, vkey="key", clock=lambda: BEGIN_US - 1, random=chance.randbytes)
        fill(place, BLOCK)
    return places


def compare(logs: list[Log]) -> None:
    """Ask all logs the same."""
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(contextlib.closing(log.reader())) for log in logs]
        for answers in zip(*map(told, readers), strict=True):
            assert all(answer == answers[0] for answer in answers), answers


def test_every_question_has_one_answer(logs: list[Log]) -> None:
    """Events, index, sums, hashes, rows, snapshots, checks and state are those of the other log."""
    compare(logs)


def test_pruned_logs_answer_alike(logs: list[Log]) -> None:
    """So they are when the older half was dropped but for some events that stay, and when more is written then."""
    for log in logs:
        with contextlib.closing(log.reader()) as reader:
            events, position = list(reader.read(0, TILE_WIDTH)), TILE_WIDTH
            state, frontier, leaves = state_at(reader, position), Frontier(), [event.leaf for event in events]
            frontier.extend(leaves)
            kept = [Kept(*event, path_in_tile(leaves, event.seq)) for event in events[::3]]
        backend = log.writer()
        with contextlib.closing(backend.open()) as store:
            data = dump(state)
            store.prune(Base(position, frontier.pack(), data, sha256(data).hexdigest(), position, FOLD_VERSION), kept)
            store.shrink()
            store.plant()
        backend.release()
    compare(logs)
    for log in logs:
        fill(log, BLOCK)
        with contextlib.closing(log.reader()) as reader:
            assert reader.head().indexed > TILE_WIDTH
    compare(logs)
