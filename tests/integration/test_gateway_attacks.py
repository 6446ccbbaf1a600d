"""An agent that looks for ways around: other models, others' bindings, hidden usage, the provider's key."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket
from pathlib import Path

import pytest

from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.daemon.serve import FILES
from reconciler.simulator import Fault
from tests.support import DEADLINE_S, agent, until
from tests.support_gateway import (
    MODEL_IDS,
    OUTSIDER,
    PROVIDER_KEYS,
    ROBOT,
    Bench,
    asked,
    bound,
    headers_of,
    refused,
)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/openai", 200),
        ("GET", "/v1/models/hidden", 403),
        ("GET", "/v1/models/nothing", 404),
        ("GET", "/nothing", 404),
        ("HEAD", "/", 404),
        ("PUT", "/v1/messages", 405),
        ("OPTIONS", "/v1/chat/completions", 405),
        ("POST", "/v1/chat/completions", 400),
    ],
)
def test_every_answer_names_its_request_and_binding(bench: Bench, method: str, path: str, status: int) -> None:
    """Whatever is asked, the answer carries the request's id and the binding's name; a 405 says what is allowed."""
    answer = bench.client.request(method, path, headers=headers_of("chat"))
    assert answer.status_code == status
    assert answer.headers["x-pai-request-id"].startswith("req_")
    name = path.rpartition("/")[2] if path.startswith("/v1/models/") else ""
    assert answer.headers["x-pai-binding"] == name
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x00\xa5", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", b"400"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", b"400"),
    ],
)
def test_answer_to_what_is_no_request_names_one_too(bench: Bench, sent: bytes, status: bytes) -> None:
    """Also what no application sees is answered with an id, and leaves no line for each piece of garbage."""
    with socket.create_connection(("127.0.0.1", bench.port), timeout=DEADLINE_S) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nx-pai-request-id: req_" in answer
    assert b"\r\nx-pai-binding: " in answer
    assert "Invalid HTTP" not in bench.daemon.log


def test_garbage_behind_a_request_does_not_break_its_answer(bench: Bench) -> None:
    """What comes behind a whole request is judged after that request was answered."""
    bench.simulator.fault(Fault(wait_s=0.3, model=MODEL_IDS["openai"]))
    path, body = asked("chat", "openai")
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {ROBOT}\r\ncontent-length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", bench.port), timeout=DEADLINE_S) as connection:
        connection.sendall(head.encode() + data + b"\x00\x01 garbage\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.rstrip().endswith(b"}")


def test_binding_of_others_is_no_model_of_this_agent(bench: Bench) -> None:
    """A model that is asked for by name is a 403 if it is another agent's binding, as it is everywhere."""
    found = bench.client.get("/v1/models/hidden", headers=headers_of("chat"))
    assert refused("chat", found).status == 403
    listed = bench.client.get("/v1/models", headers=headers_of("chat")).json()
    assert "hidden" not in [model["id"] for model in listed["data"]]


def test_headers_of_several_lines_go_upstream_whole(bench: Bench) -> None:
    """A header in several lines, as clients send betas, loses none of them; UTF-8 in one stays as it is."""
    path, body = asked("messages", "anthropic")
    headers = [*headers_of("messages").items(), ("anthropic-beta", "one-1"), ("anthropic-beta", "two-2")]
    sent = [(name.encode(), value.encode()) for name, value in (*headers, ("x-title", "Grüße"))]
    assert bench.client.post(path, json=body, headers=sent).status_code == 200
    seen = dict(bench.seen("anthropic")[-1].headers)
    assert seen["anthropic-beta"] == "one-1, two-2"
    assert seen["x-title"].encode("latin-1").decode() == "Grüße"


def test_usage_cannot_be_masked_out(bench: Bench) -> None:
    """What would leave the usage out of Gemini's answer stays here, in a header as in the query."""
    path, body = asked("generate", "gemini")
    headers = {**headers_of("generate"), "x-goog-fieldmask": "candidates", "X-Goog-Field-Mask": "candidates"}
    answer = bench.client.post(path, params={"fields": "candidates"}, json=body, headers=headers)
    assert answer.status_code == 200
    seen = bench.seen("gemini")[-1]
    assert seen.query == ""
    assert not [name for name, _ in seen.headers if "mask" in name]


@pytest.mark.parametrize("operation", ["chat", "responses", "messages"])
def test_openrouter_is_not_told_of_other_models(bench: Bench, operation: str) -> None:
    """On every surface the binding's model is the only one: OpenRouter's own list of alternatives does not go up."""
    answer = bench.ask(operation, "openrouter", models=["openrouter"], route="fallback")
    assert answer.status_code == 200
    sent = json.loads(bench.seen("openrouter")[-1].body)
    assert not {"models", "route"} & set(sent)


def test_embeddings_take_alternatives_like_any_openai_body(bench: Bench) -> None:
    """`models` in the body of embeddings names bindings to try in order."""
    answer = bench.ask("embeddings", "openai-spent", models=["openai"])
    assert (answer.status_code, answer.headers["x-pai-binding"]) == (200, "openai")


def test_absurd_need_is_told_in_a_number_that_the_log_keeps(bench: Bench) -> None:
    """Limits that add up to more than JSON keeps exactly are noted as the most that it does."""
    most = 2**53 - 1
    answer = bench.ask("messages", "anthropic", limit=most, thinking={"type": "enabled", "budget_tokens": most - 1})
    assert refused("messages", answer).status == 429
    terms = ("type:request.refused", "model:anthropic")
    rows = until("the refusal on the log", lambda: bench.site.rows(*terms))
    assert {row["data"]["needed"] <= MAX_SAFE_INTEGER for row in rows} == {True}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_error_that_repeats_the_providers_key_does_not_show_it(bench: Bench, provider: str) -> None:
    """An agent never sees the provider's key, also where the provider says it back; the rest is as it came."""
    operation = {"openai": "chat", "anthropic": "messages", "gemini": "generate"}[provider]
    key = PROVIDER_KEYS[provider]
    message = f"Incorrect API key provided: {key}. It is wrong."
    bench.simulator.fault(Fault(status=401, message=message, model=MODEL_IDS[f"{provider}-free"]))
    answer = bench.ask(operation, f"{provider}-free")
    assert answer.status_code == 401
    assert key not in answer.text
    assert message.replace(key, "***") in answer.text


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1beta/v1beta/models/gemini:generateContent", "/v1/models/gemini:generateContent"),
        ("/v1beta/chat/completions", "/v1/chat/completions"),
    ],
)
def test_wrong_base_url_is_told_the_right_path(bench: Bench, path: str, meant: str) -> None:
    """An SDK whose base URL has a part too many learns which path was meant."""
    answer = bench.client.post(path, json={}, headers=headers_of("chat"))
    assert answer.status_code == 404
    assert f"did you mean {meant}?" in answer.json()["error"]["message"]
    assert "did you mean" not in bench.client.post("/v1/files", json={}).json()["error"]["message"]


@pytest.mark.parametrize("operation", ["chat", "messages", "generate"])
def test_unknown_name_is_answered_with_the_agents_bindings(bench: Bench, operation: str) -> None:
    """Who names a provider's model instead of a binding is told the names that work, and no other agent's."""
    found = refused(operation, bench.ask(operation, "gpt-4o", key=OUTSIDER))
    assert found.status == 404
    assert found.message.endswith("the bindings of agent outsider: hidden")


def test_gateway_takes_all_the_files_it_may_open(own: Bench) -> None:
    """A thousand streams are two thousand files: the daemon asks for what the system gives it."""
    limits = Path(f"/proc/{own.daemon.process.pid}/limits").read_text()
    soft, hard = re.findall(r"Max open files +(\d+) +(\d+)", limits)[0]
    assert soft == hard == str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def test_table_of_open_files_is_as_large_as_it_gets(own: Bench) -> None:
    """Whenever it grows, everybody waits: it has room for all connections before the first one comes."""
    status = Path(f"/proc/{own.daemon.process.pid}/status").read_text()
    size = int(re.findall(r"FDSize:\t(\d+)", status)[0])
    assert size >= min(FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


@pytest.mark.parametrize(
    ("operation", "field"),
    [("messages", "output_format"), ("messages", "fallback_credit_token"), ("responses", "moderation")],
)
def test_what_a_count_does_not_see_is_counted_by_its_bytes(own: Bench, operation: str, field: str) -> None:
    """A field that the provider's count endpoint is not asked about cannot carry a prompt past the day."""
    provider = {"messages": "anthropic", "responses": "openai"}[operation]
    own.site.clone().pushed(
        {
            "models/small-day.yaml": bound("small-day", provider, day=3000),
            "agents/tiny.yaml": agent("tiny", "small-day"),
        }
    )
    own.site.pai("reconcile")
    key = own.site.pai("add", "key", "tiny").out.strip()
    assert own.ask(operation, "small-day", "a" * 4000, key=key).status_code == 200, (
        "counted, a prompt of 4,000 bytes fits"
    )
    hidden = {field: {"schema": "words " * 1000}}
    assert refused(operation, own.ask(operation, "small-day", key=key, **hidden)).status == 429


def test_many_large_bodies_of_one_agent_do_not_take_all_memory(own: Bench) -> None:
    """Of fifteen bodies of 30 MB that never end a few are read; other agents do not wait, nothing stays taken."""
    path, _ = asked("chat", "openai")
    size = 30_000_000
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {ROBOT}\r\ncontent-length: {size}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(15):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", own.port), timeout=0.3))
            with contextlib.suppress(TimeoutError):  # this one is not read any further
                connection.sendall(head.encode() + b" " * (size - 1))
        assert own.ask("chat", "hidden", "a" * 100_000, key=OUTSIDER).status_code == 200
    assert own.ask("chat", "openai", "a" * 1_000_000).status_code == 200
    peak = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{own.daemon.process.pid}/status").read_text())
    assert int(peak[0]) < 300 * 1024


def _beginnings(stack: contextlib.ExitStack, port: int, number: int, key: str) -> None:
    """Begin so many requests of 30 MB at once, and send of each as much as is taken."""
    path, _ = asked("chat", "openai")
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{key}content-length: 30000000\r\n\r\n"
    opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(number)]
    for connection in opened:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(head.encode() + b" " * 250_000)


def test_bodies_that_nobody_asked_for_are_not_read_ahead(own: Bench) -> None:
    """Of requests without a key little is read before they are refused, however many come at once."""
    status = Path(f"/proc/{own.daemon.process.pid}/status")
    before = int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
    with contextlib.ExitStack() as stack:
        _beginnings(stack, own.port, 800, "")
        assert own.ask("chat", "openai").status_code == 200
    assert int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) - before < 50 * 1024


def test_many_small_bodies_of_one_agent_do_not_take_all_memory(own: Bench) -> None:
    """Of 2,000 bodies of 64 KiB that lack a byte, most are kept outside of the daemon's memory, or refused."""
    path, _ = asked("chat", "openai")
    status = Path(f"/proc/{own.daemon.process.pid}/status")
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {ROBOT}\r\ncontent-length: 65536\r\n\r\n"
    before = int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
    with contextlib.ExitStack() as stack:
        for _ in range(2000):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", own.port)))
            with contextlib.suppress(ConnectionError):
                connection.sendall(head.encode() + b" " * 65_535)
        assert own.ask("chat", "hidden", key=OUTSIDER).status_code == 200
    assert int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) - before < 90 * 1024


def test_who_has_too_many_large_bodies_waiting_is_refused(own: Bench) -> None:
    """A hundred bodies of one agent wait for room; the next one is told to come again, and other agents are served."""
    with contextlib.ExitStack() as stack:
        _beginnings(stack, own.port, 101, f"x-api-key: {ROBOT}\r\n")
        until("a refusal", lambda: own.ask("chat", "openai", "a" * 100_000).status_code == 503)
        assert own.ask("chat", "hidden", "a" * 100_000, key=OUTSIDER).status_code == 200


def test_refused_requests_leave_nothing_behind(own: Bench) -> None:
    """The bodies of refused requests are let go at once, whatever the reason, also while the refusal is counted."""
    large = "a" * 20_000_000
    for _ in range(6):
        assert own.ask("chat", "openai-spent", large).status_code == 429
        assert own.ask("chat", "openai", large, n=0).status_code == 400
        assert own.ask("chat", "openai-spent", large, models=["nothing"]).status_code == 429
    resident = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{own.daemon.process.pid}/status").read_text())
    assert int(resident[0]) < 200 * 1024
