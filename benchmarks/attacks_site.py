"""What is attacked: a real `pai serve` of its own, simulated providers, a provider that breaks its word, and a probe.

Agents: `probe`, whose small requests are timed, and `attacker`, whose key an attack may use. Each has an upstream of
its own, so that what an attack makes a provider do does not slow the probe's. A daemon is new for each attack: memory
that one attack left would hide what the next one takes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.synchronize
import os
import re
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

from benchmarks.doors import end
from benchmarks.load import HOST
from benchmarks.served import simulating
from benchmarks.site import await_ready, call, environment, pai

SECONDS, SECONDS_QUICK = 5.0, 3.0
"""How long one attack goes on."""
CONTROL_S = 1.5
PACE_S = 0.02
SAMPLE_S = 0.02
SETTLE_S = 0.5
WARM = 25
NICE = 10
"""Attackers have machines of their own: here they yield to what they attack."""
_MB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CONTEXT = multiprocessing.get_context("spawn")
_TOKEN = "sk-upstream-of-the-attacks"  # noqa: S105 (the simulator takes any)
HOOK = "a-secret-that-both-know"
EVIL = (
    *("packed", "packed-stream", "trailers", "early-hints", "endless", "dripping", "event", "head"),
    *("tiny-events", "dear-events", "tiny-chunks", "tiny-objects", "one-member"),
)
"""Ways of the provider that breaks its word; each is a binding of this name (`attacks_provider`)."""


class Place(NamedTuple):
    """What an attack is told: both ports, an agent's key, a person's token, the workspace, and how long it may take."""

    gateway: int
    admin: int
    key: str
    token: str
    workspace: Path
    seconds: float


class Base(NamedTuple):
    """What all daemons share: the workspace, the keys, and the variables that name the providers."""

    workspace: Path
    keys: dict[str, str]
    origins: dict[str, str]


@contextlib.contextmanager
def base(folder: Path, evil: int) -> Iterator[Base]:
    """Make the workspace and run the simulated providers until the block ends; `evil` is the broken one's port."""
    workspace = folder / "workspace"
    call(pai(), "init", workspace)
    command = [pai(), "-w", str(workspace)]
    call(*command, "add", "secret", "upstream", "--from-literal", f"api-key={_TOKEN}")
    call(*command, "add", "secret", "hooks", "--from-literal", f"token={HOOK}")
    documents = [_model("small", "openai", "gpt-4o"), _agent("probe", "small")]
    documents += [_model("large", "anthropic", "claude-sonnet-4-6"), _agent("attacker", "large", *EVIL)]
    documents += [_model(name, "openrouter", f"evil/{name}") for name in EVIL]
    (folder / "manifests.yaml").write_text("---\n".join(documents))
    call(*command, "apply", "-f", folder / "manifests.yaml")
    keys = {agent: call(*command, "add", "key", agent).strip() for agent in ("probe", "attacker")}
    with simulating() as good, simulating() as loaded:
        of_evil = {"PAI_PROVIDERS_OPENROUTER_BASE_URL": f"http://{HOST}:{evil}"}
        yield Base(workspace, keys, good.of("openai") | loaded.of("anthropic") | of_evil)


def _model(name: str, provider: str, model: str) -> str:
    head = f"apiVersion: pai.io/v1\nkind: ModelBinding\nmetadata:\n  name: {name}\nspec:\n  provider: {provider}\n"
    return f"{head}  model: {model}\n  apiKeySecretRef:\n    name: upstream\n    key: api-key\n"


def _agent(name: str, *models: str) -> str:
    head = f"apiVersion: pai.io/v1\nkind: AgentWorkload\nmetadata:\n  name: {name}\nspec:\n"
    return f"{head}  modelBindings: [{', '.join(models)}]\n"


class Served(NamedTuple):
    """A running daemon."""

    place: Place
    pid: int
    probe_key: str


@contextlib.contextmanager
def serving(common: Base, seconds: float, further: dict[str, str]) -> Iterator[Served]:
    """Run `pai serve` until the block ends; `further` are variables beside the usual ones."""
    workspace = common.workspace
    settings = environment() | common.origins | {"PAI_WEBHOOKS_GITHUB": "hooks"} | further
    with (workspace / "serve.log").open("w+") as log:
        command = [pai(), "-w", str(workspace), "serve"]
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log, start_new_session=True)
        try:
            await_ready(process, Path(log.name))
            ports = {
                name: int(re.findall(rf"{name}.* on http://[\d.]+:(\d+)", Path(log.name).read_text())[0])
                for name in ("admin listener", "gateway")
            }
            token = (workspace / "data" / "admin.token").read_text().strip()
            place = Place(ports["gateway"], ports["admin listener"], common.keys["attacker"], token, workspace, seconds)
            yield Served(place, process.pid, common.keys["probe"])
        finally:
            end(process)


class Pace(NamedTuple):
    """Milliseconds of the probe's requests, from when each was due; `failed` were not answered with 200."""

    p50: float
    p99: float
    most: float
    failed: int


class Probe:
    """Another agent's small requests, one every `PACE_S`, from a process of its own; it runs from `begin` to `end`."""

    def __init__(self, served: Served) -> None:
        self._stop = _CONTEXT.Event()
        self._times: Queue[tuple[list[float], int]] = _CONTEXT.Queue()
        self._begun = _CONTEXT.Event()
        arguments = (served.place.gateway, served.probe_key, self._begun, self._stop, self._times)
        self._process = _CONTEXT.Process(target=_probe, args=arguments, daemon=True)

    def begin(self) -> None:
        """Return when it is warm."""
        self._process.start()
        if not self._begun.wait(60):
            raise SystemExit("error: the probe was not answered")

    def end(self) -> Pace:
        """Give what it measured."""
        self._stop.set()
        times, failed = self._times.get(timeout=120)
        self._process.join(10)
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        return Pace(cuts[49], cuts[98], max(times), failed)


def _probe(
    port: int,
    key: str,
    begun: multiprocessing.synchronize.Event,
    stop: multiprocessing.synchronize.Event,
    out: Queue[tuple[list[float], int]],
) -> None:
    request = chat(key, "small", '"Say hello to the world."')
    times: list[float] = []
    failed = number = 0
    connection = connected(port, 60)
    for _ in range(WARM):
        connection.sendall(request)
        answered(connection)
    begun.set()
    start = time.perf_counter()
    while not stop.is_set():
        due = start + number * PACE_S
        if (early := due - time.perf_counter()) > 0:
            time.sleep(early)
        try:
            connection.sendall(request)
            failed += not answered(connection).startswith(b"HTTP/1.1 200")
        except OSError:
            failed += 1
            connection.close()
            connection = _connected_again(port)
        late = time.perf_counter() - due
        while late > 0:  # what was due meanwhile has waited as long as this
            times.append(late * 1000)
            number += 1
            late -= PACE_S
    out.put((times, failed))


def _connected_again(port: int) -> socket.socket:
    while True:
        with contextlib.suppress(OSError):
            return connected(port, 60)
        time.sleep(0.1)


def connected(port: int, timeout_s: float) -> socket.socket:
    """Connect to one of the daemon's ports."""
    connection = socket.create_connection((HOST, port), timeout=timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(method: str, path: str, *lines: str) -> bytes:
    """Write the head of a request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "host: localhost", *lines, "", "")).encode()


def chat(key: str, model: str, content: str, *, path: str = "/v1/chat/completions", stream: bool = False) -> bytes:
    """Write a whole chat request; `content` is JSON."""
    more = ', "stream": true' if stream else ""
    body = f'{{"model": "{model}", "max_tokens": 30{more}, "messages": [{{"role": "user", "content": {content}}}]}}'
    lines = (f"x-api-key: {key}", "content-type: application/json", f"content-length: {len(body)}")
    return head("POST", path, *lines) + body.encode()


def answered(connection: socket.socket) -> bytes:
    """Read one answer that has a Content-Length, or all until the end of the connection."""
    data = b""
    while (begin := data.find(b"\r\n\r\n")) < 0:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("closed before an answer")
        data += more
    found = re.search(rb"\r\ncontent-length: *(\d+)", data[: begin + 2], re.IGNORECASE)
    missing = begin + 4 + int(found[1]) - len(data) if found else -1
    while missing:
        more = connection.recv(65536)
        if not more:
            break
        data += more
        missing -= len(more)
    return data


class Memory(NamedTuple):
    """MB of the daemon before, at most and at the end.

    `children`: what its children held alone, at most; `files`: what files of memory (memfd, tmpfs) on this machine
    by, at most; `growth`: what daemon, children and such files took together, at most at one time.
    """

    before: float
    peak: float
    after: float
    children: float
    files: float
    growth: float


class Sampler:
    """Watches a daemon's memory, that of its children, and files of memory, until `end`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._peak = _resident(pid)[0]
        self._files_before = _files()
        self._children_before = self._children = self._held_by_children()
        self._files = self._growth = 0.0
        self._stop = threading.Event()
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak until now: man 5 proc
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> Memory:
        """Give what was seen."""
        time.sleep(SETTLE_S)
        self._stop.set()
        self._thread.join()
        status = Path(f"/proc/{self._pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        peak = max(self._peak, int(found[1]) / 1024 if found else 0.0)
        growth = max(self._growth, peak - self._before)
        return Memory(self._before, peak, _resident(self._pid)[0], self._children, self._files, growth)

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            own, children = _resident(self._pid)[0], self._held_by_children()
            files = max(0.0, _files() - self._files_before)
            self._peak = max(self._peak, own)
            self._children = max(self._children, children)
            self._files = max(self._files, files)
            self._growth = max(self._growth, own - self._before + children - self._children_before + files)

    def _held_by_children(self) -> float:
        return sum(_resident(pid)[1] for pid in _descendants(self._pid))


def _files() -> float:
    """Give the MB in files of memory (memfd_create, tmpfs), which no process's resident memory shows unless mapped."""
    found = re.search(r"^Shmem: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _resident(pid: int) -> tuple[float, float]:
    """Give the resident MB of a process, and those which it does not share; 0 if it has ended."""
    with contextlib.suppress(OSError, ValueError):
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
        return resident * _PAGE / _MB, (resident - shared) * _PAGE / _MB
    return 0.0, 0.0


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for member in found:
        with contextlib.suppress(OSError):  # it has ended
            for task in Path(f"/proc/{member}/task").glob("*/children"):
                found += map(int, task.read_text().split())
    return found[1:]
