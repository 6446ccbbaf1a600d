"""What a stream becomes on its way: the same bytes, but for usage that was not asked for, and the end held back."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call
from reconciler.gateway.metering import meter
from reconciler.gateway.streams import EVENT_BYTES_MAX, Array, Sse, Stream, stream_of
from reconciler.gateway.surfaces import SURFACES
from reconciler.providers import PROVIDERS

SSE = "text/event-stream"
EMPTY = Body(b"{}")


def call(operation: str, *, asked: bool = True) -> Call:
    """Give a streamed call."""
    return Call(operation, SURFACES["openai"], ("b",), EMPTY, stream=True, asked_usage=asked)


def chunk(**fields: object) -> bytes:
    """Give a chat chunk as an event."""
    return b"data: " + json.dumps({"id": "c", **fields}, separators=(",", ":")).encode() + b"\n\n"


def said(text: str, **more: object) -> bytes:
    """Give a chat chunk that says something."""
    return chunk(choices=[{"index": 0, "delta": {"content": text}}], **more)


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
DONE = b"data: [DONE]\n\n"


class Passed:
    """A stream that was fed in pieces: `before` went out before its end, `end` was held back until then."""

    def __init__(self, kind: Call, *pieces: bytes, content_type: str = SSE, provider: str = "openai") -> None:
        self.stream: Stream = Sse(kind) if content_type == SSE else Array()
        self.meter = meter(kind.operation, PROVIDERS[provider])
        out: list[bytes] = []
        held: list[bytes] = []
        for piece in pieces:
            now, held = self.stream.feed(piece, self.meter, held)
            out.append(now)
        self.before = b"".join(out)
        self.end = b"".join((*held, self.stream.rest(self.meter)))

    @property
    def whole(self) -> bytes:
        """All that the client gets."""
        return self.before + self.end


OPENAI = [said("a", usage=None), said("b", usage=None), chunk(choices=[], usage=USAGE), DONE]
ANTHROPIC = [
    b'event: message_start\ndata: {"type":"message_start",'
    b'"message":{"usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
    b'event: ping\ndata: {"type":"ping"}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta",'
    b'"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
_RESPONSE = {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}
_COMPLETED = json.dumps({"type": "response.completed", "response": _RESPONSE}, separators=(",", ":")).encode()
RESPONSES = [
    b'event: response.created\ndata: {"type":"response.created","response":{"usage":null}}\n\n',
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n',
    b"event: response.completed\ndata: " + _COMPLETED + b"\n\n",
]
UNNAMED = [b'data: {"type":"response.created","response":{"usage":null}}\n\n', b"data: " + _COMPLETED + b"\n\n", DONE]
_META = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}
_LAST = json.dumps({"candidates": [{"finishReason": "STOP"}], "usageMetadata": _META}).encode()
GEMINI = [
    b'data: {"candidates": [{"content": {"parts": [{"text": "a"}]}}],"usageMetadata": {"promptTokenCount": 3}}\r\n\r\n',
    b"data: " + _LAST + b"\r\n\r\n",
]
ARRAY = [b'[{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}\n,\r\n', _LAST, b"\n]"]
STREAMS = [
    pytest.param("chat", SSE, OPENAI, b"data: [DONE]", id="openai"),
    pytest.param("messages", SSE, ANTHROPIC, b"event: message_stop", id="anthropic"),
    pytest.param("responses", SSE, RESPONSES, b"event: response.completed", id="responses"),
    pytest.param("responses", SSE, UNNAMED, b'data: {"type":"response.completed"', id="unnamed"),
    pytest.param("generate", SSE, GEMINI, b'data: {"candidates": [{"finishReason"', id="gemini"),
    pytest.param("generate", "application/json", ARRAY, b"]", id="array"),
]


def cuts(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at places."""
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(ends)]


@pytest.mark.parametrize(("operation", "content_type", "events", "mark"), STREAMS)
def test_stream_passes_unchanged_with_its_end_held_back(
    operation: str, content_type: str, events: list[bytes], mark: bytes
) -> None:
    """Event by event the same bytes come out; what says that this is the end waits until the tokens are settled."""
    passed = Passed(call(operation), *events, content_type=content_type)
    assert passed.whole == b"".join(events)
    assert passed.end.lstrip().startswith(mark)
    assert mark not in passed.before or mark == b"]"
    usage = passed.meter.usage(complete=True)
    assert usage is not None
    assert usage.charged == 7


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(0, 2000), max_size=12))
@pytest.mark.parametrize(("operation", "content_type", "events", "mark"), STREAMS)
def test_pieces_make_no_difference(
    operation: str, content_type: str, events: list[bytes], mark: bytes, places: list[int]
) -> None:
    """However the network cuts a stream, the client gets the same, its end last, and the meter reads the same."""
    data = b"".join(events)
    passed = Passed(call(operation), *cuts(data, places), content_type=content_type)
    assert passed.whole == data
    assert passed.end
    if operation != "generate":
        assert mark not in passed.before
    usage = passed.meter.usage(complete=True)
    assert usage is not None
    assert usage.charged == 7


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(0, 2000), max_size=12))
def test_hidden_usage_is_hidden_however_it_is_cut(places: list[int]) -> None:
    """A stream whose usage was not asked for has none, in any pieces, and is counted all the same."""
    passed = Passed(call("chat", asked=False), *cuts(b"".join(OPENAI), places))
    assert passed.whole == said("a") + said("b") + DONE
    usage = passed.meter.usage(complete=True)
    assert usage is not None
    assert usage.charged == 7


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (said("a", usage=None), said("a")),
        (b'data: {"usage": null, "choices": [{"index": 0}]}\n\n', b'data: {"choices": [{"index": 0}]}\n\n'),
        (chunk(choices=[], usage=USAGE), b""),
        (chunk(choices=None, usage=USAGE), b""),
        (chunk(usage=USAGE), b""),
        (said("", usage=USAGE), said("")),
        (said("a", usage=USAGE).replace(b"\n\n", b"\r\n\r\n"), said("a")),
        (
            chunk(choices=[], error={"code": 502}, usage=USAGE),
            chunk(choices=[], error={"code": 502}),
        ),
        (chunk(choices=[], prompt_filter_results=[]), chunk(choices=[], prompt_filter_results=[])),
        (said('say "usage":null, or "usage": {}'), said('say "usage":null, or "usage": {}')),
        (b': "usage"\n\n', b': "usage"\n\n'),
        (b'data: {"usage": broken\n\n', b'data: {"usage": broken\n\n'),
        (b"data: [1]\n\n", b"data: [1]\n\n"),
        (b'id: 1\r\ndata:{"a": 1, "usage": null}\r\n\r\n', b'id: 1\r\ndata:{"a": 1}\r\n\r\n'),
        (b'data: {"choices":[\ndata: 1],"usage":null}\n\n', b'data: {"choices":[\ndata: 1]}\n\n'),
        (
            b'data: {"choices":[{"a":1,"usage":null}],"usage":{"total_tokens":7}}\n\n',
            b'data: {"choices":[{"a":1,"usage":null}]}\n\n',
        ),
    ],
)
def test_usage_that_was_not_asked_for_is_taken_out(event: bytes, shown: bytes) -> None:
    """Usage goes, and a chunk that holds nothing else with it; text about usage, errors and comments stay."""
    assert Passed(call("chat", asked=False), event).whole == shown
    assert Passed(call("chat"), event).whole == event


def test_usage_beside_half_a_character_is_taken_out() -> None:
    """A chunk whose text was cut within a pair of surrogates is read all the same."""
    event = chunk(choices=[{"index": 0, "delta": {"content": "X"}}], usage=USAGE).replace(b"X", b"\\ud83d")
    shown = Passed(call("chat", asked=False), event, DONE)
    assert b"usage" not in shown.whole
    assert b"\\ud83d" in shown.whole
    assert shown.whole.endswith(DONE)


KEY = b"sk-or-canary"
_WIDE = '{"a":"\u7522\u6173\u6567\u2222","m":"sk-or-canary","choices":[1],"usage":1}'.encode("utf-16-le")


@pytest.mark.parametrize("null", [b',"usage":null', b', "usage": null', b'"usage":null,', b'"usage": null, '])
@pytest.mark.parametrize(
    "event",
    [
        b'data: {"m":"sk-or-NULLcanary"}\n\n',
        b"data: sk-or-NULLcanary\n\n",
        b': sk-or-NULLcanary\ndata: {"a":1NULL}\n\n',
        b'id: sk-or-NULLcanary\r\ndata: {"a":1,NULL"b":2}\r\n\r\n',
        b'data: {"a":1NULL}\ndata: sk-or-NULLcanary\n\n',
        b'data: {"m":"sk-or-\ndata: canary"NULL}\n\n',
        b'data: {"m":"sk-or-\ndata: canaryNULL"}\n\n',
        b"data: " + _WIDE + b"\n\n",
    ],
)
def test_no_key_is_made_by_taking_usage_out(event: bytes, null: bytes) -> None:
    """Keys are masked before, so what stood apart must not be joined, nor what was in another encoding be decoded."""
    event = event.replace(b"NULL", null)
    assert b'"usage"' in event
    assert KEY not in event
    assert KEY not in Passed(call("chat", asked=False), event).whole


@given(
    st.lists(
        st.sampled_from(
            [b"sk-or-", b"canary", b"\n", b"data: ", b': "', b"{", b"}", b'"a":1', b',"usage":null', b'"usage":1']
        )
    )
)
def test_no_key_is_made_of_any_parts(parts: list[bytes]) -> None:
    """Whatever stands around a usage, and whatever it is."""
    event = b"".join((*parts, b"\n\n"))
    if KEY not in event:
        assert KEY not in Passed(call("chat", asked=False), event).whole


def test_comments_pass_at_once() -> None:
    """What a provider says while it waits goes on at once, so that the client's own timeout is kept off."""
    passed = Passed(call("chat", asked=False), b": OPENROUTER PROCESSING\n\n", b": \n\n")
    assert passed.before == b": OPENROUTER PROCESSING\n\n: \n\n"
    assert passed.end == b""


def test_event_without_its_empty_line_is_not_lost() -> None:
    """A stream that ends without the last empty line is passed on whole, and metered whole."""
    events = [*OPENAI[:3], DONE.rstrip()]
    assert Passed(call("chat"), *events).whole == b"".join(events)
    last = Passed(call("generate"), GEMINI[1].rstrip())
    assert last.whole == GEMINI[1].rstrip()
    assert last.meter.usage(complete=True) is not None


def test_chunk_that_only_looks_like_the_end_is_passed_on() -> None:
    """Gemini's finishReason of one candidate, or a bracket at the end of a piece, waits only until more comes."""
    more = GEMINI[0]
    passed = Passed(call("generate"), GEMINI[1], more)
    assert passed.before == GEMINI[1] + more
    passed = Passed(call("generate"), b'[{"a": [1]', b"}", content_type="application/json")
    assert passed.before == b'[{"a": [1]}'


@pytest.mark.parametrize(
    ("operation", "stream", "begin", "content_type", "framing"),
    [
        ("chat", True, b"data: {", "", Sse),
        ("chat", True, b": waiting\n\n", "text/plain", Sse),
        ("chat", True, b"\xef\xbb\xbfdata: {", "application/json", Sse),
        ("chat", True, b"", "", Sse),
        ("chat", True, b' \n{"error"', "text/event-stream", None),
        ("chat", True, b'{"error"', "application/octet-stream", None),
        ("chat", False, b"{", "application/json", None),
        ("chat", False, b"data: {", "text/event-stream", Sse),
        ("chat", False, b"data: {", "application/json", None),
        ("generate", True, b"[{", "application/json", Array),
        ("generate", True, b"\n [", "text/plain", Array),
        ("generate", True, b"{", "application/json", None),
        ("generate", True, b"data: {", "application/json", Sse),
        ("generate", False, b"[{", "application/json", None),
        ("messages", True, b"event: message_start\n", "", Sse),
        ("responses", True, b"event: response.created\n", "application/octet-stream", Sse),
    ],
)
def test_framing_follows_what_was_asked_and_sent(
    operation: str, stream: bool, begin: bytes, content_type: str, framing: type | None
) -> None:
    """Who asked for a stream gets one, whatever its content type says; an error as JSON to such a request is whole."""
    found = stream_of(Call(operation, SURFACES["openai"], ("b",), EMPTY, stream), begin, content_type)
    assert (None if found is None else type(found)) == framing


_SPACED = json.dumps({"response": _RESPONSE, "sequence_number": 9, "type": "response.completed"}, indent=1)
_LINES = "".join(f"data: {line}\n" for line in _SPACED.splitlines())


@pytest.mark.parametrize(
    ("operation", "word"),
    [
        ("chat", b"id: 7\ndata: [DONE]\n\n"),
        ("chat", b": waiting\r\ndata:[DONE] \r\n\r\n"),
        ("chat", b"data: [DONE]\nevent: done\n\n"),
        ("chat", b"\ndata: [DONE]\n\n"),
        ("messages", b'id: 7\nevent: message_stop\ndata: { "type" : "message_stop" }\n\n'),
        ("messages", b'data: {"x": 1, "type": "message_stop"}\nevent: message_stop\n\n'),
        ("messages", b'data:{"type":"message_stop"}\n\n'),
        ("responses", f"id: 7\n{_LINES}\n".encode()),
        ("responses", b'data: {"response": null, "type": "response.failed"}\n\n'),
        ("responses", b'retry: 1\ndata: {"type": "response.incomplete", "response": {}}\n\n'),
    ],
)
def test_last_word_is_known_however_it_is_written(operation: str, word: bytes) -> None:
    """Other fields before it, blanks in its JSON, in any order: it waits for the settlement, and ends the stream."""
    words = b'data: {"choices": [], "type": "x"}\n\n'
    passed = Passed(call(operation), words, word)
    assert (passed.before, passed.end) == (words, word)
    assert passed.stream.ended
    assert passed.stream.patience(passed.meter, [word]) is not None


LONG = "x" * 300_000


@pytest.mark.parametrize("size", [1000, 65536, 10_000_000])
@pytest.mark.parametrize(
    ("operation", "content_type", "events"), [pytest.param(*kind.values[:3], id=kind.id) for kind in STREAMS]
)
def test_event_too_large_to_be_held_passes_and_is_metered(
    operation: str, content_type: str, events: list[bytes], size: int
) -> None:
    """In parts the same bytes come out, the same usage is read, and the end still waits for the settlement."""
    large = [event.replace(b'{"', b'{"a":[{"b":"' + LONG.encode() + b'"},[]],"', 1) for event in events]
    data = b"".join(large)
    passed = Passed(
        call(operation), *(data[at : at + size] for at in range(0, len(data), size)), content_type=content_type
    )
    assert passed.whole == data
    assert passed.end
    if size < 100_000:
        assert len(passed.end) < size + 100_000, "parts are not kept"
    usage = passed.meter.usage(complete=True)
    assert usage is not None
    assert usage.charged == 7


def test_event_too_large_to_be_read_passes_and_is_not_trusted() -> None:
    """An event of which the meter cannot even keep an outline reaches the client, and nothing is known of it."""
    event = b'data: {"usage":{"a":"' + LONG.encode() + b'","prompt_tokens":1,"completion_tokens":1},"choices":[]}\n\n'
    pieces = [event[at : at + 5000] for at in range(0, len(event), 5000)]
    passed = Passed(call("chat"), *pieces, DONE)
    assert passed.whole == event + DONE
    assert passed.meter.usage(complete=True) is None
    assert passed.meter.unread


def test_event_is_taken_apart_in_small_parts() -> None:
    """An event of nothing but signs, each of which is looked at, never has others wait for more than a small part."""
    stream, it = Sse(call("chat")), meter("chat", PROVIDERS["openai"])
    held: list[bytes] = []
    for _ in range(500):
        passed, held = stream.feed(b":" * 5000, it, held)
        assert len(passed) <= EVENT_BYTES_MAX + 5000


def test_what_follows_the_last_word_is_held_as_one() -> None:
    """However small its events are: an object for each would be many times their bytes."""
    stream, it = Sse(call("chat")), meter("chat", PROVIDERS["openai"])
    held: list[bytes] = []
    for piece in (DONE, b"\n\n" * 3000, b": x\n\n" * 1000):
        _, held = stream.feed(piece, it, held)
        assert len(held) == 1
    assert held == [DONE + b"\n\n" * 3000 + b": x\n\n" * 1000]
