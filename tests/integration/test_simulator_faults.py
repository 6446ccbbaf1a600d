"""The simulator's faults: each does what it says, to the request that it is meant for and to no other."""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from reconciler.simulator import Fault, Provider, Simulator
from tests.support import until
from tests.support_simulator import PATHS, SPEAKING, request, send, streaming

HELLO: Any = [{"role": "user", "content": "Hello"}]
CHAT = PATHS["openai", "chat"]
STREAMS = [pair for pair in SPEAKING if pair[1] != "generateContent"]
WHOLE = [pair for pair in SPEAKING if pair[1] != "streamGenerateContent"]


@pytest.fixture
def simulator(caplog: pytest.LogCaptureFixture) -> Iterator[Simulator]:
    """Give the providers, running; whatever goes wrong was wanted, and so nothing is logged."""
    with Simulator() as running:
        yield running
    assert [record.getMessage() for record in caplog.records if record.name.startswith(("uvicorn", "asyncio"))] == []


def stream(simulator: Simulator, provider: Provider, api: str, fault: Fault) -> Any:
    """Ask for a stream that has a fault."""
    simulator.fault(fault)
    return send(simulator, provider, PATHS[provider, api], request(api, **streaming(api, True)))


def usages(got: Any) -> list[dict[str, Any]]:
    """Give every usage that a stream tells, wherever its API has it."""
    found = []
    for event in got.events:
        if event != "[DONE]":
            inner = event.get("response") or event.get("message") or event
            found.append(inner.get("usage") or inner.get("usageMetadata"))
    return [usage for usage in found if usage]


def said(body: bytes) -> str:
    """Give the text of all pieces, in whatever format."""
    return "".join(re.findall(r'"(?:content|text|delta)":\s*"([a-z ]*)"', body.decode()))


def output(usage: dict[str, Any]) -> int:
    """Give a usage's output without thoughts."""
    names = ("completion_tokens", "output_tokens", "candidatesTokenCount")
    return next((int(usage[name]) for name in names if name in usage), 0)


def test_fault_meets_the_request_that_it_is_meant_for(simulator: Simulator) -> None:
    """Provider, model, path and number of requests choose; the first fault in the queue that fits is taken."""
    simulator.fault(
        Fault(status=500, provider="anthropic"),
        Fault(status=503, model="gpt-4o", times=2),
        Fault(status=404, path="embeddings"),
    )
    asked = [(CHAT, "chat"), (PATHS["openai", "embeddings"], "embeddings"), (CHAT, "chat"), (CHAT, "chat")]
    assert [send(simulator, "openai", path, request(api)).status for path, api in asked] == [503, 404, 503, 200]
    assert simulator.pending() == [Fault(status=500, provider="anthropic")]
    assert send(simulator, "anthropic", PATHS["anthropic", "messages"], request("messages")).status == 500
    assert simulator.pending() == []


def test_faults_are_queued_over_http(simulator: Simulator) -> None:
    """POST adds one or several, GET tells what waits, DELETE forgets; a fault that is none is refused."""
    control = "/_simulator/faults"
    assert send(simulator, "gemini", control, {"status": 429, "retry_after": 7}).json == [
        {"status": 429, "retry_after": 7}
    ]
    assert len(send(simulator, "openai", control, [{"refuse": True}, {"gzip": True, "times": 3}]).json) == 3
    assert send(simulator, "openai", CHAT, request("chat")).headers["retry-after"] == "7"
    assert len(send(simulator, "openai", control, b"", method="GET").json) == 2
    assert send(simulator, "openai", control, b"", method="DELETE").json == []
    assert simulator.pending() == []
    for wrong in ({"statos": 1}, {"usage": "maybe"}, b"{"):
        assert send(simulator, "openai", control, wrong).status == 400
    assert send(simulator, "openai", "/_simulator/other", b"").status == 404
    assert simulator.charged == {}
    assert len(simulator.requests()) == 1


def test_retry_after_is_told_where_the_provider_tells_it(simulator: Simulator) -> None:
    """A header, or Google's RetryInfo; Anthropic says besides whether to try again; own headers replace."""
    simulator.fault(Fault(status=429, retry_after=1.5, headers={"X-Should-Retry": "false"}, times=3))
    openai_got = send(simulator, "openai", CHAT, request("chat"))
    anthropic_got = send(simulator, "anthropic", PATHS["anthropic", "messages"], request("messages"))
    gemini_got = send(simulator, "gemini", PATHS["gemini", "generateContent"], request("generateContent"))
    simulator.fault(Fault(status=529))
    overloaded = send(simulator, "anthropic", PATHS["anthropic", "messages"], request("messages"))

    assert openai_got.headers["retry-after"] == anthropic_got.headers["retry-after"] == "1.5"
    assert anthropic_got.headers["x-should-retry"] == "false"
    assert overloaded.headers["x-should-retry"] == "true"
    assert gemini_got.json["error"]["details"][0]["retryDelay"] == "1.5s"


def test_refused_connection_ends_without_an_answer(simulator: Simulator) -> None:
    """The connection is closed before a byte of an answer, and nothing is charged."""
    simulator.fault(Fault(refuse=True))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        send(simulator, "openai", CHAT, request("chat"))
    assert simulator.charged == {}
    assert send(simulator, "openai", CHAT, request("chat")).status == 200


def test_unreachable_provider_refuses_connections_and_comes_back(simulator: Simulator) -> None:
    """While a provider is down nothing listens on its port; the others do, and it returns to the same port."""
    origin = simulator.origin("openai")
    with simulator.unreachable("openai"):
        with pytest.raises(ConnectionRefusedError):
            send(simulator, "openai", CHAT, request("chat"))
        assert send(simulator, "anthropic", PATHS["anthropic", "messages"], request("messages")).status == 200
    assert simulator.origin("openai") == origin
    assert send(simulator, "openai", CHAT, request("chat")).status == 200


def test_open_connections_are_cut_when_a_provider_goes_down(simulator: Simulator) -> None:
    """A stalled answer ends when its provider stops."""
    simulator.fault(Fault(stall_s=60, stall_after=1))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(send, simulator, "openai", CHAT, request("chat", stream=True))
        until("the request", simulator.requests)
        simulator.down("openai")
        assert asked.exception(20) is not None or asked.result().broken


@pytest.mark.parametrize("where", ["before the headers", "before the first chunk", "between chunks"])
def test_stall_is_where_it_is_wanted(simulator: Simulator, where: str) -> None:
    """An answer stalls before its headers, after them, or after a chunk, and then goes on to its end."""
    stalls = {"before the headers": Fault(wait_s=0.4), "before the first chunk": Fault(stall_s=0.4)}
    simulator.fault(stalls.get(where, Fault(stall_s=0.4, stall_after=3)))
    moments: list[tuple[float, bytes]] = []
    raw = json.dumps(request("chat", stream=True)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {len(raw)}\r\n\r\n"
    port = int(simulator.origin("openai").rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + raw)
        start = time.monotonic()
        while not b"".join(data for _, data in moments).endswith(b"\r\n0\r\n\r\n"):
            data = connection.recv(65536)
            moments.append((time.monotonic() - start, data))

    gaps = [after - before for (before, _), (after, _) in itertools.pairwise([(0.0, b""), *moments])]
    longest = gaps.index(max(gaps))
    assert gaps[longest] >= 0.3
    early = b"".join(data for _, data in moments[:longest])
    late = b"".join(data for _, data in moments[longest:])
    assert b"data: [DONE]\n\n" in late
    assert (early.count(b"200 OK"), said(early)) == {
        "before the headers": (0, ""),
        "before the first chunk": (1, ""),
        "between chunks": (1, "one red sun set "),
    }[where]


def test_stall_ends_when_the_client_leaves(simulator: Simulator) -> None:
    """A client that gives up ends the stall; the answer counts as charged, and as not delivered."""
    simulator.fault(Fault(wait_s=60), Fault(stall_s=60, stall_after=1))
    with openai.OpenAI(api_key="k", base_url=simulator.origin("openai") + "/v1", max_retries=0, timeout=1) as client:
        for streamed in (False, True):
            with pytest.raises((openai.APITimeoutError, openai.APIConnectionError)):
                list(client.chat.completions.create(model="m", messages=HELLO, stream=streamed))
    until("the end", lambda: [seen.delivered for seen in simulator.requests()] == [False, False])
    assert [seen.status for seen in simulator.requests()] == [None, 200]
    assert simulator.total().requests == 2


def test_slow_chunks_come_one_by_one(simulator: Simulator) -> None:
    """Every chunk waits; so does every answer of a simulator that is set so."""
    start = time.monotonic()
    stream(simulator, "openai", "chat", Fault(delay_s=0.02))
    assert time.monotonic() - start >= 20 * 0.02
    with Simulator(latency_s=0.1, delay_s=0.01, chunks=10) as slow:
        start = time.monotonic()
        send(slow, "gemini", PATHS["gemini", "streamGenerateContent"], request("streamGenerateContent"))
        assert time.monotonic() - start >= 0.1 + 9 * 0.01


@pytest.mark.parametrize("chunks", [0, 1, 7])
@pytest.mark.parametrize(("provider", "api"), STREAMS)
def test_cut_stream_ends_after_so_many_chunks(simulator: Simulator, provider: Provider, api: str, chunks: int) -> None:
    """The connection closes after so many pieces of text, without the end of the stream, and all is charged."""
    got = stream(simulator, provider, api, Fault(cut_after=chunks))
    assert (got.status, got.broken) == (200, True)
    assert len(said(got.body)) == 4 * (30 * chunks // 20)
    assert b"[DONE]" not in got.body
    assert simulator.total().output == 30
    until("the end", lambda: [seen.delivered for seen in simulator.requests()] == [False])


@pytest.mark.parametrize(("provider", "api"), WHOLE)
def test_cut_answer_is_half_an_answer(simulator: Simulator, provider: Provider, api: str) -> None:
    """An answer that does not stream is cut after its first half."""
    simulator.fault(Fault(cut_after=1))
    got = send(simulator, provider, PATHS[provider, api], request(api))
    assert got.broken
    assert len(got.body) == int(got.headers["content-length"]) // 2
    assert simulator.total().output == 30


@pytest.mark.parametrize("chunks", [0, 3, 100])
@pytest.mark.parametrize(("provider", "api"), STREAMS)
def test_error_in_mid_stream_is_the_providers(simulator: Simulator, provider: Provider, api: str, chunks: int) -> None:
    """The stream ends with the provider's own error; what was said is charged, and told where the provider tells it."""
    got = stream(simulator, provider, api, Fault(error_after=chunks))

    assert not got.broken
    ended = [event for event in got.events if event != "[DONE]"][-1]
    error = ended.get("error") or ended.get("response", {}).get("error")
    assert error, ended
    charged = simulator.total()
    spoken = charged.output
    assert spoken == 30 * chunks // 20 if chunks < 19 else spoken in (28, 30)
    told = usages(got)
    if api != "messages" and (chunks or provider != "gemini"):
        last = told[-1]
        if provider != "gemini" or api == "chat":
            assert output(last) == spoken
        assert last.get("total_tokens", charged.total) == charged.total


@pytest.mark.parametrize(("provider", "api"), [("openai", "chat"), ("openrouter", "chat"), ("openai", "responses")])
def test_openai_sdk_raises_on_an_error_in_mid_stream(simulator: Simulator, provider: Provider, api: str) -> None:
    """The OpenAI SDK raises for an error chunk, and hands on a failed response."""
    simulator.fault(Fault(error_after=2))
    base = simulator.origin(provider) + ("/v1" if provider == "openai" else "/api/v1")
    with openai.OpenAI(api_key="k", base_url=base, max_retries=0) as client:
        if api == "responses":
            *_, last = client.responses.create(model="m", input="x", stream=True)
            assert last.type == "response.failed"
            return
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(model="m", messages=HELLO, stream=True))


def test_anthropic_and_genai_sdks_raise_on_an_error_in_mid_stream(simulator: Simulator) -> None:
    """The Anthropic SDK raises for `event: error`, Google's for an error in place of a chunk."""
    simulator.fault(Fault(error_after=2, times=2))
    with (
        anthropic.Anthropic(api_key="k", base_url=simulator.origin("anthropic"), max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError),
    ):
        list(client.messages.create(model="m", max_tokens=50, messages=HELLO, stream=True))
    options = types.HttpOptions(base_url=simulator.origin("gemini"))
    with genai.Client(api_key="k", http_options=options) as google, pytest.raises(errors.APIError):
        list(google.models.generate_content_stream(model="m", contents="x"))


@pytest.mark.parametrize(("provider", "api"), STREAMS)
def test_no_usage_is_told_but_charged(simulator: Simulator, provider: Provider, api: str) -> None:
    """Neither a stream nor a whole answer tells usage, and both are charged."""
    got = stream(simulator, provider, api, Fault(usage="none"))
    assert usages(got) == []
    assert not got.broken
    assert simulator.total().output == 30

    simulator.fault(Fault(usage="none"))
    api = api.replace("streamG", "g")
    whole = send(simulator, provider, PATHS[provider, api], request(api)).json
    assert "usage" not in whole
    assert "usageMetadata" not in whole
    assert simulator.total().output == 60


@pytest.mark.parametrize(("provider", "api"), STREAMS)
def test_usage_told_twice_is_true_the_second_time(simulator: Simulator, provider: Provider, api: str) -> None:
    """A lesser usage comes before the true one, in events of their own or under one name in one object."""
    got = stream(simulator, provider, api, Fault(usage="twice"))
    numbers = [output(usage) for usage in usages(got)]
    assert numbers[-2:] == ([30, 30] if (provider, api) == ("gemini", "chat") else [15, 30])
    assert simulator.total().output == 30

    simulator.fault(Fault(usage="twice"))
    api = api.replace("streamG", "g")
    whole = send(simulator, provider, PATHS[provider, api], request(api))
    name = b'"usageMetadata"' if api == "generateContent" else b'"usage"'
    assert whole.body.count(name) == 2
    assert output(whole.json[name.decode().strip('"')]) == 30


@pytest.mark.parametrize("streamed", [False, True])
def test_garbage_is_neither_json_nor_an_event(simulator: Simulator, streamed: bool) -> None:
    """What comes is no JSON, and not even text; the provider charges it all the same."""
    simulator.fault(Fault(garbage=True))
    got = send(simulator, "openai", CHAT, request("chat", **streaming("chat", streamed)))
    assert got.status == 200
    with pytest.raises(ValueError, match=r"codec|Expecting"):
        _ = got.events if streamed else got.json
    assert simulator.total().output == 30


@pytest.mark.parametrize("streamed", [False, True])
def test_length_that_promises_more_is_not_kept(simulator: Simulator, streamed: bool) -> None:
    """Content-Length is too great: the whole body comes, and the connection ends before what was promised."""
    simulator.fault(Fault(length=10))
    got = send(simulator, "openai", CHAT, request("chat", **streaming("chat", streamed)))
    assert got.broken
    assert int(got.headers["content-length"]) == len(got.body) + 10
    assert got.body.endswith(b"data: [DONE]\n\n" if streamed else b"}\n")


def test_length_that_promises_less_leaves_bytes_behind(simulator: Simulator) -> None:
    """Content-Length is too small: the answer is cut, and the rest stands where the next answer should begin."""
    simulator.fault(Fault(length=-10))
    port = int(simulator.origin("openai").rsplit(":", 1)[1])
    raw = json.dumps(request("chat")).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {len(raw)}\r\n\r\n"
        connection.sendall(head.encode() + raw)
        data = b""
        while not data.endswith(b"}\n"):
            data += connection.recv(65536)
    headers, _, body = data.partition(b"\r\n\r\n")
    assert f"content-length: {len(body) - 10}\r\n".encode() in headers + b"\r\n"
    json.loads(body)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("provider", "api"), STREAMS)
def test_gzip_is_the_same_answer_packed(simulator: Simulator, provider: Provider, api: str, streamed: bool) -> None:
    """A compressed answer says so, and unpacks to what is sent without."""
    api = api if streamed else api.replace("streamG", "g")
    body = request(api, **streaming(api, streamed))
    plain = send(simulator, provider, PATHS[provider, api], body)
    simulator.fault(Fault(gzip=True))
    packed = send(simulator, provider, PATHS[provider, api], body)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.body != plain.body
    assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize(("provider", "api"), STREAMS)
def test_large_chunks_say_the_same(simulator: Simulator, provider: Provider, api: str) -> None:
    """Blanks make chunks as large as wanted, and change nothing of what they say."""
    body = request(api, **streaming(api, True))
    plain = send(simulator, provider, PATHS[provider, api], body)
    padded = stream(simulator, provider, api, Fault(pad=10_000))
    assert padded.events == plain.events
    assert len(padded.body) >= len(plain.body) + 19 * 10_000


def test_simulator_ends_whatever_it_is_doing() -> None:
    """Leaving the context takes no longer than a moment, though an answer stalls, and leaves no thread behind."""
    with Simulator() as simulator, ThreadPoolExecutor(1) as pool:
        simulator.fault(Fault(wait_s=60))
        asked = pool.submit(send, simulator, "openai", CHAT, request("chat"))
        until("the request", simulator.requests)
        start = time.monotonic()
        simulator.stop()
        assert time.monotonic() - start < 5
        assert isinstance(asked.exception(20), ConnectionResetError | http.client.HTTPException)
    assert [thread.name for thread in threading.enumerate() if thread.name == "pai-simulator"] == []


def test_taken_port_is_told_and_leaves_nothing_behind() -> None:
    """A port base that is taken raises OSError."""
    with Simulator() as simulator:
        taken = int(simulator.origin("openai").rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"), Simulator(port_base=taken - 1):
            pass
        assert [thread.name for thread in threading.enumerate()].count("pai-simulator") == 1
