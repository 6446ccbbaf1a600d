"""How long the questions to a large log take over HTTP, asked of a real `pai serve` on one connection that is kept.

    python -m benchmarks.stories_http WORKSPACE [QUESTION] [--rounds N]

The daemon's CPU time stands beside, as that of all its threads during the question.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from benchmarks import picking
from benchmarks.biglog import AGENTS, MODELS
from benchmarks.site import environment, pai, percentile
from benchmarks.table import Row, at_most, note, show
from reconciler.log.sqlite.store import open_reader

FIGURE_S = 0.05
_START_S = 120
_MONTH = quote("since:2026-10-20 until:2026-11-19T12:30:00Z")


def run(workspace: Path, rounds: int, only: str = "") -> list[Row]:
    """Ask each question `rounds` times, or the one alone whose name is `only`."""
    chance = random.Random(11)
    with contextlib.closing(open_reader(workspace / "data" / "log.db")) as log:
        positions = picking.positions(log, chance, rounds)
        commits = picking.commits(log, chance, rounds)
        served = picking.requests(log, chance, rounds)
        refused = picking.requests(log, chance, rounds, picking.REFUSED)
    events = "/api/v1/events?limit=50&q="

    def model() -> str:
        return f"model-{chance.randrange(MODELS):02}"

    questions: dict[str, Callable[[], str]] = {
        "events of a model": lambda: f"{events}model:{model()}",
        "events of an agent": lambda: f"{events}agent:agent-{chance.randrange(AGENTS):03}",
        "versions of a model": lambda: f"{events}{quote(f'model:{model()} type:binding')}",
        "events of a revision": lambda: f"{events}revision:{chance.choice(commits)[:8]}",
        "why of a request that was served": lambda: f"/api/v1/requests/{chance.choice(served)}",
        "why of one that was refused": lambda: f"/api/v1/requests/{chance.choice(refused)}",
        "history of a model": lambda: f"/api/v1/models/{model()}/history",
        "blame of a model": lambda: f"/api/v1/models/{model()}/blame",
        "usage of a month": lambda: f"/api/v1/usage?q={_MONTH}",
        "models in force": lambda: "/api/v1/models",
        "models at a past moment": lambda: f"/api/v1/models?at={quote(f'#{chance.choice(positions)}')}",
    }
    rows: list[Row] = []
    with _serving(workspace) as (connection, process):
        token = _token(workspace)
        for name, question in questions.items():
            if only in ("", name):
                cpu = [_cpu_s(process)]
                took = []
                for _ in range(rounds):
                    took.append(_asked(connection, token, question()))
                    cpu.append(_cpu_s(process))
                rows.append(at_most(f"HTTP: {name}, p95", percentile(took, 95), FIGURE_S, "s"))
                rows.append(note(f"HTTP: {name}, p50", percentile(took, 50), "s"))
                used = [after - before for before, after in pairwise(cpu)]
                rows.append(note(f"HTTP: {name}, CPU, p95", percentile(used, 95), "s"))
                rows.append(note(f"HTTP: {name}, CPU, p50", percentile(used, 50), "s"))
    return rows


def _cpu_s(process: int) -> float:
    """Give the CPU time of all threads so far; the kernel counts it in nanoseconds."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _asked(connection: http.client.HTTPConnection, token: str, path: str) -> float:
    started = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - started
    if answer.status != 200:
        raise SystemExit(f"error: {path} gave {answer.status}\n{body.decode()}")
    return took


def _token(workspace: Path) -> str:
    """Give the token that the daemon makes at its first start."""
    path = workspace / "data" / "admin.token"
    deadline = time.monotonic() + _START_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.read_text().strip()


@contextlib.contextmanager
def _serving(workspace: Path) -> Iterator[tuple[http.client.HTTPConnection, int]]:
    """Run `pai serve`, and give a connection to its admin listener, whatever it thinks of its branch, and its id."""
    with (workspace.parent / "serve.log").open("w") as log:
        process = subprocess.Popen([pai(), "-w", str(workspace), "serve"], env=environment(), stderr=log)
        try:
            host, port = _admin(process, Path(log.name))
            with contextlib.closing(http.client.HTTPConnection(host, port, timeout=_START_S)) as connection:
                yield connection, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            finally:
                process.kill()


def _admin(process: subprocess.Popen[bytes], log: Path) -> tuple[str, int]:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"error: pai serve ended\n{log.read_text()}")
        if found := re.search(r"http://([\d.]+):(\d+)", log.read_text()):
            return found[1], int(found[2])
        time.sleep(0.01)
    raise SystemExit(f"error: pai serve does not answer after {_START_S} s\n{log.read_text()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a figure was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stories_http", description=__doc__)
    parser.add_argument("workspace", type=Path, help="a workspace that benchmarks.stories made")
    parser.add_argument("question", nargs="?", default="", help="ask this one alone, as the table names it")
    parser.add_argument("--rounds", type=int, default=25, help="how often (default 25)")
    arguments = parser.parse_args(argv)
    rows = run(arguments.workspace, arguments.rounds, arguments.question)
    print(show(rows))
    return 0 if all(row.ok is not False for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
