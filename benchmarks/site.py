"""A team's workspace to measure: 10,000 manifests in git, a clone to push from, a real `pai serve`.

What is generated depends on the numbers given and on nothing else, so two runs measure the same bytes. Everything lies
in one temporary folder that goes when the benchmark ends, with the processes that were started.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.manifests import write_manifests
from reconciler.log.sqlite.store import open_reader

BRANCH = "main"
MODELS, AGENTS = 9_000, 1_000
WITHOUT_HOOK = "--receive-pack=git -c core.hooksPath=/dev/null receive-pack"
POLL_S = 0.005


def environment() -> dict[str, str]:
    """Give the environment of every process: no settings of whoever runs this, byte code kept as after an install."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PAI_", "GIT_", "PYTHON"))}
    person = {"AUTHOR_NAME": "Alice", "AUTHOR_EMAIL": "alice@example.com"}
    person |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in person.items()}
    git = {f"GIT_{key}": value for key, value in person.items()}
    return (
        kept
        | git
        | {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "PAI_ADMIN_LISTEN": "127.0.0.1:0",
            "PAI_GATEWAY_LISTEN": "127.0.0.1:0",
        }
    )


def pai() -> str:
    """Give the installed command that belongs to this interpreter."""
    command = Path(sys.executable).with_name("pai")
    if not command.exists():
        raise SystemExit(f"error: {command} is not there\nhint: pip install -e . first")
    return str(command)


def call(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command that has to succeed and give what it printed."""
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {command} gave {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def percentile(values: Sequence[float], percent: int) -> float:
    """Give a percentile of at least two values, between the nearest two."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class Served(NamedTuple):
    """A running daemon whose first pass is done and in force.

    `ready_s`: seconds from starting it to `/readyz` 200. `in_force_s`: until the branch's tip can be read on the log
    too. `peak_mb`: the most memory it held until then, in MB.
    """

    ready_s: float
    in_force_s: float
    peak_mb: float


class Site(NamedTuple):
    """A workspace and a clone of its config repository."""

    workspace: Path
    clone: Path
    files: tuple[str, ...]

    @property
    def repository(self) -> Path:
        """The bare repository."""
        return self.workspace / "config.git"

    @property
    def database(self) -> Path:
        """The log."""
        return self.workspace / "data" / "log.db"

    def commit(self, number: int) -> str:
        """Change one manifest, another one for every number, and commit it; gives the commit's id."""
        path = self.clone / self.files[number * 7919 % len(self.files)]
        text = re.sub(r"revision: .*", f"revision: r{number}", path.read_text())
        path.write_text(text)
        call("git", "commit", "--quiet", "--all", "--message", f"change {number}", cwd=self.clone)
        return call("git", "rev-parse", "HEAD", cwd=self.clone).strip()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Served]:
        """Run `pai serve` until the block ends."""
        started = time.perf_counter()
        with (self.workspace / "serve.log").open("w+") as log:
            command = [pai(), "-w", str(self.workspace), "serve"]
            process = subprocess.Popen(command, env=environment(), stderr=log, text=True)
            try:
                await_ready(process, Path(log.name))
                ready_s = time.perf_counter() - started
                self._await_in_force()
                yield Served(ready_s, time.perf_counter() - started, _peak_mb(process.pid))
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                finally:
                    process.kill()

    def _await_in_force(self, timeout_s: float = 30) -> None:
        tip = call("git", "rev-parse", BRANCH, cwd=self.repository).strip().encode()
        deadline = time.monotonic() + timeout_s
        with contextlib.closing(open_reader(self.database)) as log:
            while tip not in (log.row(("log", "")) or b""):
                assert time.monotonic() < deadline, "the branch's tip did not come into force"
                time.sleep(POLL_S)


def await_ready(process: subprocess.Popen[str] | subprocess.Popen[bytes], log: Path, timeout_s: float = 120) -> None:
    """Wait until the daemon that writes to `log` says that it is ready."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"error: pai serve ended\n{log.read_text()}")
        if found := re.search(r"http://([\d.]+):(\d+)", log.read_text()):
            connection = http.client.HTTPConnection(found[1], int(found[2]), timeout=timeout_s)
            with contextlib.closing(connection):
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
        time.sleep(POLL_S)
    raise SystemExit(f"error: pai serve is not ready after {timeout_s} s\n{log.read_text()}")


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


@contextlib.contextmanager
def site(models: int = MODELS, agents: int = AGENTS) -> Iterator[Site]:
    """Make a workspace whose repository holds that many manifests, none of them judged yet."""
    folder = Path(tempfile.mkdtemp(prefix="pai-benchmark-"))
    try:
        workspace, clone = folder / "workspace", folder / "clone"
        call(pai(), "init", workspace)
        call("git", "clone", "--quiet", workspace / "config.git", clone)
        call("git", "checkout", "--quiet", "-B", BRANCH, cwd=clone)
        files = tuple(write_manifests(clone, models, agents))
        call("git", "add", ".", cwd=clone)
        call("git", "commit", "--quiet", "--message", "all manifests", cwd=clone)
        call("git", "push", "--quiet", WITHOUT_HOOK, "origin", BRANCH, cwd=clone)
        yield Site(workspace, clone, files)
    finally:
        shutil.rmtree(folder)
