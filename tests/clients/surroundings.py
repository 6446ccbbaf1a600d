"""What a client finds around it: a gateway whose bindings have budgets, what `pai env` exports, and no way out.

Bindings are named as models are: some clients know a model's window and abilities by its name alone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.acceptance.sdk.gate import REPLY
from tests.clients import installed
from tests.support import DEADLINE_S, PAI, Site, agent
from tests.support_gateway import PROVIDER_KEYS, SECRET, Bench, asked, bound, headers_of

DAY = 10_000_000
SMALL_DAY = 600
"""A budget that a test spends by asking."""
LIVE = {
    "gpt-4o": ("openai", "gpt-4o"),
    "gpt-6-sol": ("openai", "gpt-6-sol"),
    "o3-mini": ("openai", "o3-mini"),
    "claude-sonnet-4-6": ("anthropic", "claude-sonnet-4-6"),
    "gemini-flash": ("gemini", "gemini-2.5-flash"),
    "router": ("openrouter", "vendor/model"),
}
SPENT = {
    "gpt-4o-mini": ("openai", "gpt-4o-mini", "chat"),
    "claude-haiku-4-5": ("anthropic", "claude-haiku-4-5", "messages"),
    "gemini-lite": ("gemini", "gemini-2.0-flash", "generate"),
    "router-spent": ("openrouter", "vendor/smaller", "chat"),
}
NOTE = "the sea is calm"
"""What a client's tool finds out, and sends to the model."""
PROVIDER_HOSTS = {"api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com", "openrouter.ai"}
CLIENT_S = 180
"""How long a client may take: it only has to end, on a machine that is busy."""

__all__ = ["REPLY"]


def prepare(site: Site) -> None:
    """Put the bindings, all with a budget, and their agent in force."""
    files = {f"models/{n}.yaml": bound(n, provider, day=DAY, model=model) for n, (provider, model) in LIVE.items()}
    for name, (provider, model, _) in SPENT.items():
        files[f"models/{name}.yaml"] = bound(name, provider, day=SMALL_DAY, model=model)
    files["agents/robot.yaml"] = agent("robot", *LIVE, *SPENT)
    site.clone("prepared").pushed(files, "Bindings for the clients")
    words = [word for name, value in PROVIDER_KEYS.items() for word in ("--from-literal", f"{name}={value}")]
    site.pai("add", "secret", SECRET, *words)
    site.pai("reconcile")


class Way(NamedTuple):
    """What the proxy that clients are given was asked for: `host:port`, oldest first. It leads nowhere."""

    url: str
    asked: list[str]

    def providers(self, since: int) -> list[str]:
        """Give the providers' own hosts that it was asked for since so many."""
        return [name for name in self.asked[since:] if name.rpartition(":")[0] in PROVIDER_HOSTS]


@contextlib.contextmanager
def no_way_out() -> Iterator[Way]:
    """Have a proxy on loopback that refuses whatever is asked of it, at once, and remembers it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        way = Way(f"http://127.0.0.1:{server.getsockname()[1]}", [])
        thread = threading.Thread(target=_refuse, args=(server, way.asked))
        thread.start()
        try:
            yield way
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread
            thread.join()


def _refuse(server: socket.socket, asked_for: list[str]) -> None:
    with contextlib.suppress(OSError):  # the end
        while True:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(DEADLINE_S)
                words = connection.recv(4096).decode("latin-1").split(" ")
                asked_for.append(words[1] if len(words) > 1 else "")
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class Shell:
    """A shell of an agent's user, after `eval "$(pai env robot --new-key)"`."""

    def __init__(self, bench: Bench, way: Way) -> None:
        self.bench = bench
        self.way = way
        plain = {**bench.site.environment, "PATH": os.environ["PATH"]}
        command = 'eval "$("$0" env robot --new-key)" && exec env -0'
        done = subprocess.run(
            ["bash", "-c", command, PAI], cwd=bench.site.root, env=plain, capture_output=True, check=True
        )
        after = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)
        self.exported = {name: value for name, value in after.items() if plain.get(name) != value}

    def run(
        self, command: Sequence[str | Path], home: Path, lines: dict[str, str], cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a client with what `pai env` exported, the lines that docs/gateway.md gives for it, and nothing else."""
        environment = {
            "PATH": installed.path(),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "HTTPS_PROXY": self.way.url,
            "HTTP_PROXY": self.way.url,
            "https_proxy": self.way.url,
            "http_proxy": self.way.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **self.exported,
            **lines,
        }
        return subprocess.run(
            [str(word) for word in command],
            cwd=cwd or home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=CLIENT_S,
        )

    def refused(self) -> int:
        """Give how many requests the gateway refused because a day was spent."""
        return int(self.bench.metric('pai_requests_refused_total{reason="day-budget"}'))

    def noted(self, model: str) -> int:
        """Give how many requests told a provider's model what a tool found out."""
        return sum(NOTE in visit.body for visit in self.bench.seen(model))


def spend(bench: Bench, key: str) -> None:
    """Ask the small bindings until not even the smallest request fits into their day."""
    for name, (_, _, operation) in SPENT.items():
        path, body = asked(operation, name, "x", limit=1000 if operation == "messages" else None)
        for _ in range(SMALL_DAY):
            answer = httpx.post(f"{bench.origin}{path}", json=body, headers=headers_of(operation, key), timeout=60)
            if answer.status_code == 429:
                break
            assert answer.status_code == 200, answer.text
        else:
            raise AssertionError(f"{name} has room without end")
