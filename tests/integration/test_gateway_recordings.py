"""Every recorded exchange goes through the gateway and settles exactly what its record says should be charged.

A server on loopback answers with the recorded bytes; the gateway, its workspace and its log are real. The recordings
lie beside the project and are read from there.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn

from reconciler.core import events as ev
from reconciler.core import keys
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder
from tests.integration.test_recorded_traffic import NAMES, NOT_MET, record
from tests.support import DEADLINE_S, Daemon, Site, agent
from tests.support_gateway import key_of

KEY = key_of("replayer")
CHUNK = 700
"""Bytes of an answer that are sent at a time."""
GROUPS = ("openai", "anthropic", "gemini", "openrouter")

NOT_OFFERED = {
    "completions": "the legacy API is not served",
    "responses_compact": "compaction is not served",
    "input_tokens": "counting for responses is asked by the gateway itself only",
}
REFUSED_HERE = {"openai/033": "an output limit of 0 is refused with 400 before anything is sent"}
MINIMAL: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": "hi"},
    "embeddings": {"input": "hi"},
    "messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]},
    "count_tokens": {"messages": [{"role": "user", "content": "hi"}]},
}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
    "messages": "/v1/messages",
    "count_tokens": "/v1/messages/count_tokens",
}


def binding_of(name: str) -> str:
    """Name the binding of a record."""
    return name.replace("/", "-")


def model_of(name: str) -> str:
    """Give the model id by which the replaying server knows the record."""
    return name if name.startswith("openrouter") else binding_of(name)


def manifest(name: str) -> str:
    """Give a binding without a limit for one record."""
    return (
        f"apiVersion: pai.io/v1\nkind: ModelBinding\nmetadata:\n  name: {binding_of(name)}\n"
        f"spec:\n  provider: {name.partition('/')[0]}\n  model: {model_of(name)}\n"
        "  apiKeySecretRef:\n    name: k\n"
    )


async def replay(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was recorded for the model that the request names."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    path = scope["path"]
    model = path.rpartition(":")[0].rpartition("/")[2] if ":" in path else msgspec.json.decode(body)["model"]
    answer = record(model if "/" in model else model.replace("-", "/", 1))["response"]
    content_type = answer["content_type"] or "application/json"
    headers = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": answer["status"], "headers": headers})
    data = answer["body"].encode()
    for at in range(0, len(data), CHUNK):
        await send({"type": "http.response.body", "body": data[at : at + CHUNK], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Run the replaying server."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(replay, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(DEADLINE_S)


@pytest.fixture(scope="module")
def gateway(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    """Serve a workspace with a binding for every record; give it and the gateway's address."""
    assert NAMES, "the recordings are missing: they belong to ../shared/recorded-traffic"
    site = Site(tmp_path_factory.mktemp("recordings"))
    site.pai("init", site.root)
    files = {f"models/{binding_of(name)}.yaml": manifest(name) for name in NAMES}
    files["agents/replayer.yaml"] = agent("replayer", *map(binding_of, NAMES))
    site.clone().pushed(files, "A binding for every record")
    site.pai("add", "secret", "k", "--from-literal", "token=not-a-real-key")
    site.pai("reconcile")
    issued = ev.KeyIssued(agent="replayer", digest=keys.digest(KEY), expires="", networks=[])
    with Recorder(SqliteBackend(site.database, wait_s=DEADLINE_S)) as recorder:
        recorder.record(lambda _: [ev.Draft("alice@example.com", "key/key-replayer", issued)])
    site.environment |= {f"PAI_PROVIDERS_{provider.upper()}_BASE_URL": origin for provider in GROUPS}
    with Daemon(site) as daemon:
        port = re.search(r"gateway for agents on http://\S+:(\d+)", daemon.log)
        assert port
        yield site, f"http://127.0.0.1:{port[1]}"


def request_of(name: str) -> tuple[str, dict[str, Any]]:
    """Give the path and the body by which an agent would make the recorded request."""
    entry = record(name)
    api, given = entry["api"], (entry["request"] or {}).get("body")
    if api in PATHS:
        body = dict(given if isinstance(given, dict) else MINIMAL[api])
        body.pop("models", None)  # alternatives are bindings here
        streams = {"stream": entry["streaming"]} if api in ("chat", "responses", "messages") else {}
        return PATHS[api], body | {"model": binding_of(name)} | streams
    body = dict(given if isinstance(given, dict) else CONTENTS)
    body.pop("model", None)
    query = "?alt=sse" if entry["streaming"] and entry["response"]["content_type"] != "application/json" else ""
    return f"/v1beta/models/{binding_of(name)}:{api}{query}", body


def outcomes(site: Site) -> dict[str, dict[str, Any]]:
    """Give the one outcome of each binding's request, with its `verb`."""
    found: dict[str, dict[str, Any]] = {}
    for row in site.rows("type:tokens"):
        name, verb = row["subject"].removeprefix("model/"), row["type"].split(".")[1]
        if verb != "reserved":
            assert name not in found, f"{name} was resolved twice"
            found[name] = {"verb": verb, **row["data"]}
    return found


def difference(name: str, outcome: dict[str, Any] | None) -> str:
    """Say in what an outcome is not the one of the record, "" in nothing."""
    entry = record(name)
    expected = entry["expected"] or {}
    charge = expected.get("charge")
    verb = outcome["verb"] if outcome else "not resolved"
    if outcome and verb == "settled" and charge is not None:
        numbers = {"charge": outcome["charged"], "input": outcome["input"], "output": outcome["output"]}
        wrong = {key: got for key, got in numbers.items() if expected.get(key) not in (None, got)}
        beside = expected.get("extra_iterations") or []  # apart from the record's numbers, but for its charge
        return "" if not wrong or (beside and "charge" not in wrong) else f"{wrong} instead of {expected}"
    if verb == "voided" and not charge and entry["response"]["status"] >= 300:
        return ""
    return "" if verb == "forfeited" and charge is None else f"{verb}, and the record says {charge}"


def test_every_recorded_exchange_settles_what_its_record_says(gateway: tuple[Site, str]) -> None:
    """What differs is the table of the meter's test, and APIs that are not served; no more and no less."""
    site, address = gateway
    offered = [name for name in NAMES if record(name)["api"] not in NOT_OFFERED]
    assert len(offered) > 300
    with httpx.Client(base_url=address, headers={"authorization": f"Bearer {KEY}"}, timeout=DEADLINE_S) as client:
        for name in offered:
            path, body = request_of(name)
            answer = client.post(path, json=body)
            assert answer.status_code == record(name)["response"]["status"], (name, answer.text)
    found = outcomes(site)
    report = {name: text for name in offered if (text := difference(name, found.get(binding_of(name))))}

    unmet = {
        name for name, (numbers, _) in NOT_MET.items() if name in offered and numbers & {"usage", "output", "charge"}
    }
    assert set(report) == unmet | set(REFUSED_HERE), report
