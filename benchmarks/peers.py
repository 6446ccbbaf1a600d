"""Other gateways beside Pai in the same run, each in front of the same upstream: LiteLLM, Portkey, nginx.

LiteLLM comes from PyPI into an environment of its own, Portkey from npm; nginx is used if it is installed. One that
cannot be had is left out, and why is said on standard error. Each runs as its own documentation says, one worker,
without logs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benchmarks import installed
from benchmarks.doors import BUDGET, Door, free_port, running
from benchmarks.installed import from_pypi, install
from benchmarks.load import HOST
from benchmarks.site import environment

START_S = 180.0
LITELLM, PORTKEY, NGINX = "LiteLLM", "Portkey", "nginx"


@contextlib.contextmanager
def started(folder: Path, upstream: str) -> Iterator[dict[str, Door]]:
    """Run the peers that can be had in front of `upstream` (an origin), by name, until the block ends."""
    with contextlib.ExitStack() as stack:
        doors: dict[str, Door] = {}
        for name, start in _PEERS.items():
            place = folder / name
            place.mkdir()
            try:
                doors[name] = stack.enter_context(start(place, upstream))
            except (OSError, subprocess.SubprocessError) as error:
                print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
        yield doors


@contextlib.contextmanager
def _litellm(folder: Path, upstream: str) -> Iterator[Door]:
    command = from_pypi("litellm", "litellm[proxy]")
    config = folder / "config.yaml"  # JSON is YAML
    config.write_bytes(msgspec.json.encode(_litellm_config(upstream)))
    port = free_port()
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR"}
    options = ["--config", str(config), "--host", HOST, "--port", str(port), "--num_workers", "1"]
    with running([str(command), *options], environment() | settings, folder / "log", port, START_S) as pid:
        yield Door(LITELLM, port, ("authorization: Bearer sk-benchmark",), pid)


def _litellm_config(upstream: str) -> dict[str, object]:
    """Give two models, the second with a daily budget: in money, so that a token costs one of it."""

    def model(name: str, upstream_model: str, **more: object) -> dict[str, object]:
        given = {"model": f"openai/{upstream_model}", "api_base": f"{upstream}/v1", "api_key": "sk-upstream"}
        return {"model_name": name, "litellm_params": given | more}

    costs = {"input_cost_per_token": 1, "output_cost_per_token": 1}
    tight = model("tight", "gpt-4o-tight-litellm", max_budget=BUDGET, budget_duration="1d", **costs)
    return {"model_list": [model("fast", "gpt-4o"), tight], "general_settings": {"master_key": "sk-benchmark"}}


@contextlib.contextmanager
def _portkey(folder: Path, upstream: str) -> Iterator[Door]:
    place = installed.folder("portkey")
    server = place / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not server.exists():
        print("installing Portkey from npm ...", file=sys.stderr, flush=True)
        place.mkdir(parents=True, exist_ok=True)
        # A newer server under it breaks every stream: https://github.com/Portkey-AI/gateway/issues/1389
        wanted = {"dependencies": {"@portkey-ai/gateway": "*"}, "overrides": {"@hono/node-server": "1.11.1"}}
        (place / "package.json").write_bytes(msgspec.json.encode(wanted))
        install("npm", "install", "--no-audit", "--no-fund", "--prefix", place)
    port = free_port()
    settings = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": f"{HOST},localhost"}
    command = ["node", str(server), f"--port={port}", "--headless"]
    with running(command, environment() | settings, folder / "log", port, START_S) as pid:
        headers = (
            "authorization: Bearer sk-upstream",
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: {upstream}/v1",
        )
        yield Door(PORTKEY, port, headers, pid)


@contextlib.contextmanager
def _nginx(folder: Path, upstream: str) -> Iterator[Door]:
    command = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if command is None:
        raise OSError("it is not installed")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, host=HOST, port=port, upstream=upstream.removeprefix("http://")))
    options = ["-p", str(folder), "-c", str(config), "-e", str(folder / "error.log"), "-g", "daemon off;"]
    with running([command, *options], environment(), folder / "log", port, START_S) as pid:
        yield Door(NGINX, port, ("authorization: Bearer sk-upstream",), pid)


_NGINX = """\
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream simulator {{ server {upstream}; keepalive 1024; keepalive_requests 1000000; }}
    server {{
        listen {host}:{port} backlog=2048;
        location / {{
            proxy_pass http://simulator;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""

_PEERS: dict[str, Callable[[Path, str], contextlib.AbstractContextManager[Door]]] = {
    LITELLM: _litellm,
    PORTKEY: _portkey,
    NGINX: _nginx,
}
