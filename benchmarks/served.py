"""What the gateway's benchmark starts of Pai's own: simulated providers, and `pai serve` in front of them."""

from __future__ import annotations

import contextlib
import http.client
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.doors import BUDGET, Door, end
from benchmarks.load import HOST
from benchmarks.site import await_ready, call, environment, pai
from reconciler.core import keys
from reconciler.core.events import Draft, KeyIssued
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.providers import PROVIDERS
from reconciler.recorder import Recorder

PAI, UPSTREAM = "pai", "the upstream"
CHUNKS = 20
ALL_DAY = 10**12
"""The daily budget of the bindings that shall not run out."""
_SECRET = "sk-upstream"  # noqa: S105 (the simulator takes any)
_PROVIDER_OF = {"fast": "openai", "tight": "openai", "slow": "openrouter", "paced": "gemini"}
"""Each of the daemon's upstreams has a pace of its own, so each is another provider's address."""
_MODELS = {
    "fast": "gpt-4o",
    "tight": f"gpt-4o-tight-{PAI}",
    "slow": "openai/gpt-4o",
    "paced": "gemini-2.0-flash",
}


class Simulated(NamedTuple):
    """Simulated providers: the door of one of them, and the variables that tell Pai of all."""

    door: Door
    origins: dict[str, str]

    def of(self, provider: str) -> dict[str, str]:
        """Give the variable that tells Pai of one of them."""
        name = f"PAI_PROVIDERS_{provider.upper()}_BASE_URL"
        return {name: self.origins[name]}


@contextlib.contextmanager
def simulating(*options: str, provider: str = "openai") -> Iterator[Simulated]:
    """Run simulated providers until the block ends; the door is that of `provider`'s chat completions."""
    command = [sys.executable, "-m", "reconciler.simulator", "--chunks", str(CHUNKS), *options]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode().strip() for _ in range(4)]
        if not all(lines):
            raise SystemExit("error: the simulated providers did not start")
        origins = dict(line.split("=") for line in lines)
        port = int(origins[f"PAI_PROVIDERS_{provider.upper()}_BASE_URL"].rpartition(":")[2])
        path = PROVIDERS[provider].paths["chat"]
        yield Simulated(Door(UPSTREAM, port, (f"authorization: Bearer {_SECRET}",), 0, path), origins)
    finally:
        end(process)


def charged(upstream: Door, model: str) -> float:
    """Give the tokens that a simulated provider charged for a model until now."""
    connection = http.client.HTTPConnection(HOST, upstream.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/_simulator/charged")
        accounts = msgspec.json.decode(connection.getresponse().read())
    return float(sum(account["total"] for account in accounts if account["model"] == model))


@contextlib.contextmanager
def serving(folder: Path, upstream: Simulated, slow: Simulated, paced: Simulated) -> Iterator[Door]:
    """Make a workspace with bindings, an agent, a secret and a key, and run `pai serve` on it until the block ends."""
    workspace = folder / "workspace"
    call(pai(), "init", workspace)
    command = [pai(), "-w", str(workspace)]
    call(*command, "add", "secret", "upstream", "--from-literal", f"api-key={_SECRET}")
    for name, provider in _PROVIDER_OF.items():
        limit = str(BUDGET if name == "tight" else ALL_DAY)
        options = ("--provider", provider, "--model", _MODELS[name], "--api-key", "upstream", "--max-tokens-day", limit)
        call(*command, "add", "model", name, *options)
    call(*command, "add", "agent", "bench", *(f"--model={name}" for name in _PROVIDER_OF))
    key = _make_key(workspace / "data" / "log.db")
    with (workspace / "serve.log").open("w+") as log:
        settings = environment() | upstream.of("openai") | slow.of("openrouter") | paced.of("gemini")
        process = subprocess.Popen(
            [*command, "serve"], env=settings, stdout=log, stderr=log, text=True, start_new_session=True
        )
        try:
            await_ready(process, Path(log.name))
            found = re.search(r"gateway for agents on http://[\d.]+:(\d+)", Path(log.name).read_text())
            assert found is not None
            yield Door(PAI, int(found[1]), (f"authorization: Bearer {key}",), process.pid)
        finally:
            end(process)


def _make_key(database: Path) -> str:
    key = keys.make_key(secrets.token_bytes(keys.KEY_BYTES))
    issued = KeyIssued(agent="bench", digest=keys.digest(key), expires="", networks=[])
    with Recorder(SqliteBackend(database)) as recorder:
        recorder.record(lambda _: [Draft("bench@example.com", "key/key-benchmark", issued)])
    return key
