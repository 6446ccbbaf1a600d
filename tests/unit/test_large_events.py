"""Events that pass in parts: whatever an event says, it says the same when it is too large to be held."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call
from reconciler.gateway.metering import Meter, meter
from reconciler.gateway.sse import DataLines, data_of
from reconciler.gateway.streams import DATA_BYTES_MAX, EVENT_BYTES_MAX, Sse
from reconciler.gateway.surfaces import SURFACES
from reconciler.providers import PROVIDERS

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
SPENT = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
META = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}


def candidate(index: int, finish: str | None = "STOP") -> dict[str, Any]:
    """Give Gemini's event of one candidate."""
    return {"candidates": [{"content": {}, "finishReason": finish, "index": index}], "usageMetadata": META}


class Api(NamedTuple):
    """An API, how many choices were asked for, and the data of a stream; of None it is the word that ends it."""

    operation: str
    provider: str
    choices: int
    said: list[Any]


APIS = {
    "chat": Api("chat", "openai", 1, [{"choices": [{"index": 0}]}, {"choices": [], "usage": USAGE}, None]),
    "chat elsewhere": Api("chat", "gemini", 1, [{"choices": [{"index": 0, "finish_reason": "stop"}], "usage": USAGE}]),
    "chat that fails": Api("chat", "openai", 1, [{"choices": [{}]}, {"error": {"message": "no", "code": 5}}]),
    "responses": Api(
        "responses",
        "openai",
        1,
        [{"type": "response.created"}, {"type": "response.completed", "response": {"status": "x", "usage": SPENT}}],
    ),
    "messages": Api(
        "messages",
        "anthropic",
        1,
        [
            {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}},
            {"type": "content_block_start", "content_block": {"type": "text"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ],
    ),
    "messages cut": Api(
        "messages", "anthropic", 1, [{"type": "message_start", "message": {"usage": {"input_tokens": 3}}}]
    ),
    "generate": Api("generate", "gemini", 1, [candidate(0, None), candidate(0)]),
    "generate two": Api("generate", "gemini", 2, [candidate(0), candidate(1)]),
    "generate one of two": Api("generate", "gemini", 2, [candidate(0), candidate(0)]),
}
EACH = pytest.mark.parametrize("api", APIS)


class Style(NamedTuple):
    """How the events of a stream are written. `lines`: their JSON is spread over lines of data."""

    end: str = "\n"
    bom: bool = False
    lines: bool = False
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    space: str = " "

    def event(self, said: Any, words: str) -> bytes:
        """Write an event that holds so many words."""
        text = "[DONE]" if said is None else json.dumps({"a": [{"b": words}, []], **said}, indent=1)
        if not self.lines:
            text = text.replace("\n", "")
        data = [f"data:{self.space}{line}" for line in text.split("\n")]
        comment = [f": {words}"] if said is None else []
        return "".join(line + self.end for line in (*comment, *self.before, *data, *self.after, "")).encode()


class Passed:
    """A stream that was fed in pieces: what the meter knows, whether it ended and held its end back."""

    def __init__(self, api: Api, pieces: list[bytes]) -> None:
        self.stream = Sse(Call(api.operation, SURFACES["openai"], ("b",), Body(b"{}"), stream=True, asked_usage=True))
        self.meter: Meter = meter(api.operation, PROVIDERS[api.provider], api.choices)
        out: list[bytes] = []
        held: list[bytes] = []
        for piece in pieces:
            now, held = self.stream.feed(piece, self.meter, held)
            out.append(now)
        self.known = self._state(held)
        self.all = b"".join((*out, *held, self.stream.rest(self.meter)))

    def _state(self, held: list[bytes]) -> dict[str, Any]:
        it, stream = self.meter, self.stream
        return {
            "usage": (it.usage(complete=True), it.usage(complete=False)),
            "last": (it.said_all, stream.ended, bool(held), stream.patience(it, held)),
            "least": (it.seen, it.known_input, it.unread),
        }


LONG = "x{},:[]" * (EVENT_BYTES_MAX // 6)
SHORT = "x"
MORE = b":"
"""What comes behind it: a last CR may be half of a line end, so what it ends shows when more comes."""


class Streams:
    """A stream of large events, and what one of small events makes known."""

    def __init__(self, name: str, style: Style) -> None:
        self.api = APIS[name]
        mark = b"\xef\xbb\xbf" if style.bom else b""
        first, *others = self.api.said
        self.large = [mark + style.event(first, LONG), *(style.event(said, LONG) for said in others)]
        self.small = [mark + style.event(first, SHORT), *(style.event(said, SHORT) for said in others)]
        self.known = Passed(self.api, [*self.small, MORE]).known

    def check(self, places: list[int]) -> None:
        """Check that large events, each of which is cut at these places, tell the same."""
        pieces: list[bytes] = []
        for event in self.large:
            assert len(event) > EVENT_BYTES_MAX
            ends = sorted({0, len(event), *(place % (len(event) + 1) for place in places)})
            pieces += [event[begin:end] for begin, end in pairwise(ends)]
        passed = Passed(self.api, [*pieces, MORE])
        assert passed.all == b"".join((*self.large, MORE))
        assert passed.known == self.known


@EACH
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("lines", "more"), [(False, ()), (True, ("id: 5", "event: x")), (False, ("retry: 1", ": wait"))]
)
def test_large_event_is_read_as_a_small_one_wherever_it_is_cut(
    api: str, end: str, lines: bool, more: tuple[str, ...]
) -> None:
    """The bytes of its end may come in any piece, and its data may begin in any."""
    streams = Streams(api, Style(end, lines=lines, bom=lines, before=more, after=more))
    for near in range(30):
        streams.check([-1 - near])
    for near in range(14):
        streams.check([near, -1 - near, -2 - near])


fields = st.lists(st.sampled_from(["id: 5", "event: x", "retry: 1", ":", ": wait", "data", "datas: 1"]), max_size=3)
styles = st.builds(
    Style,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
    fields.map(tuple),
    fields.map(tuple),
    st.sampled_from([" ", ""]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(APIS)),
    styles,
    st.lists(st.integers(-90, 90) | st.integers(0, 4 * EVENT_BYTES_MAX), max_size=9),
)
def test_large_event_is_read_as_a_small_one_however_it_is_written(api: str, style: Style, places: list[int]) -> None:
    """All line ends, a mark before the first event, other fields around the data, several lines of data, any cuts."""
    Streams(api, style).check(places)


@pytest.mark.parametrize("size", [1, 100, DATA_BYTES_MAX, DATA_BYTES_MAX + 1])
def test_small_data_among_large_comments_are_read(size: int) -> None:
    """What a provider says while it waits may be long, and the event that holds nothing else says nothing."""
    wait = b": " + b"c" * 2 * EVENT_BYTES_MAX + b"\n"
    said = b'{"usage":' + json.dumps(USAGE).encode() + b',"choices":[],"a":"' + b"x" * size + b'"}'
    pieces = [wait, b"\n", wait, b"data: " + said + b"\n", b"\n", wait, b"data: [DONE]\n", b"\n"]
    passed = Passed(APIS["chat"], pieces)
    usage = passed.meter.usage(complete=False)
    assert usage is not None
    assert (usage.charged, passed.meter.said_all, passed.meter.unread) == (7, True, False)


@pytest.mark.parametrize("end", [b"", b"}", b'} {"usage":{"total_tokens":1}}', b"]"])
def test_large_data_of_no_one_object_are_not_believed(end: bytes) -> None:
    """Data that are cut, or several objects in a row, are no JSON."""
    data = b'data: {"choices":[],"a":"' + LONG.encode() + b'","usage":{"total_tokens":7}'
    passed = Passed(APIS["chat"], [data, end, b"\n\n"])
    usage = passed.meter.usage(complete=True)
    assert (usage is not None) is (end == b"}")
    assert passed.meter.unread is (end != b"}")


parts = st.sampled_from(
    [b"data: a", b"data", b"da", b"ta:", b"data:", b" ", b"\n", b"\r", b": x", b"\xef\xbb\xbf", b"id:"]
)


@given(st.lists(parts | st.binary(max_size=3), max_size=12), st.data())
def test_data_in_parts_are_those_of_the_whole(event: list[bytes], data: st.DataObject) -> None:
    """However an event is cut, its lines of data joined are the same."""
    whole = b"".join(event)
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    lines = DataLines()
    given_ = b"".join(lines.feed(whole[begin:end]) for begin, end in pairwise([0, *places, len(whole)]))
    # The last line may lack its end, and then what begins as `data` does is not yet one of data.
    assert given_ + lines.feed(b"\n") == data_of(whole)
