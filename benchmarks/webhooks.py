"""How long a push to a remote takes from its webhook to in force, and what ten thousand forged webhooks do.

The remote is the repository of 10,000 manifests behind git's own smart HTTP on loopback, which `pai serve` would poll
once an hour: only the webhook tells it. The clock starts before the delivery is sent and stops when a reader of the log
finds the revision there. Then a process of its own sends forged and oversized deliveries as fast as they are answered,
while pushes go on as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import http.server
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

from benchmarks.site import BRANCH, WITHOUT_HOOK, Site, await_ready, call, environment, pai, percentile, site
from benchmarks.table import Row, at_most, note
from reconciler.log.sqlite.store import SqliteReader, open_reader

SECRET = "a-secret-that-both-know"  # noqa: S105 (of the benchmark)
BODY = b'{"ref": "refs/heads/main"}'
FORGED = 10_000
CONNECTIONS = 8
POLL_S = 0.000_5
TIMEOUT_S = 30.0


class Daemon(NamedTuple):
    """The daemon that is measured."""

    process: subprocess.Popen[str]
    port: int

    def fetches(self) -> tuple[float, float]:
        """Give the seconds that the daemon has spent in git's fetching, and how many fetches that were."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        found = [
            re.findall(rf"^pai_source_fetch_duration_seconds_{part}{{.*}} (\S+)$", text, re.MULTILINE)
            for part in ("sum", "count")
        ]
        return sum(map(float, found[0])), sum(map(float, found[1]))

    def rss_mb(self) -> float:
        """Give the memory that it holds now."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1024


def run(quick: bool) -> list[Row]:
    """Measure 200 pushes, then 100 beside 10,000 forged deliveries; or 20, 10 and 1,000."""
    rounds, beside, forged = (20, 10, 1_000) if quick else (200, 100, FORGED)
    with (
        site() as place,
        _remote(place.workspace) as url,
        _serving(place, url) as daemon,
        contextlib.closing(open_reader(place.database)) as log,
    ):
        first = daemon.fetches()
        alone = [_push(place, daemon, log, number) for number in range(1, rounds + 1)]
        fetched = daemon.fetches()
        fetches = [_fetch(place, url) for _ in range(10)]
        before = daemon.rss_mb()
        with _flood(daemon.port, forged) as answers:
            flooded = [_push(place, daemon, log, rounds + number) for number in range(1, beside + 1)]
            statuses, took_s = answers.get(timeout=600)
        after = daemon.rss_mb()
    fetch = percentile(fetches, 50)
    name, git = "webhook to in force, one file of 10,000: ", "`git fetch` of nothing"
    refused = statuses["401"] + statuses["413"]
    return [
        at_most(f"{name}p50", percentile(alone, 50), 100, "ms", fetch, git),
        at_most(f"{name}p99", percentile(alone, 99), 400, "ms", fetch, git),
        note(f"{name}git's fetching of it, mean", 1000 * (fetched[0] - first[0]) / (fetched[1] - first[1]), "ms"),
        at_most(f"forged and oversized, {forged:,} sent: not refused", forged - refused, 0, ""),
        note("forged and oversized: answers", forged / took_s, "answers/s"),
        note("forged and oversized: memory before", before, "MB"),
        note("forged and oversized: memory after", after, "MB"),
        note(f"{name}p50 beside them", percentile(flooded, 50), "ms"),
        note(f"{name}p99 beside them", percentile(flooded, 99), "ms"),
    ]


def _push(place: Site, daemon: Daemon, log: SqliteReader, number: int) -> float:
    """Push one file to the remote, deliver its webhook, and give the milliseconds until it is in force."""
    commit = place.commit(number).encode()
    call("git", "push", "--quiet", WITHOUT_HOOK, "origin", BRANCH, cwd=place.clone)
    started = time.perf_counter()
    status = _deliver(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=TIMEOUT_S), BODY, _signature(BODY))
    if status != "200":
        raise SystemExit(f"error: a delivery was answered {status}")
    while commit not in (log.row(("log", "")) or b""):
        if time.perf_counter() > started + TIMEOUT_S:
            raise SystemExit("error: a push did not come into force")
        time.sleep(POLL_S)
    return (time.perf_counter() - started) * 1000


def _fetch(place: Site, url: str) -> float:
    """Give the milliseconds that git itself needs to ask the remote for what is new."""
    started = time.perf_counter()
    call("git", "fetch", "--quiet", url, BRANCH, cwd=place.clone)
    return (time.perf_counter() - started) * 1000


def _signature(body: bytes) -> str:
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def _deliver(connection: http.client.HTTPConnection, body: bytes, signature: str) -> str:
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature, "Content-Type": "application/json"}
    with contextlib.closing(connection):
        connection.request("POST", "/webhooks/github", body, headers)
        with connection.getresponse() as answer:
            answer.read()
            return str(answer.status)


@contextlib.contextmanager
def _flood(port: int, count: int) -> Iterator[Queue[tuple[Counter[str], float]]]:
    """Send forged deliveries from another process while the block runs; it gives statuses and seconds at its end."""
    context = multiprocessing.get_context("spawn")
    answers: Queue[tuple[Counter[str], float]] = context.Queue()
    sender = context.Process(target=_send_forged, args=(port, count, answers))
    sender.start()
    try:
        yield answers
    finally:
        sender.join(30)
        sender.kill()


def _send_forged(port: int, count: int, answers: Queue[tuple[Counter[str], float]]) -> None:
    statuses: Counter[str] = Counter()
    started = time.perf_counter()

    def send(numbers: range) -> None:
        for number in numbers:
            statuses[_forged(port, number)] += 1

    threads = [threading.Thread(target=send, args=(range(first, count, CONNECTIONS),)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put((statuses, time.perf_counter() - started))


def _forged(port: int, number: int) -> str:
    """Send one: a wrong proof of a small or of a large body, too much by its length, or too much in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    match number % 10:
        case 0:
            return _deliver(connection, b"x" * 1_000_000, "sha256=" + "0" * 64)
        case 1:
            return _raw(port, b"Content-Length: 1000000000\r\n\r\n", b"")
        case 2:
            return _raw(port, b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n")
        case _:
            return _deliver(connection, BODY, "sha256=" + "0" * 64)


def _raw(port: int, head: bytes, chunk: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: pai\r\nX-Hub-Signature-256: sha256=0\r\n" + head)
        with contextlib.suppress(ConnectionError):
            for _ in range(17 if chunk else 0):
                connection.sendall(chunk)
        with contextlib.suppress(ConnectionError):
            return connection.recv(64)[9:12].decode()
    return "reset"


@contextlib.contextmanager
def _serving(place: Site, url: str) -> Iterator[Daemon]:
    """Run `pai serve` on the remote, with a secret for webhooks and nearly no polling, until the block ends."""
    command = [pai(), "-w", str(place.workspace)]
    call(*command, "add", "secret", "hooks", "--from-literal", f"token={SECRET}")
    settings = environment() | {
        "PAI_SOURCE_REPO": url,
        "PAI_SOURCE_INTERVAL": "1h",
        "PAI_WEBHOOKS_GITHUB": "hooks",
    }
    with (place.workspace / "serve.log").open("w+") as log:
        process = subprocess.Popen([*command, "serve"], env=settings, stderr=log, text=True)
        try:
            await_ready(process, Path(log.name))
            place._await_in_force()
            found = re.search(r"admin listener on http://[\d.]+:(\d+)", Path(log.name).read_text())
            assert found is not None
            yield Daemon(process, int(found[1]))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            finally:
                process.kill()


@contextlib.contextmanager
def _remote(folder: Path) -> Iterator[str]:
    """Serve the workspace's repository by git's own smart HTTP; gives its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    _Handler.environment = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/config.git"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    environment: dict[str, str]

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        request = {
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        command = ["git", "http-backend"]
        done = subprocess.run(command, env=self.environment | request, input=body, capture_output=True, check=False)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        self.send_response_only(200)
        for line in head.decode("latin-1").splitlines():
            name, _, value = line.partition(": ")
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(rest)
