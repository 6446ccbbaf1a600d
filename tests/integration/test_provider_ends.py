"""How a provider ends, frames and sizes its answers: the client gets its last word at once, and every byte."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from reconciler.gateway.streams import FINISHED_S
from tests.support import DEADLINE_S, Site
from tests.support_gateway import PROVIDER_KEYS, Bench, asked, headers_of, opened
from tests.support_upstream import RawProvider, chunked, framed, streamed

MIB = 1024 * 1024


class Lingering(NamedTuple):
    """A running gateway, and the provider behind all of its bindings."""

    bench: Bench
    provider: RawProvider


@pytest.fixture(scope="module")
def lingering(gateway_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lingering]:
    """Give a gateway whose providers are one that says what the test wants."""
    provider = RawProvider()
    env = {**provider.environment, "PAI_GATEWAY_READ_TIMEOUT": "60s"}
    with opened(gateway_template, tmp_path_factory.mktemp("lingering"), **env) as bench:
        yield Lingering(bench, provider)
    provider.close()


def _event(data: object, name: str = "") -> bytes:
    lines = (f"event: {name}\n" if name else "") + f"data: {json.dumps(data, separators=(',', ':'))}\n\n"
    return lines.encode()


_META = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}
_FINISHED = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": _META}
_COMPLETED = {
    "type": "response.completed",
    "response": {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}},
}
_MESSAGE = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
_DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}
_USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
STREAMS: dict[str, tuple[str, str, list[bytes]]] = {
    "chat": (
        "chat",
        "openai",
        [
            _event({"choices": [{"delta": {"content": "a"}}]}),
            _event({"choices": [], "usage": _USAGE}),
            b"data: [DONE]\n\n",
        ],
    ),
    "chat-gemini": (
        "chat",
        "gemini",
        [_event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": _USAGE}), b"data: [DONE]\n\n"],
    ),
    "responses": (
        "responses",
        "openai",
        [_event({"type": "response.created"}), _event(_COMPLETED, "response.completed")],
    ),
    "responses-unnamed": (
        "responses",
        "openrouter",
        [_event({"type": "response.created"}), _event({"sequence_number": 1, **_COMPLETED}), b"data: [DONE]\n\n"],
    ),
    "messages": (
        "messages",
        "anthropic",
        [
            _event(_MESSAGE, "message_start"),
            _event(_DELTA, "message_delta"),
            _event({"type": "message_stop"}, "message_stop"),
        ],
    ),
    "messages-unnamed": (
        "messages",
        "openrouter",
        [_event(_MESSAGE), _event(_DELTA), _event({"type": "message_stop"})],
    ),
    "generate": ("generate", "gemini", [_event({"usageMetadata": {"promptTokenCount": 3}}), _event(_FINISHED)]),
    "array": (
        "array",
        "gemini",
        [b'[{"usageMetadata": {"promptTokenCount": 3}}\n', b"," + json.dumps(_FINISHED).encode(), b"]"],
    ),
}
EACH = pytest.mark.parametrize("kind", STREAMS)
USAGE = {"stream_options": {"include_usage": True}}


def _kind_of(operation: str) -> str:
    return "application/json" if operation == "array" else "text/event-stream"


def _asked(lingering: Lingering, kind: str, *, stream: bool = True) -> httpx.Response:
    operation, name, _ = STREAMS[kind]
    more = USAGE if operation == "chat" and stream else {}
    return lingering.bench.ask(operation, name, stream=stream, **more)


@EACH
@pytest.mark.parametrize("clean", [True, False])
def test_end_comes_with_the_last_word(lingering: Lingering, kind: str, clean: bool) -> None:
    """The answer ends, settled, while the provider leaves its connection open; what it sends later is nobody's."""
    operation, name, events = STREAMS[kind]
    answered = threading.Event()

    def answer(sock: socket.socket, request: bytes) -> bool:
        del request
        sock.sendall(streamed(kind=_kind_of(operation)))
        for event in events:
            sock.sendall(chunked(event))
        assert answered.wait(DEADLINE_S)
        sock.sendall(chunked(b"") if clean else chunked(b"late " * 100_000))
        return clean

    lingering.provider.answer = answer
    got = _asked(lingering, kind)
    charged = lingering.bench.last(name)
    answered.set()
    assert got.content == b"".join(events)
    assert (charged.get("charged"), lingering.bench.outcomes(name)[-1]) == (7, "settled")


def test_connection_that_ends_after_the_last_word_is_used_again(lingering: Lingering) -> None:
    """What is left of an answer is thrown away, so that its connection can carry the next one."""
    connections: set[int] = set()
    ended = threading.Event()

    def answer(sock: socket.socket, request: bytes) -> bool:
        del request
        connections.add(sock.fileno())
        sock.sendall(streamed(last=False) + b"".join(map(chunked, STREAMS["chat"][2])))
        ended.wait(DEADLINE_S)
        sock.sendall(chunked(b": late\n\n") + chunked(b""))
        return True

    lingering.provider.answer = answer
    for _ in range(3):
        ended.clear()
        assert _asked(lingering, "chat").content == b"".join(STREAMS["chat"][2])
        ended.set()
    assert len(connections) <= 2  # the next request may come before the rest of the last answer


@EACH
def test_what_follows_the_last_word_at_once_counts(lingering: Lingering, kind: str) -> None:
    """A higher usage right behind the end is charged, and passed on with it."""
    operation, name, events = STREAMS[kind]
    if operation == "array":
        return  # nothing can follow a closed array
    text = events[-2 if kind in ("chat", "chat-gemini", "responses-unnamed") else -1]
    if operation == "messages":
        text = events[-2]
    dearer = text.replace(b":4", b":900").replace(b":7}", b":903}")
    lingering.provider.says(streamed() + b"".join(map(chunked, [*events, dearer])), chunked(b""))
    got = _asked(lingering, kind)
    assert got.content == b"".join([*events, dearer])
    charged = lingering.bench.last(name)
    assert charged.get("charged", 10**9) >= 903


LARGE = 17 * MIB


@EACH
@pytest.mark.parametrize("which", [0, -1, -2])
def test_event_of_any_size_passes_and_is_metered(lingering: Lingering, kind: str, which: int) -> None:
    """17 MiB in one event, the first, the last or that with the usage: every byte comes, and the usage is settled."""
    operation, name, events = STREAMS[kind]
    large = list(events)
    large[which] = large[which].replace(b'{"', b'{"pad":"' + b"x\\n" * (LARGE // 3) + b'","', 1)
    lingering.provider.says(streamed(kind=_kind_of(operation)), *map(chunked, large), chunked(b""))
    got = _asked(lingering, kind)
    assert got.content == b"".join(large)
    assert lingering.bench.last(name).get("charged") == 7


WHOLES: dict[str, tuple[str, str, bytes]] = {
    "chat": ("chat", "openai", json.dumps({"choices": [{"message": {"content": "a"}}], "usage": _USAGE}).encode()),
    "responses": ("responses", "openai", json.dumps({"object": "response", **_COMPLETED["response"]}).encode()),  # type: ignore[dict-item]
    "messages": ("messages", "anthropic", b'{"type":"message","usage":{"input_tokens":3,"output_tokens":4}}'),
    "generate": ("generate", "gemini", json.dumps(_FINISHED).encode()),
    "embeddings": ("embeddings", "openai", b'{"data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}'),
}


@pytest.mark.parametrize("kind", WHOLES)
@pytest.mark.parametrize("pad", ["text", "numbers", "deep", "many"])
def test_whole_of_any_size_passes_and_is_metered(lingering: Lingering, kind: str, pad: str) -> None:
    """Large, of many values or deeply nested: every byte comes, and the usage is settled."""
    operation, name, body = WHOLES[kind]
    padding = {
        "text": b'"' + b"x" * LARGE + b'"',
        "numbers": b"[" + b"[0.123456789,1],\n" * 200_000 + b"1]",
        "deep": b"[" * 400_000 + b"]" * 400_000 + b',"more":"' + b"x" * MIB + b'"',
        "many": b"[" + b"1," * 2_000_000 + b"1]",
    }[pad]
    for large in (body[:-1] + b',"pad":' + padding + b"}", b'{"pad":' + padding + b"," + body[1:]):
        lingering.provider.says(framed(large))
        got = lingering.bench.ask(operation, name)
        assert got.content == large
        assert lingering.bench.last(name).get("charged") == 7


@pytest.mark.parametrize("status", ["400 Bad", "500 Bad"])
def test_error_of_any_size_passes(lingering: Lingering, status: str) -> None:
    """An error that is too large to be held reaches the client whole; it names no usage and costs nothing."""
    body = json.dumps({"error": {"message": "x" * LARGE}}).encode()
    lingering.provider.says(framed(body, status=status))
    got = lingering.bench.ask("chat", "openai", models=["openrouter"])
    assert (got.status_code, got.content) == (int(status[:3]), body)
    lingering.bench.quiet()
    assert lingering.bench.outcomes("openai")[-1] == "voided"


def test_large_answer_that_breaks_off_is_seen_as_broken(lingering: Lingering) -> None:
    """What began and did not end has no end for the client, and the whole reservation counts."""
    lingering.provider.says(framed(b'{"pad":"' + b"x" * LARGE)[:-MIB])
    with pytest.raises(httpx.RemoteProtocolError):
        lingering.bench.ask("chat", "openai")
    lingering.bench.quiet()
    assert lingering.bench.outcomes("openai")[-1] == "forfeited"


def test_event_that_cannot_be_read_passes_and_is_forfeited(lingering: Lingering) -> None:
    """What no bound of the meter lets it read reaches the client all the same."""
    usage = b'data: {"choices":[],"usage":{"a":"' + b"x" * 2 * MIB + b'","total_tokens":7}}\n\n'
    lingering.provider.says(streamed(), chunked(usage), chunked(b"data: [DONE]\n\n"), chunked(b""))
    assert _asked(lingering, "chat").content == usage + b"data: [DONE]\n\n"
    lingering.bench.quiet()
    assert lingering.bench.outcomes("openai")[-1] == "forfeited"


TYPES = [
    "",
    "text/plain",
    "application/octet-stream",
    "application/json",
    "text/event-stream; charset=UTF-8",
    "TEXT/EVENT-STREAM",
]


@pytest.mark.parametrize("content_type", TYPES)
@EACH
def test_stream_is_one_by_what_was_asked(lingering: Lingering, kind: str, content_type: str) -> None:
    """Whatever its content type says, or if there is none: the first event comes before the provider goes on."""
    operation, name, events = STREAMS[kind]
    if operation == "array" and "event" in content_type.lower():
        return  # that is a contradiction: it comes when it ends
    read = threading.Event()

    def answer(sock: socket.socket, request: bytes) -> None:
        del request
        sock.sendall(streamed(kind=content_type) + chunked(events[0]))
        assert read.wait(DEADLINE_S)
        sock.sendall(b"".join(map(chunked, events[1:])) + chunked(b""))

    lingering.provider.answer = answer
    path, body = asked(operation, name, stream=True, **(USAGE if operation == "chat" else {}))
    got = b""
    with lingering.bench.client.stream("POST", path, json=body, headers=headers_of(operation)) as response:
        for piece in response.iter_bytes():
            got += piece
            if len(got) >= len(events[0]):
                read.set()
    assert got == b"".join(events)
    assert lingering.bench.last(name).get("charged") == 7


@pytest.mark.parametrize("content_type", TYPES[:5])
def test_error_as_json_to_a_stream_is_whole(lingering: Lingering, content_type: str) -> None:
    """A provider that answers a stream with an error and status 200: the client gets its bytes."""
    body = b'{"error": {"message": "no", "code": 400}}'
    lingering.provider.says(framed(body, kind=content_type or "a/b"))
    for kind in STREAMS:
        assert _asked(lingering, kind).content == body
    lingering.bench.quiet()


@pytest.mark.parametrize("status", ["200 OK", "400 Bad", "529 Busy"])
def test_usage_in_events_counts_with_any_status(lingering: Lingering, status: str) -> None:
    """An error that is told as events, and names what it cost, is charged."""
    events = STREAMS["chat"][2]
    lingering.provider.says(streamed(status=status), *map(chunked, events), chunked(b""))
    got = _asked(lingering, "chat")
    assert (got.status_code, got.content) == (int(status[:3]), b"".join(events))
    assert lingering.bench.last("openai").get("charged") == 7


def test_finished_candidate_does_not_end_the_others(lingering: Lingering) -> None:
    """One of two candidates ends, and the provider is silent for a while: the other one is passed on and charged."""
    more = {"promptTokenCount": 3, "candidatesTokenCount": 900, "totalTokenCount": 903}
    first = _event({"candidates": [{"index": 0, "finishReason": "STOP"}], "usageMetadata": _META})
    second = _event({"candidates": [{"index": 1, "finishReason": "STOP"}], "usageMetadata": more})

    def answer(sock: socket.socket, request: bytes) -> None:
        del request
        sock.sendall(streamed() + chunked(first))
        time.sleep(2 * FINISHED_S)  # silence is what is tried
        sock.sendall(chunked(second) + chunked(b""))

    lingering.provider.answer = answer
    path, body = asked("generate", "gemini", stream=True)
    body["generationConfig"] = {**body.get("generationConfig", {}), "candidateCount": 2}
    got = lingering.bench.client.post(path, json=body, headers=headers_of("generate"))
    assert got.content == first + second
    assert lingering.bench.last("gemini").get("charged") == 903


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("after", [b"", b"id: 5", b"event: x"])
def test_large_event_may_be_cut_anywhere_near_its_end(lingering: Lingering, end: bytes, after: bytes) -> None:
    """Its closing brace in one piece and its empty line in another: the usage is settled, and the end comes at once."""
    data = json.dumps({"candidates": [{"content": "x" * 40_000, "finishReason": "STOP"}], "usageMetadata": _META})
    tail = (after + end if after else b"") + end
    event = b"data: " + data.encode() + end + tail
    for cut in range(len(tail) + 2 * len(end)):
        at = len(event) - 1 - cut
        read = threading.Event()

        def answer(sock: socket.socket, request: bytes, at: int = at, read: threading.Event = read) -> None:
            del request
            sock.sendall(streamed() + chunked(event[:at]))
            time.sleep(0.02)  # a pause makes pieces of it
            sock.sendall(chunked(event[at:]))
            assert read.wait(DEADLINE_S)

        lingering.provider.answer = answer
        got = _asked(lingering, "generate")
        read.set()
        assert got.content == event
        assert lingering.bench.last("gemini").get("charged") == 7


def test_error_with_usage_that_cannot_be_read_is_forfeited(lingering: Lingering) -> None:
    """An error that names a usage is no free one, though its usage is too large to be read."""
    twice = b'{"error":{"message":"x"},"usage":{"total_tokens":5,"a":"' + b"x" * 66_000 + b'","total_tokens":9}}'
    lingering.provider.says(framed(twice, status="400 Bad"))
    assert lingering.bench.ask("chat", "openai").content == twice
    lingering.bench.quiet()
    assert lingering.bench.outcomes("openai")[-1] == "forfeited"


@pytest.mark.parametrize("null", [b',"usage":null', b'"usage": null, '])
def test_key_in_two_halves_stays_in_two_halves(lingering: Lingering, null: bytes) -> None:
    """Taking out what the client did not ask for makes no key of what a provider sends around it."""
    key = PROVIDER_KEYS["openrouter"].encode()
    halves = key[:6] + null + key[6:]
    events = [
        b'data: {"m":"' + halves + b'"}\n\n',
        b": " + halves + b'\ndata: {"a":1,"usage":null}\n\n',
        *STREAMS["chat"][2],
    ]
    lingering.provider.says(streamed(), *map(chunked, events), chunked(b""))
    got = lingering.bench.ask("chat", "openrouter", stream=True)
    assert got.status_code == 200
    assert halves in got.content
    assert key not in got.content
