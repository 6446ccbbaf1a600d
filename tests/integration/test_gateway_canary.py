"""No secret, key, prompt or completion gets anywhere but on the wire: planted canaries are looked for everywhere."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.simulator import Fault, Simulator
from tests.support import Site, copied
from tests.support_gateway import (
    EXPIRED,
    OUTSIDER,
    PAIRS,
    PROVIDER_KEYS,
    ROBOT,
    Bench,
    asked,
    headers_of,
    key_of,
)

PROMPT = "Qx7canaryprompt"
SYSTEM = "Zv3canarysystem"
REPLY = "Wk5canaryreply "
UNKNOWN = key_of("a key that nobody issued")
CANARIES = {
    "prompt": PROMPT,
    "system": SYSTEM,
    "reply": REPLY.strip(),
    "key": ROBOT,
    "other key": OUTSIDER,
    "expired key": EXPIRED,
    "unknown key": UNKNOWN,
    "provider's answer to an error": "Hj9canaryerror",
    "tool": "Lp2canarytool",
    "user": "Gm4canaryuser",
    **{f"secret of {name}": value for name, value in PROVIDER_KEYS.items()},
}


def forms(value: str) -> Iterator[bytes]:
    """Give the ways in which a value may have been written: plain, base64 at any offset, hex, in a URL, backwards."""
    plain = value.encode()
    yield plain
    for shift in range(3):
        yield base64.b64encode(b"\0" * shift + plain)[4 * bool(shift) : -4]
    yield plain.hex().encode()
    yield urllib.parse.quote(value, safe="").encode()
    yield plain[::-1]
    yield json.dumps(value).encode()[1:-1]


@pytest.fixture
def planted(gateway_template: Site, tmp_path: Path) -> Iterator[Bench]:
    """Give a gateway whose providers speak the canary."""
    accepted = {name: {key} for name, key in PROVIDER_KEYS.items()}
    with (
        Simulator(keys=accepted, text=REPLY) as simulator,
        Bench(copied(gateway_template, tmp_path), simulator, {}).running() as bench,
    ):
        yield bench


def talk(bench: Bench) -> list[httpx.Response]:
    """Have every kind of conversation, good and bad, on every surface; give all answers."""
    answers = []
    tools = {"tools": [{"type": "function", "function": {"name": "Lp2canarytool", "parameters": {}}}]}
    for operation, provider in PAIRS:
        more = tools if operation == "chat" else {}
        user = {"user": "Gm4canaryuser"} if operation in ("chat", "responses") else {}
        for stream in (False, True):
            answers.append(bench.ask(operation, provider, PROMPT, stream=stream, **more, **user))
            bench.simulator.fault(Fault(status=400, message="Hj9canaryerror"))
            answers.append(bench.ask(operation, provider, PROMPT, stream=stream))
            for fault in (Fault(refuse=True), Fault(cut_after=5), Fault(garbage=True), Fault(usage="none")):
                bench.simulator.fault(fault)
                with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
                    answers.append(bench.ask(operation, provider, f"{SYSTEM} {PROMPT}", stream=stream))
        answers += [bench.ask(operation, provider, PROMPT, key=key) for key in (UNKNOWN, EXPIRED, OUTSIDER)]
        answers += [bench.ask(operation, f"{provider}-{kind}", PROMPT * 600) for kind in ("spent", "keyless", "small")]
        answers.append(bench.raw(operation, provider, f'{{"model": "{provider}", {PROMPT}'.encode()))
        answers.append(bench.raw(operation, provider, json.dumps({"model": provider, "n": PROMPT}).encode()))
    answers.append(bench.client.post(f"/v1/chat/completions?key={ROBOT}", content=PROMPT.encode()))
    answers.append(bench.client.post(f"/v1/{PROMPT}?key={ROBOT}", json={}))
    return answers


def leaks(data: bytes) -> list[str]:
    """Name the canaries that some bytes hold, in any form."""
    return [name for name, value in CANARIES.items() if any(form in data for form in forms(value))]


def test_canaries_are_found_where_they_are() -> None:
    """The search itself finds a canary in each of its forms, so that finding none means something."""
    for name, value in CANARIES.items():
        for form in forms(value):
            assert name in leaks(b"..." + form + b"...")
    assert leaks(hashlib.sha256(ROBOT.encode()).hexdigest().encode()) == []


def test_nothing_of_a_conversation_is_kept_or_shown(planted: Bench) -> None:
    """After every kind of conversation no file of the workspace, log line, metric, event or command has any of it."""
    answers = talk(planted)
    assert sum(REPLY.strip() in answer.text for answer in answers) >= 2 * len(PAIRS), "the canary was spoken"
    planted.quiet()
    site = planted.site
    shown = [planted.daemon.get(path)[1] for path in ("/metrics", "/readyz", "/healthz", "/")]
    verbs: list[list[str]] = [["log", "-o", "json"], ["usage"], ["status", "robot"], ["get", "keys"], ["get", "models"]]
    verbs += [["get", "secrets", "-o", "json"], ["describe", "model", "openai"], ["describe", "agent", "robot"]]
    shown += [site.run(*words).out for words in verbs]
    request = planted.tokens("openai")[0]["data"]["request"]
    shown.append(site.pai("why", request).out)
    assert leaks("".join(shown).encode()) == []
    assert leaks("".join(site.outputs).encode()) == []
    assert planted.daemon.stop() == 0
    assert leaks(planted.daemon.log.encode()) == []
    files = [place for place in site.root.rglob("*") if place.is_file()]
    assert len(files) > 10
    assert {place.name: found for place in files if (found := leaks(place.read_bytes()))} == {}
    assert [row for row in site.rows() if leaks(json.dumps(row).encode())] == []


def test_errors_do_not_repeat_what_they_refuse(planted: Bench) -> None:
    """No error of the gateway's own holds a key, a secret or the content that it refuses."""
    for answer in talk(planted):
        if answer.status_code == 200 or "Hj9canaryerror" in answer.text:
            continue
        own = {
            name for name in leaks(answer.content) if "key" in name or "secret" in name or name in ("system", "reply")
        }
        assert own == set(), (answer.status_code, answer.text)
        assert leaks(str(answer.headers).encode()) == []


def test_crash_leaves_nothing_behind(planted: Bench) -> None:
    """A daemon that was killed in mid-conversation has written nothing of it either."""
    planted.simulator.fault(Fault(delay_s=0.2))
    path, body = asked("chat", "openai", PROMPT, stream=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError))
        answer = stack.enter_context(planted.client.stream("POST", path, json=body, headers=headers_of("chat")))
        next(answer.iter_bytes())
        planted.daemon.kill()
    files = [place for place in planted.site.root.rglob("*") if place.is_file()]
    assert {place.name: found for place in files if (found := leaks(place.read_bytes()))} == {}
    assert leaks(planted.daemon.log.encode()) == []
    planted.restart()
