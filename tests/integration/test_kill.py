"""kill -9 at random moments while pushes go on: nothing accepted is lost, a revision is all or nothing.

`PAI_KILLS` sets the number of kills (200); one in ten hits the whole daemon, the others the reconciler in a process of
its own, which restarts faster. Moments are drawn from a seed that a failure prints.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from reconciler.audit.query import search
from reconciler.audit.terms import Query
from reconciler.log.check.whole import check
from reconciler.log.replay import projected
from reconciler.log.sqlite.store import open_reader
from tests.support import BAD, DEADLINE_S, PAI, Git, Site, assert_whole, binding, replayed, until

KILLS = int(os.environ.get("PAI_KILLS", "200"))
DAEMON_KILLS = max(1, KILLS // 10)
ROOT = Path(__file__).resolve().parent.parent.parent
WORKER = "tests.integration.kill_worker"


class Pusher:
    """Pushes commits that change every model, some pushes with a bad tip."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self.count = 0

    def push(self, *, bad: bool = False) -> None:
        """Put one to three commits on the branch."""
        script = []
        for n in range(1 + self.count % 3):
            self.count += 1
            files = {f"models/m{i}.yaml": binding(f"m{i}", self.count) for i in range(12)}
            files["models/bad.yaml"] = BAD if bad else binding("bad", self.count)
            script.append(f"commit refs/heads/main\ncommitter Bob <bob@example.com> {self.count} +0000\ndata 2\nx\n\n")
            script += ["from refs/heads/main^0\n"] if self.count > 1 and n == 0 else []
            script += [f"M 100644 inline {name}\ndata {len(text)}\n{text}\n" for name, text in files.items()]
        self._git("-c", "fastimport.unpackLimit=1000", "fast-import", "--quiet", stdin="".join(script))


class Workers:
    """Talks to kill_worker.py: starts reconcilers, kills them, collects what they acknowledged."""

    def __init__(self, site: Site) -> None:
        command = [sys.executable, "-m", WORKER, str(site.root)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=site.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._buffer = b""
        self._victim = 0
        self.acknowledged = 0

    def _line(self) -> str:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            assert select.select([self._process.stdout], [], [], DEADLINE_S)[0], "the worker says nothing"
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, "the worker has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def start(self) -> None:
        """Start a reconciler; it is about to open the log when this returns."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        word, pid = self._line().split()
        assert word == "start"
        self._victim = int(pid)

    def listen(self) -> None:
        """Wait until it has acknowledged a pass."""
        self.acknowledged = int(self._line())

    def kill(self) -> None:
        """Kill it; what it said until then counts."""
        with contextlib.suppress(ProcessLookupError):  # it ended by itself: leaving tells why
            os.kill(self._victim, signal.SIGKILL)
        self._victim = 0
        while (line := self._line()) != "end":
            self.acknowledged = int(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the process that the reconcilers are forked from; nobody may have had anything to complain of."""
        if self._victim:
            os.kill(self._victim, signal.SIGKILL)
        _, err = self._process.communicate(timeout=DEADLINE_S)
        assert kind is not None or err == b"", err.decode()


def inspect(site: Site) -> tuple[int, list[str]]:
    """Check the log as a reader finds it; give its length and the ids of its events."""
    with contextlib.closing(open_reader(site.database)) as log:
        rows = list(search(log, Query(), oldest_first=True))
        assert [row.seq for row in rows] == list(range(len(rows)))
        assert_whole(rows)
        assert replayed(log).digest() == projected(log).digest()
    return len(rows), [row.id for row in rows]


def converged(site: Site, pusher: Pusher) -> None:
    """Check that the end is what it would have been without any kill."""
    with contextlib.closing(open_reader(site.database)) as log:
        assert check(log) == []
    state = site.state()
    assert state.revision == site.bare("rev-parse", "main")
    assert {r.spec["maxTokensPerDay"] for r in state.models.values()} == {pusher.count}
    outcomes = site.outcomes()
    assert [sha for sha, _ in outcomes] == site.bare("rev-list", "--first-parent", "--reverse", "main").split()
    site.pai("verify")


@pytest.fixture
def moments() -> random.Random:
    """Give a source of random moments; a failure shows its seed."""
    seed = int(os.environ.get("PAI_SEED", str(time.time_ns() % 1_000_000_007)))
    sys.stdout.write(f"PAI_SEED={seed}\n")
    return random.Random(seed)  # noqa: S311 - moments, not secrets


def test_reconciler_killed_anywhere_loses_nothing_and_halves_nothing(site: Site, moments: random.Random) -> None:
    """After each kill the log is whole, what was acknowledged is still there, and a further process goes on."""
    pusher = Pusher(site.bare)
    ids: list[str] = []
    with Workers(site) as workers:
        for number in range(KILLS - DAEMON_KILLS):
            pusher.push(bad=number % 5 == 3)  # what it finds at its start
            workers.start()
            if number % 3:
                time.sleep(moments.uniform(0, 0.05))
                pusher.push()  # what comes while it works
            if number % 4 == 0:
                workers.listen()  # else what waits grows, until no pass is done before its kill
            time.sleep(moments.uniform(0, 0.05))
            workers.kill()
            if number % 10 == 0:  # a full look costs as much as a few kills
                length, now = inspect(site)
                assert length >= workers.acknowledged
                assert now[: len(ids)] == ids
                ids = now
    length, now = inspect(site)
    assert length >= workers.acknowledged > 0
    assert now[: len(ids)] == ids
    pusher.push()
    site.pai("reconcile")
    converged(site, pusher)


def test_daemon_killed_anywhere_loses_nothing_and_halves_nothing(site: Site, moments: random.Random) -> None:
    """The whole daemon, killed while it starts and while it serves, and commands killed in between."""
    pusher = Pusher(site.bare)
    ids: list[str] = []
    for number in range(DAEMON_KILLS):
        pusher.push(bad=number % 5 == 3)
        process = subprocess.Popen(
            [PAI, "reconcile" if number % 4 == 3 else "serve"],
            cwd=site.root,
            env=site.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(0.2, 1.0))
        pusher.push()
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.wait(DEADLINE_S)
        _, now = inspect(site)
        assert now[: len(ids)] == ids
        ids = now
    pusher.push()
    with site.daemon():
        tip = site.bare("rev-parse", "main")
        until("the last push to be in force", lambda: site.state().revision == tip)
    converged(site, pusher)
