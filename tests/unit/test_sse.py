"""Cutting streams: any bytes, in any pieces, give the same events and lose nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.sse import Events, data_of


def cut(pieces: Iterable[bytes]) -> tuple[list[bytes], bytes]:
    """Give the events of a stream that arrives in these pieces, and what is left."""
    events = Events()
    return [event for piece in pieces for event in events.feed(piece)], events.rest()


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


@given(
    st.lists(st.binary(max_size=9) | st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r", b"\n", b"data: "])),
    st.integers(0, 3),
)
def test_event_that_is_taken_in_parts_is_cut_alike(pieces: list[bytes], every: int) -> None:
    """What is taken of an event before its end, and what is given at its end, are the event; its end comes last."""
    events, got, part = Events(), [], b""
    for number, piece in enumerate(pieces):
        for event in events.feed(piece):
            got.append(part + event)
            part = b""
        if every and number % every == 0:
            part += events.spill()
            assert events.size <= 2
    assert (got, part + events.rest()) == cut(pieces)


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
