"""What the tests of the whole share: a workspace in a folder of its own, `pai` and `git` as real processes, a daemon.

Nothing of the machine's own git or Pai configuration reaches the processes started here. Nothing sleeps for a fixed
time; whatever takes its time is polled with a deadline.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from reconciler import quick
from reconciler.audit.query import search
from reconciler.audit.terms import EventRow, parse_terms
from reconciler.core.state import State
from reconciler.log.replay import fold, projected
from reconciler.log.store import Log, Reader
from reconciler.tlog.merkle import Frontier
from reconciler.workspace import Workspace

PAI = str(Path(sysconfig.get_path("scripts"), "pai"))
DEADLINE_S = 30.0
"""How long anything may take on a busy machine before a test gives up."""

T = TypeVar("T")


def until(what: str, probe: Callable[[], T | None], deadline_s: float = DEADLINE_S) -> T:
    """Give the first true thing that `probe` gives; fail, saying what was waited for, after the deadline."""
    deadline = time.monotonic() + deadline_s
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {deadline_s} s in vain: {what}"
        time.sleep(0.01)


def binding(name: str, budget: object = 1000, *, provider: str = "gemini", model: str = "gemini-2.0-flash") -> str:
    """Give a ModelBinding's YAML; a budget of None leaves the field out."""
    limit = "" if budget is None else f"  maxTokensPerDay: {budget}\n"
    return (
        f"apiVersion: pai.io/v1\nkind: ModelBinding\nmetadata:\n  name: {name}\nspec:\n"
        f"  provider: {provider}\n  model: {model}\n{limit}"
        "  apiKeySecretRef:\n    name: gemini-key\n    key: api-key\n"
    )


def agent(name: str, *models: str) -> str:
    """Give an AgentWorkload's YAML."""
    items = "".join(f"  - {model}\n" for model in models)
    return f"apiVersion: pai.io/v1\nkind: AgentWorkload\nmetadata:\n  name: {name}\nspec:\n  modelBindings:\n{items}"


BAD = binding("bad").replace("maxTokensPerDay", "maxTokenPerDay")
"""A manifest with one error: at line 8, column 3."""


class Done(NamedTuple):
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Read stdout as JSON."""
        return json.loads(self.out)


def run(command: list[str], env: Mapping[str, str], cwd: Path, stdin: str | bytes = b"") -> Done:
    """Run a process to its end."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(command, env=dict(env), cwd=cwd, input=data, capture_output=True, check=False, timeout=120)
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


class Git:
    """The git program in one folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)

    def run(self, *words: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Done:
        """Run git, whatever comes of it."""
        return run(["git", *words], {**self.environment, **(env or {})}, self.folder, stdin)

    def __call__(self, *words: str, stdin: str | bytes = b"") -> str:
        """Run git, which must succeed, and give its trimmed output."""
        done = self.run(*words, stdin=stdin)
        assert done.code == 0, (words, done)
        return done.out.strip()

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        """Write files into the work tree; None removes one."""
        for name, content in files.items():
            place = self.folder / name
            if content is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, str | bytes | None] | None = None, message: str = "change") -> str:
        """Write files, commit everything, and give the commit's id."""
        self.write(files or {})
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return self("rev-parse", "HEAD")

    def push(self, *words: str, env: Mapping[str, str] | None = None) -> Done:
        """Push to origin, `main` unless told otherwise, whatever comes of it."""
        return self.run("push", "--quiet", "origin", *(words or ("HEAD:main",)), env=env)

    def pushed(self, files: Mapping[str, str | bytes | None], message: str = "change") -> str:
        """Commit files and push them, which must succeed."""
        sha = self.commit(files, message)
        done = self.push()
        assert done.code == 0, done
        return sha


class Site:
    """A workspace, and a home where nobody has configured anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "workspace"
        home = folder / "home"
        home.mkdir(exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Alice",
            "GIT_AUTHOR_EMAIL": "alice@example.com",
            "GIT_COMMITTER_NAME": "Bob",
            "GIT_COMMITTER_EMAIL": "bob@example.com",
            "PAI_ADMIN_LISTEN": "127.0.0.1:0",
            "PAI_GATEWAY_LISTEN": "127.0.0.1:0",
            quick.VARIABLE: os.environ.get(quick.VARIABLE, ""),
        }
        self.outputs: list[str] = []

    @property
    def database(self) -> Path:
        """The log's file."""
        return self.root / "data" / "log.db"

    def log(self) -> Log:
        """Give the log, wherever it is."""
        return Workspace.open(self.root, {}).log()

    @property
    def bare(self) -> Git:
        """Git in the config repository."""
        return Git(self.root / "config.git", self.environment)

    def run(
        self,
        *words: str | Path,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Done:
        """Run pai inside the workspace (or in `cwd`), whatever comes of it; its output is kept in `outputs`."""
        where = cwd or (self.root if self.root.is_dir() else self.folder)
        done = run([PAI, *map(str, words)], {**self.environment, **(env or {})}, where, stdin)
        self.outputs += [done.out, done.err]
        assert "Traceback" not in done.err, done.err
        return done

    def pai(self, *words: str | Path, code: int = 0, stdin: str | bytes = b"", **options: Any) -> Done:
        """Run pai inside the workspace and check its exit code."""
        done = self.run(*words, stdin=stdin, **options)
        assert done.code == code, (words, done)
        return done

    def clone(self, name: str = "clone") -> Git:
        """Clone the config repository into a new folder."""
        place = self.folder / name
        Git(self.folder, self.environment)("clone", "--quiet", str(self.root / "config.git"), str(place))
        return Git(place, self.environment)

    def rows(self, *terms: str) -> list[dict[str, Any]]:
        """Give the events that match, oldest first."""
        query = parse_terms(terms, datetime.now(UTC))
        with contextlib.closing(self.log().reader()) as log:
            return [msgspec.to_builtins(row) for row in search(log, query, oldest_first=True)]

    def types(self, *terms: str) -> list[str]:
        """Give the types of the events that match, oldest first, without their version and without the daemon's own."""
        types = [str(row["type"]).removesuffix(".v1") for row in self.rows(*terms, "-agent:admin.token")]
        return [name for name in types if not name.startswith(("daemon.", "log."))]

    def outcomes(self) -> list[tuple[str, str]]:
        """Give (commit, outcome) of every revision event, oldest first."""
        return [(row["data"]["commit"], row["type"].split(".")[1]) for row in self.rows("type:revision")]

    def state(self) -> State:
        """Read the state in force from the log."""
        with contextlib.closing(self.log().reader()) as log:
            return projected(log)

    def daemon(self, *, env: Mapping[str, str] | None = None, ready: bool = True) -> Daemon:
        """Give a daemon of this workspace, to be entered; with `ready`, entering waits until it is."""
        return Daemon(self, env=env, ready=ready)


class Daemon:
    """`pai serve` as a real process; entering waits until it answers, leaving ends it by SIGTERM and wants exit 0."""

    def __init__(self, site: Site, *, env: Mapping[str, str] | None = None, ready: bool = True, files: int = 0) -> None:
        """`files`: how many files it may have open at once, 0 for as many as the test."""
        self._site = site
        self._command = [PAI, "serve"]
        if files:
            limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"
            self._command = [sys.executable, "-c", f"import os, resource; {limit}; os.execv({PAI!r}, {self._command})"]
        self._environment = {**site.environment, **(env or {})}
        self._ready = ready
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if kind is not None:
            self.kill()
            return
        code = self.stop()
        assert code == 0, (code, self.log)

    def start(self) -> None:
        """Start the process, and wait until it answers on the admin listener and on its socket."""
        self._log = self._site.folder / f"serve-{time.monotonic_ns()}.log"
        with self._log.open("wb") as stream:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._site.root,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
            )
        try:
            self.port = int(until("the daemon's address", self._address))
            until("the daemon's answer", lambda: self._answers() or self._raise_if_ended())
            until("the control socket", (self._site.root / "data" / "pai.sock").exists)
        except BaseException:
            self.kill()
            raise

    def _address(self) -> str | None:
        self._raise_if_ended()
        found = re.search(r"admin listener on http://\S+:(\d+)", self.log)
        return found[1] if found else None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _ = self.get("/readyz")
            return status == 200 or not self._ready
        return False

    def _raise_if_ended(self) -> None:
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}: {self.log}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """What the daemon has said on stderr."""
        return self._log.read_text("utf-8", "replace")

    def get(self, path: str) -> tuple[int, str]:
        """Ask the admin listener; give status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Give the status and the JSON of /readyz."""
        status, body = self.get("/readyz")
        return status, json.loads(body)

    def stop(self) -> int:
        """End the daemon by SIGTERM and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """Kill the daemon; it has no chance to tidy up."""
        self.process.kill()
        self.process.wait(DEADLINE_S)


def replayed(log: Reader) -> State:
    """Fold the whole log from position 0, snapshots and projection passed over."""
    state, frontier = State(), Frontier()
    fold(state, frontier, log.chunks())
    assert frontier.pack() == log.head().peaks
    return state


def assert_whole(rows: Iterable[EventRow]) -> None:
    """Check that every revision is on the log as a whole: its object events add up to its counts, none is left over."""
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        family, verb, _ = row.type.split(".")
        if family in ("binding", "agent"):
            seen[row.data["revision"], verb] += 1
        elif row.type == "revision.accepted.v1":
            counts = row.data["counts"]
            commit = row.data["commit"]
            found = {verb: seen.pop((commit, verb), 0) for verb in ("created", "changed", "deleted")}
            assert found == {verb: counts[verb] for verb in found}, commit
    assert not seen


def make(folder: Path) -> Site:
    """Make a new workspace with `pai init`."""
    site = Site(folder)
    site.pai("init", site.root)
    return site


def copied(template: Site, folder: Path) -> Site:
    """Make a workspace by copying one: cheaper than a new one, and a workspace may be moved."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(template.root, folder / "workspace", symlinks=True)
    return Site(folder)


@contextlib.contextmanager
def maybe_daemon(site: Site, wanted: bool) -> Iterator[None]:
    """Have a daemon run meanwhile, or none."""
    if not wanted:
        yield
        return
    with site.daemon():
        yield
