"""Cutting streams: any bytes, in any pieces, give the same events and lose nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway import sse
from reconciler.gateway.sse import Events, Items, data_of


def cut(pieces: Iterable[bytes]) -> tuple[list[bytes], bytes]:
    """Give the events of a stream that arrives in these pieces, and what is left."""
    events = Events()
    return [event for piece in pieces for event in events.feed(piece)], events.rest()


def items_of(pieces: Iterable[bytes]) -> list[bytes]:
    """Give the items of an array that arrives in these pieces."""
    items = Items()
    return [item for piece in pieces for item in items.feed(piece)]


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    """Cut into pieces of one size."""
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize(
    ("stream", "events", "rest"),
    [
        (b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"], b""),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"data: a\r\n\r\n", b"data: b\r\n\r\n"], b""),
        (b"data: a\r\rdata: b\r\r.", [b"data: a\r\r", b"data: b\r\r"], b"."),
        (b"data: a\n\r\ndata: b\r\n\n", [b"data: a\n\r\n", b"data: b\r\n\n"], b""),
        (b": OPENROUTER PROCESSING\n\ndata: a\n\n", [b": OPENROUTER PROCESSING\n\n", b"data: a\n\n"], b""),
        (b"event: x\ndata: a\ndata: b\n\n", [b"event: x\ndata: a\ndata: b\n\n"], b""),
        (b"\xef\xbb\xbfdata: a\n\n", [b"\xef\xbb\xbfdata: a\n\n"], b""),
        (b"\n\n\ndata: a\n\n", [b"\n\n", b"\ndata: a\n\n"], b""),
        (b"data: a\n\ndata: b\n", [b"data: a\n\n"], b"data: b\n"),
        (b"data: a\r\n\r", [], b"data: a\r\n\r"),
        (b"", [], b""),
    ],
)
def test_events_are_cut_after_their_empty_line(stream: bytes, events: list[bytes], rest: bytes) -> None:
    """LF, CRLF, CR and mixtures of them end an event, whatever the size of the pieces; all bytes stay."""
    for size in range(1, len(stream) + 1):
        assert cut(pieces_of(stream, size)) == (events, rest)


def test_every_short_stream_is_cut_alike_in_all_pieces() -> None:
    """All streams of up to six line ends and letters give the same events in one piece and in many."""
    for length in range(1, 7):
        for letters in itertools.product(b"a\n\r", repeat=length):
            stream = bytes(letters)
            events, rest = cut([stream])
            assert b"".join(events) + rest == stream
            for size in range(1, length):
                assert cut(pieces_of(stream, size)) == (events, rest), stream


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r", b"\n", b"data: "])))
def test_no_byte_is_lost_or_altered(pieces: list[bytes]) -> None:
    """Events and rest joined are the stream, and cutting it again elsewhere changes nothing."""
    events, rest = cut(pieces)
    assert b"".join(events) + rest == b"".join(pieces)
    assert cut([b"".join(pieces)]) == (events, rest)


def test_an_event_arrives_with_its_last_byte() -> None:
    """An event is given as soon as its empty line is there, and not one piece later."""
    events = Events()
    assert events.feed(b"data: a\n") == []
    assert events.feed(b"\n") == [b"data: a\n\n"]
    assert events.feed(b"data: b\r\n\r") == []
    assert events.feed(b"\n") == [b"data: b\r\n\r\n"]


@pytest.mark.parametrize("end", [b"12345678\n\n", b"123456789"])
@pytest.mark.parametrize("size", [1, 3, 99])
def test_an_event_over_the_limit_is_refused_and_kept(monkeypatch: pytest.MonkeyPatch, size: int, end: bytes) -> None:
    """An endless event raises, in one piece or in many; not even the events before it in its piece are lost."""
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 8)
    stream = b"123456\n\nb\n\n" + end
    events, got, taken = Events(), [], b""
    with pytest.raises(ValueError, match="over 8 bytes"):  # noqa: PT012 - any of the pieces may be the one
        for piece in pieces_of(stream, size):
            taken += piece
            got += events.feed(piece)
    assert b"".join(got) + events.rest() == taken


def test_an_event_of_the_limit_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is what an event may have, its empty line included."""
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 8)
    assert cut([b"123456\n\n", b"1234", b"56\n\n"]) == ([b"123456\n\n"] * 2, b"")


def test_a_large_event_in_small_pieces_is_searched_once() -> None:
    """Eight megabytes in pieces of 64 bytes take a moment; searching them again with each piece would take hours."""
    data = b"data: " + b"x" * (8 << 20)
    assert cut([*pieces_of(data, 64), b"\n\n"]) == ([data + b"\n\n"], b"")


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b'data:{"a":1}\r\n\r\n', b'{"a":1}'),
        (b"event: message_start\ndata:  x \n\n", b" x "),
        (b"data: [1,\ndata: 2]\n\n", b"[1,\n2]"),
        (b"data: a\rdata: b\r\r", b"a\nb"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
        (b"data\n\n", b""),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
        (b"\r\ndata: a\r\n\r\n", b"a"),
        (b"data: a", b"a"),
        (b": OPENROUTER PROCESSING\n\n", b""),
        (b": \n\n", b""),
        (b": data: a\nid: 1\nretry: 3\ndatabase: b\n\n", b""),
        (b"", b""),
    ],
)
def test_data_are_the_data_lines_joined(event: bytes, data: bytes) -> None:
    """One space after the colon is dropped; comments and other fields say nothing."""
    assert data_of(event) == data


ARRAY = [{"a": '}{"\\'}, {}, {"b": [{"c": "]"}, {"d": {}}], "{": "\\\\"}, {"text": 'a "quoted" \\" brace }'}]


@pytest.mark.parametrize("size", range(1, 40))
def test_items_of_an_array_are_its_objects(size: int) -> None:
    """Braces and quotes within strings end nothing, wherever a piece ends."""
    stream = b"[" + b"\n,\r\n".join(json.dumps(item).encode() for item in ARRAY) + b"\n]\n"
    assert [json.loads(item) for item in items_of(pieces_of(stream, size))] == ARRAY


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a{}[]",\\\n'), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.sampled_from('a{}"\\'), max_size=3), inner),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(max_size=2), json_values, max_size=3), max_size=4), st.integers(1, 9))
def test_items_come_whole_in_any_pieces(array: list[dict[str, object]], size: int) -> None:
    """What the server wrote as objects arrives as the same objects."""
    stream = json.dumps(array, ensure_ascii=False, indent=1).encode()
    assert [json.loads(item) for item in items_of(pieces_of(stream, size))] == array


def test_an_item_arrives_with_its_last_byte() -> None:
    """An object is given when it closes, not when the array does; an open one never is."""
    items = Items()
    assert items.feed(b'[{"a":1') == []
    assert items.feed(b'}\n,\n{"b"') == [b'{"a":1}']
    assert items.feed(b":2") == []


@given(st.lists(st.binary(max_size=6) | st.sampled_from([b"{", b"}", b'"', b"\\", b"]"])))
def test_items_of_garbage_are_pieces_of_it(pieces: list[bytes]) -> None:
    """Nothing raises, and what is given was there in one piece."""
    assert all(item in b"".join(pieces) for item in items_of(pieces))


def test_an_item_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that does not close is not collected for ever; what lies between objects is not collected at all."""
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 8)
    assert items_of([b"[" + b" " * 20, b" " * 20, b'{"a":12}', b',{"a":3}']) == [b'{"a":12}', b'{"a":3}']
    with pytest.raises(ValueError, match="over 8 bytes"):
        items_of([b'[{"a', b'":123}'])
