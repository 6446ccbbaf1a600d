"""How long the questions to a large log take, as whole processes and over HTTP, and what takes all of the log.

    python -m benchmarks.stories [--quick] [--events N] [--workspace DIR]

The log is that of `benchmarks.biglog`; the times include the interpreter's start, which is measured beside them. Every
run asks about something else: a request, agent, model or commit picked from all over the log. `append` says what the
index costs whoever writes: the recorder with 64 callers, with the index and without one, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import picking, whole
from benchmarks import stories_http as http
from benchmarks.biglog import AGENTS, MODELS, finish, write
from benchmarks.site import call, pai, percentile
from benchmarks.table import Row, at_least, at_most, note, show
from benchmarks.timing import timed
from reconciler.core import events as ev
from reconciler.log.creation import create_log
from reconciler.log.open import log_at
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.recorder import Recorder

FIGURE_S = 0.2
PROOF_S = 0.1
CALLERS = 64
MONTH = ("since:2026-10-20", "until:2026-11-19T12:30:00Z")


def run(quick: bool, events: int | None = None, workspace: Path | None = None) -> list[Row]:
    """Measure everything; `quick` asks a log of 200,000 events a few times."""
    events = events or (200_000 if quick else 10_000_000)
    rounds = 5 if quick else 25
    with contextlib.ExitStack() as stack:
        if workspace is None:
            folder = Path(tempfile.mkdtemp(prefix="pai-stories-"))
            stack.callback(shutil.rmtree, folder)
            workspace = folder / "workspace"
        rows = [] if (workspace / "pai.toml").exists() else _made(workspace, events)
        rows += whole.run(workspace)
        rows += _asked(workspace, rounds)
        rows += http.run(workspace, rounds)
        return rows + _appending(workspace.parent, 2.0 if quick else 8.0)


def _made(workspace: Path, events: int) -> list[Row]:
    call(pai(), "init", workspace)
    database = workspace / "data" / "log.db"
    database.unlink()
    written = write(database, events, (workspace / "data" / "vkey").read_text().strip())
    bare = database.stat().st_size
    folded = finish(database)
    return [
        at_least(f"generator, {events:,} events", written, 150_000, "events/s"),
        note("fold and index all of it", folded, "events/s"),
        note("the index, as a part of the file", (database.stat().st_size / bare - 1) * 100, "%"),
    ]


def _asked(workspace: Path, rounds: int) -> list[Row]:
    chance = random.Random(7)
    with contextlib.closing(open_reader(workspace / "data" / "log.db")) as log:
        requests = picking.requests(log, chance, rounds)
        commits = picking.commits(log, chance, rounds)
        positions = picking.positions(log, chance, rounds)

    def model() -> str:
        return f"model-{chance.randrange(MODELS):02}"

    questions: dict[str, Callable[[int], list[str]]] = {
        "pai log request:": lambda n: ["log", f"request:{requests[n]}"],
        "pai log model: --limit 50": lambda _: ["log", f"model:{model()}", "--limit", "50"],
        "pai log agent: --limit 50": lambda _: ["log", f"agent:agent-{chance.randrange(AGENTS):03}", "--limit", "50"],
        "pai log model: type:binding": lambda _: ["log", f"model:{model()}", "type:binding"],
        "pai log revision:": lambda n: ["log", f"revision:{commits[n][:8]}"],
        "pai log request: of nobody": lambda _: ["log", "request:req_01M85C6V0Q5S1Y6H0C3V7N2K8D"],
        "pai history model": lambda _: ["history", "model", model()],
        "pai blame model": lambda _: ["blame", "model", model()],
        "pai why": lambda n: ["why", requests[n]],
        "pai prove": lambda n: ["prove", str(positions[n])],
        "pai get models --at": lambda n: ["get", "models", "--at", f"#{positions[n]}"],
        "pai status --at": lambda n: ["status", "agent-001", "--at", f"#{positions[n]}"],
        "pai usage of a month": lambda _: ["usage", *MONTH],
        "pai usage of a month, by agent": lambda _: ["usage", *MONTH, f"model:{model()}", "--by", "agent"],
    }
    call(pai(), "-w", workspace, "prove", "0")  # has a checkpoint signed, if there is none
    rows: list[Row] = []
    for name, command in (("python -c pass", [sys.executable, "-c", "pass"]), ("pai --version", [pai(), "--version"])):
        took = [timed(command) for _ in range(rounds)]
        rows.append(note(f"`{name}`, p95", percentile([each.wall_s for each in took], 95), "s"))
        rows.append(note(f"`{name}`, CPU, p95", percentile([each.cpu_s for each in took], 95), "s"))
    peak = 0.0
    for name, words in questions.items():
        took = [timed([pai(), "-w", str(workspace), *words(n)]) for n in range(rounds)]
        wall, cpu = percentile([each.wall_s for each in took], 95), percentile([each.cpu_s for each in took], 95)
        rows.append(at_most(f"`{name}`, p95", wall, PROOF_S if name == "pai prove" else FIGURE_S, "s"))
        rows.append(note(f"`{name}`, CPU, p95", cpu, "s"))
        peak = max(peak, *(each.peak_mb for each in took))
    size = max(len(call(pai(), "-w", workspace, "prove", str(position))) for position in positions[:5])
    rows.append(at_most("a proof", size, 2048, "bytes"))
    return [*rows, at_most("most memory of any of these", peak, whole.MEMORY_MB, "MB")]


def _appending(folder: Path, seconds: float) -> list[Row]:
    """Let 64 callers record reservations and settlements, with an index and with blocks that are never sealed."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(6):
        indexed = turn % 2 == 0
        rates[indexed].append(_rate(Path(folder), seconds / 3, indexed=indexed))
    best, bare = max(rates[True]), max(rates[False])
    return [
        at_least(f"appending, {CALLERS} callers, with the index", best, 15_000, "events/s", bare, "without"),
        at_least("appending with the index, against without", best / bare * 100, 60, "%"),
    ]


def _rate(folder: Path, seconds: float, *, indexed: bool) -> float:
    place = Path(tempfile.mkdtemp(prefix="pai-appending-", dir=folder))
    create_log(log_at(place / "log.db"), origin="benchmark/log", vkey="none")
    counts = [0] * CALLERS
    try:
        never = {} if indexed else {"block_events": 1 << 40}
        with Recorder(SqliteBackend(place / "log.db"), **never) as recorder:  # type: ignore[arg-type]
            deadline = time.perf_counter() + seconds

            def work(caller: int) -> None:
                for drafts in _requests(caller):
                    if time.perf_counter() >= deadline:
                        return
                    recorder.record(lambda _, drafts=drafts: drafts)  # type: ignore[misc]
                    counts[caller] += 1

            threads = [threading.Thread(target=work, args=(caller,)) for caller in range(CALLERS)]
            started = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return sum(counts) / (time.perf_counter() - started)
    finally:
        shutil.rmtree(place)


def _requests(caller: int) -> Iterator[list[ev.Draft]]:
    number = 0
    while True:
        number += 1
        request, agent = f"req_{number:016}{caller:010}", f"agent-{(caller * 7 + number) % AGENTS:03}"
        subject = f"model/model-{(caller + number) % MODELS:02}"
        reserved = ev.TokensReserved(
            request=request, agent=agent, key="key-0", surface="openai", day="2026-11-23", tokens=1330, input=306,
            output=1024, binding=1,
        )  # fmt: skip
        yield [ev.Draft(agent, subject, reserved)]
        settled = ev.TokensSettled(
            request=request, agent=agent, day="2026-11-23", status=200, durations=ev.Durations(412, 1630), reason="",
            input=41, cached=0, cache_write=0, output=187, reasoning=60, charged=228,
        )  # fmt: skip
        yield [ev.Draft(agent, subject, settled)]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a figure was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stories", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small log, few questions")
    parser.add_argument("--events", type=int, help="events of the log (default 10,000,000)")
    parser.add_argument("--workspace", type=Path, help="use the workspace that a run made here, or make and keep it")
    arguments = parser.parse_args(argv)
    rows = run(arguments.quick, arguments.events, arguments.workspace)
    print(show(rows))
    return 0 if all(row.ok is not False for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
