"""How long the questions to a large log take over HTTP, asked of a real `pai serve` on one connection that is kept."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from benchmarks import picking
from benchmarks.biglog import AGENTS, MODELS
from benchmarks.site import environment, pai, percentile
from benchmarks.table import Row, at_most, note
from reconciler.log.sqlite.store import open_reader

FIGURE_S = 0.05
_START_S = 120
_MONTH = quote("since:2026-10-20 until:2026-11-19T12:30:00Z")


def run(workspace: Path, rounds: int) -> list[Row]:
    """Ask each question `rounds` times."""
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
    with _serving(workspace) as connection:
        token = _token(workspace)
        for name, question in questions.items():
            took = [_asked(connection, token, question()) for _ in range(rounds)]
            rows.append(at_most(f"HTTP: {name}, p95", percentile(took, 95), FIGURE_S, "s"))
            rows.append(note(f"HTTP: {name}, p50", percentile(took, 50), "s"))
    return rows


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
def _serving(workspace: Path) -> Iterator[http.client.HTTPConnection]:
    """Run `pai serve`, and give a connection to its admin listener, whatever it thinks of its branch."""
    with (workspace.parent / "serve.log").open("w") as log:
        process = subprocess.Popen([pai(), "-w", str(workspace), "serve"], env=environment(), stderr=log)
        try:
            host, port = _admin(process, Path(log.name))
            with contextlib.closing(http.client.HTTPConnection(host, port, timeout=_START_S)) as connection:
                yield connection
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
