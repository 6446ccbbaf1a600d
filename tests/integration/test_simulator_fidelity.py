"""The simulator against recordings of the real providers: shapes, events and framing are those that were recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from reconciler.simulator import Simulator
from tests.support_simulator import (
    PATHS,
    TRAFFIC,
    Got,
    Record,
    events,
    records,
    request,
    send,
    shape,
    streaming,
    tools,
)

pytestmark = pytest.mark.skipif(not TRAFFIC.is_dir(), reason="the recorded traffic is not beside the project")

NO_SURFACE = "completions"
"""Recorded, but no API of the gateway's, and so not simulated."""
SIMULATED = [r for r in records() if r.api != NO_SURFACE]
KINDS = sorted({(r.provider, r.api, r.streaming) for r in SIMULATED})
STREAMS = [kind for kind in KINDS if kind[2]]
CALLS = sorted({(r.provider, r.api, r.streaming) for r in SIMULATED if "tool-call" in r.tags and r.streaming})


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Give the providers, running."""
    with Simulator() as running:
        yield running


def alike(provider: str, api: str, stream: bool) -> list[Record]:
    """Give the recorded good answers of a kind."""
    kind = (provider, api, stream)
    found = [r for r in records() if (r.provider, r.api, r.streaming) == kind and r.status == 200]
    return [r for r in found if "mid-stream-error" not in r.tags]


def bodies(provider: str, api: str, prompt: str = "Hello", **more: object) -> dict[str, Any]:
    """Give a request whose answer has all the parts that a plain one can have."""
    models = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}
    model = {} if "Content" in api or api == "countTokens" else {"model": models.get(provider, "openai/gpt-4o")}
    if api == "embeddings":
        model = {}
    return request(api, prompt, **model, **more)


@pytest.mark.parametrize(("provider", "api", "stream"), KINDS)
def test_shape_is_as_recorded(simulator: Simulator, provider: Any, api: str, stream: bool) -> None:
    """An answer has every member that all recorded ones have, and none that no recorded one has."""
    recorded = [set(_shapes(r.body, stream)) for r in alike(provider, api, stream)]
    prompt = "Hello"
    more: dict[str, Any] = streaming(api, stream)
    if (provider, api) == ("gemini", "chat"):  # the one recording is a call
        prompt, more = "call the tool", {"tools": tools(api)}

    got = send(simulator, provider, PATHS[provider, api], bodies(provider, api, prompt, **more))

    assert got.status == 200, got
    mine = set(_shapes(got.body.decode(), stream))
    assert mine - set.union(*recorded) == set()
    required = set.intersection(*recorded)
    if len(recorded) == 1:  # what a single one has, another may lack
        required = {path for path in required if path.count(".") == 1}
    assert required - mine == set()


def _shapes(body: str, stream: bool) -> Iterator[str]:
    if not stream:
        yield from shape(json.loads(body))
        return
    for name, data in events(body):
        if data and data != "[DONE]":
            value = json.loads(data)
            yield from (f"{name or value.get('type', '')}{path}" for path in shape(value))


@pytest.mark.parametrize(
    ("provider", "api", "stream", "asked"),
    [(*kind, asked) for kind in STREAMS for asked in ("text", "thought")] + [(*kind, "tool") for kind in CALLS],
)
def test_events_come_in_a_recorded_order(
    simulator: Simulator, provider: Any, api: str, stream: bool, asked: str
) -> None:
    """The events of a stream, repeated ones taken as one, come in an order that was recorded."""
    recorded = {order(r.body): r.name for r in alike(provider, api, stream)}
    more = streaming(api, stream)
    if asked == "tool":
        more["tools"] = tools(api)
    elif asked == "thought":
        more |= {"thinking": {"type": "adaptive"}} if api == "messages" else {"reasoning": {"effort": "low"}}
    prompt = "call the tool" if asked == "tool" else "Hello"
    if api.endswith("Content"):
        more.pop("reasoning", None)

    got = send(simulator, provider, PATHS[provider, api], bodies(provider, api, prompt, **more))

    found = order(got.body.decode())
    assert found in recorded or (asked != "text" and any(_within(found, known) for known in recorded)), found


def order(body: str) -> tuple[str, ...]:
    """Give what kind of event follows what; comments come and go with time, and pings with them."""
    kinds = []
    for name, data in events(body):
        if name in (":", "ping"):
            continue
        if data == "[DONE]":
            kinds.append(data)
            continue
        value = json.loads(data)
        kinds.append(name or value.get("type") or _chunk_kind(value))
    return tuple(kind for kind, _ in groupby(kinds))


def _chunk_kind(value: Any) -> str:
    """Tell chunks without a type apart: whether they hold choices, and whether they tell usage."""
    if "candidates" in value:
        return "candidates"
    choices = "choice" if value["choices"] else "no choice"
    return choices + (" usage" if value.get("usage") else "")


def _within(found: tuple[str, ...], known: tuple[str, ...]) -> bool:
    """Tell whether an order is a recorded one in which something more happened in between."""
    rest = iter(known)
    return found[0] == known[0] and found[-1] == known[-1] and all(kind in rest for kind in found)


@pytest.mark.parametrize(("provider", "api", "stream"), KINDS)
def test_framing_is_as_recorded(simulator: Simulator, provider: Any, api: str, stream: bool) -> None:
    """Media type, line ends, names of events, comments and the last line are those of a recorded answer."""
    real = [r for r in alike(provider, api, stream) if r.request is not None and "request-unknown" not in r.tags]

    got = send(simulator, provider, PATHS[provider, api], bodies(provider, api, **streaming(api, stream)))

    framing = _framing(got.headers["content-type"], got.body.decode())
    assert framing in [_framing(r.content_type, r.body) for r in real]


def _framing(content_type: str, body: str) -> dict[str, object]:
    if "json" in content_type:
        return {"type": content_type}
    found = events(body)
    return {
        "type": content_type,
        "crlf": "\r\n\r\n" in body,
        "done": body.endswith("data: [DONE]\n\n"),
        "named": any(name not in ("", ":") for name, _ in found),
        "comments": any(name == ":" for name, _ in found),
    }


@pytest.mark.parametrize("record", [r for r in SIMULATED if r.status >= 400], ids=lambda r: r.name)
def test_refusal_is_as_recorded(simulator: Simulator, record: Record) -> None:
    """An error body has the members of the recorded one with the same status, and the same status inside."""
    path = PATHS[record.provider, record.api]
    fault = {"status": record.status, "retry_after": 30} if record.status == 429 else {"status": record.status}
    assert send(simulator, record.provider, "/_simulator/faults", fault).status == 200

    got = send(simulator, record.provider, path, bodies(record.provider, record.api))

    assert got.status == record.status
    mine, theirs = set(shape(got.json)), set(shape(json.loads(record.body)))
    assert {place.split(".")[1] for place in theirs} - {"request_id", "user_id"} <= {p.split(".")[1] for p in mine}
    inner = {place for place in theirs if place.count(".") == 2}
    assert inner - mine <= {".error.metadata", ".error.details"}
    for member in ("code", "status") if record.provider == "gemini" else ():
        assert got.json["error"][member] == json.loads(record.body)["error"][member]
    if record.provider == "anthropic":
        assert got.json["error"]["type"] == json.loads(record.body)["error"]["type"]


@pytest.mark.parametrize("record", [r for r in SIMULATED if r.status == 200 and r.request], ids=lambda r: r.name)
def test_recorded_request_is_understood(simulator: Simulator, record: Record) -> None:
    """A request that the real provider answered is answered, within its own limit and never for more than its bytes."""
    path = PATHS[record.provider, record.api]
    before = simulator.total(record.provider)

    got = send(simulator, record.provider, path, record.request)

    assert got.status == 200, got.body
    charged = simulator.total(record.provider)
    assert charged.input - before.input <= len(json.dumps(record.request))
    _check_limit(record, got, charged.output - before.output)


def _check_limit(record: Record, got: Got, output: int) -> None:
    body = record.request
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    limits = [body[name] for name in names if body.get(name)]
    config = body.get("generationConfig", {})
    limits += [config["maxOutputTokens"]] if config.get("maxOutputTokens") else []
    if limits:
        assert output <= min(limits) * (body.get("n") or 1), got.body
