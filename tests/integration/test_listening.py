"""What both ports share, on real sockets: where a request ends, which tricks are refused, what is never a header."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.listening import connection
from reconciler.listening.head import TARGET_BYTES_MAX
from tests.support import DEADLINE_S, until
from tests.support_listening import MIB, Answer, Echo, Wire, wired

HEAD = b"POST /a HTTP/1.1\r\nhost: localhost\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    """Give a listener that says what it saw."""
    with Echo() as running:
        yield running


def counted(body: bytes) -> bytes:
    """Frame a body by its length."""
    return b"content-length: %d\r\n\r\n%s" % (len(body), body)


def chunked(body: bytes, trailer: bytes = b"") -> bytes:
    """Frame a body in two chunks."""
    half = len(body) // 2
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:half], body[half:]) if piece)
    return b"transfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n" + trailer + b"\r\n"


def asked(wire: Wire, data: bytes, size: int = 0) -> list[Answer]:
    """Send bytes, whole or in pieces of a size, and read all answers until the connection is closed."""
    if size:
        wire.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
        for at in range(0, len(data), size):
            wire.send(data[at : at + size])
    else:
        wire.send(data)
    return wire.answers()


OFFERS = [
    b"upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nContent-Type: application/json\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
    b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZQ\r\nsec-websocket-version: 13\r\n",
    b"upgrade: TLS/1.0, HTTP/2.0\r\nconnection: keep-alive, Upgrade\r\n",
    b"upgrade: \r\nconnection: upgrade\r\n",
    b"upgrade: h2c\r\n",
    b"connection: upgrade\r\n",
    b"UPGRADE: x\r\nCONNECTION: UPGRADE\r\nconnection: upgrade\r\nupgrade: y\r\n",
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("framing", [counted, chunked])
@pytest.mark.parametrize("size", [0, 1])
def test_offered_upgrade_is_ignored(echo: Echo, offer: bytes, framing: object, size: int) -> None:
    """The body is read by its framing, is no request of its own, and the connection goes on with the next request."""
    with wired(echo.port) as wire:
        answers = asked(wire, HEAD + offer + framing(SMUGGLED) + NEXT, size)  # type: ignore[operator]
    assert [(answer.status, answer.json["path"]) for answer in answers] == [(200, "/a"), (200, "/next")]
    assert answers[0].json["body"] == SMUGGLED.decode()


@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"DELETE", b"HEAD"])
def test_body_of_an_offer_that_is_answered_early_is_thrown_away(echo: Echo, method: bytes) -> None:
    """Also where nobody reads it, a body is never the next request."""
    head = b"%b /refuse HTTP/1.1\r\nhost: localhost\r\nupgrade: h2c\r\nconnection: upgrade\r\n" % method
    if method == b"HEAD":
        head = head.replace(b"HEAD", b"PUT")
    with wired(echo.port) as wire:
        wire.send(head + b"content-length: %d\r\n\r\n" % len(SMUGGLED))
        first = wire.answer()
        answers = asked(wire, SMUGGLED + NEXT)
    assert first is not None
    assert [(answer.status, answer.json["path"]) for answer in (first, *answers)] == [(401, "/refuse"), (200, "/next")]


def test_client_that_expects_to_be_told_is_told_also_with_an_offer(echo: Echo) -> None:
    """100 Continue comes before the body, and the connection is kept."""
    with wired(echo.port) as wire:
        wire.send(HEAD + b"upgrade: h2c\r\nconnection: upgrade\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        first = wire.answer()
        assert first is not None
        assert first.status == 100
        answers = asked(wire, b"hello" + NEXT)
    assert [(answer.status, answer.json["body"]) for answer in answers] == [(200, "hello"), (200, "")]


def test_client_that_was_not_told_to_continue_is_not_heard_again(echo: Echo) -> None:
    """Whether it sends its body now or another request nobody could tell: the connection ends after the answer."""
    with wired(echo.port) as wire:
        wire.send(b"POST /refuse HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n")
        answers = asked(wire, NEXT)
    assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(401, "close")]


@pytest.mark.parametrize(
    "data",
    [
        b"CONNECT localhost:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/0.9\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.2\r\nhost: localhost\r\n\r\n",
        b"GET /\r\n",
        b"GET /\r\nhost: localhost\r\n\r\n",
        b"GET / http/1.1\r\nhost: localhost\r\n\r\n",
        b"get / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET  / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1 \r\nhost: localhost\r\n\r\n",
        b" GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /a\tb HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /#a HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET ftp://localhost/ HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / RTSP/1.0\r\nhost: localhost\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\nhost: localhost\n\n",
        b"GET / HTTP/1.1\r\nhost: localhost\n\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\n",
        b"GET / HTTP/1.1\r\nhost: localhost\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00",
    ],
)
def test_what_is_no_request_of_ours_is_a_400(echo: Echo, data: bytes) -> None:
    """It is answered at once, and what stands behind it is not looked at."""
    with wired(echo.port) as wire:
        answers = asked(wire, data + (SMUGGLED if b"\r\n\r\n" in data else b""))
    assert [answer.status for answer in answers] == [400]
    with wired(echo.port) as wire:
        assert [answer.status for answer in asked(wire, data, 1)] == [400]


FIELDS = {
    "transfer-encoding and content-length": b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    "content-length and transfer-encoding": b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n",
    "a length twice": b"content-length: 5\r\ncontent-length: 5\r\n",
    "lengths in a list": b"content-length: 5, 5\r\n",
    "signed length": b"content-length: +5\r\n",
    "negative length": b"content-length: -5\r\n",
    "hexadecimal length": b"content-length: 0x5\r\n",
    "underscored length": b"content-length: 1_0\r\n",
    "empty length": b"content-length:\r\n",
    "other digits": "content-length: ５\r\n".encode(),
    "huge length": b"content-length: 18446744073709551621\r\n",
    "blank in length": b"content-length: 1 0\r\n",
    "chunked, identity": b"transfer-encoding: chunked, identity\r\n",
    "identity": b"transfer-encoding: identity\r\n",
    "gzip, chunked": b"transfer-encoding: gzip, chunked\r\n",
    "chunked twice": b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    "chunked, chunked": b"transfer-encoding: chunked, chunked\r\n",
    "xchunked": b"transfer-encoding: xchunked\r\n",
    "quoted": b'transfer-encoding: "chunked"\r\n',
    "parameter": b"transfer-encoding: chunked;q=1\r\n",
    "vertical tab": b"transfer-encoding:\x0bchunked\r\n",
    "blank before colon": b"transfer-encoding : chunked\r\n",
    "tab before colon": b"content-length\t: 5\r\n",
    "nul in name": b"x\x00y: a\r\n",
    "nul in value": b"x: a\x00b\r\n",
    "bare cr": b"x: a\rcontent-length: 5\r\n",
    "bare lf": b"x: a\ncontent-length: 5\r\n",
    "folded": b"x: a\r\n content-length: 5\r\n",
    "folded first": b" x: a\r\n",
    "no colon": b"content-length 5\r\n",
    "no name": b": a\r\n",
    "high byte in name": b"x\xff: a\r\n",
    "second host": b"host: localhost\r\n",
    "second other host": b"Host: evil.example\r\n",
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS.keys())
def test_field_that_can_be_read_in_two_ways_is_a_400(echo: Echo, fields: bytes) -> None:
    """Before or behind the others, whole or byte by byte: one answer, and nothing behind it is looked at."""
    for head, size in itertools.product((HEAD + fields, HEAD.replace(b"host", fields + b"host")), (0, 1)):
        with wired(echo.port) as wire:
            answers = asked(wire, head + b"\r\n0\r\n\r\n" + SMUGGLED, size)
        assert [answer.status for answer in answers] == [400], head


def test_chunked_of_http_10_is_a_400(echo: Echo) -> None:
    """RFC 9112 6.1: its framing is faulty."""
    with wired(echo.port) as wire:
        data = HEAD.replace(b"1.1", b"1.0") + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        assert [answer.status for answer in asked(wire, data)] == [400]


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED", b" \t chunked"])
def test_chunked_is_chunked_in_any_case(echo: Echo, coding: bytes) -> None:
    """Names of codings have no case, and blanks before a value are none of it."""
    with wired(echo.port) as wire:
        data = HEAD + b"Transfer-ENCODING:" + coding + b"\r\n\r\n3;a=b;c\r\nabc\r\n0\r\n\r\n" + NEXT
        assert [answer.json["body"] for answer in asked(wire, data)] == ["abc", ""]


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\r\nabc\r\n0\r\n\r\n",
        b"2\r\nabc\r\n0\r\n\r\n",
        b"g\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        b"3;a\rb\r\nabc\r\n0\r\n\r\n",
        b"3;a\x00b\r\nabc\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nabc",
        b"10000000000000003\r\nabc\r\n0\r\n\r\n",
        b"0000000000000000000000003\r\nabc\r\n0\r\n\r\n",
        b"3;" + b"x" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
        b"1;" + b"x" * 5000,
        b"".join(b"1;%b\r\na\r\n" % (b"x" * 500) for _ in range(100)) + b"0\r\n\r\n",
        b"0\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
        b"0\r\n" + b"x: y\r\n" * 100 + b"\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nx: a\n\r\n",
        b"0\r\nx: a\r\n folded\r\n\r\n",
        b"0\r\n: a\r\n\r\n",
        b"0\r\nx: a\x00\r\n\r\n",
        b"0\n\n",
    ],
)
@pytest.mark.parametrize("size", [0, 1])
def test_malformed_chunks_are_a_400(echo: Echo, chunks: bytes, size: int) -> None:
    """One answer, whole or byte by byte, and nothing behind it is looked at."""
    with wired(echo.port) as wire:
        data = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks
        answers = asked(wire, data + (SMUGGLED if chunks.endswith(b"\n\r\n") else b""), size)
    assert [answer.status for answer in answers] == [400], answers


def test_small_chunks_are_read(echo: Echo) -> None:
    """A body that comes a byte at a time is as good as any, also many of them in one piece."""
    body = bytes(range(32, 127)) * 200
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with wired(echo.port) as wire:
        answers = asked(wire, HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + NEXT)
    assert [answer.json["body"] for answer in answers] == [body.decode(), ""]


def test_trailer_fields_are_never_headers(echo: Echo) -> None:
    """A key, a Host, a length or an X- field that stands in a trailer is nothing, for this request and the next."""
    trailer = (
        b"authorization: Bearer pak_x\r\nx-api-key: pak_x\r\nhost: evil.example\r\ncontent-length: 40\r\n"
        b"x-forwarded-for: 10.0.0.1\r\nx-pai-fallback: other\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
    )
    with wired(echo.port) as wire:
        answers = asked(wire, HEAD + chunked(b"hello", trailer) + NEXT)
    assert [answer.json["path"] for answer in answers] == ["/a", "/next"]
    assert dict(answers[0].json["headers"]) == {"host": "localhost", "transfer-encoding": "chunked"}
    assert dict(answers[1].json["headers"]) == {"host": "localhost", "connection": "close"}


def test_trailer_never_names_the_host(echo: Echo) -> None:
    """A request without a Host is refused, whatever its trailers say."""
    with wired(echo.port) as wire:
        data = b"POST /a HTTP/1.1\r\n" + chunked(b"hello", b"host: localhost\r\n")
        assert [answer.status for answer in asked(wire, data)] == [400]


@pytest.mark.parametrize("size", [0, 7])
def test_pipelined_requests_are_answered_one_after_the_other(echo: Echo, size: int) -> None:
    """Each gets its answer, in order; the last one ends the connection."""
    requests = b"".join(b"GET /%d HTTP/1.1\r\nhost: localhost\r\n\r\n" % number for number in range(50))
    with wired(echo.port) as wire:
        answers = asked(wire, requests + NEXT, size)
    assert [answer.json["path"] for answer in answers] == [*(f"/{number}" for number in range(50)), "/next"]


def test_what_follows_the_last_word_is_not_looked_at(echo: Echo) -> None:
    """Behind connection: close there is no request, however much is sent; the answer arrives all the same."""
    with wired(echo.port) as wire:
        wire.send(NEXT)
        for _ in range(100):
            wire.send(SMUGGLED * 1000)
        assert [answer.json["path"] for answer in wire.answers()] == ["/next"]


@pytest.mark.parametrize("begin", [b"", b"\r\n", b"\r", b"GET / HTTP/1.1\r\nhost: local"])
def test_connection_that_says_nothing_whole_ends(begin: bytes) -> None:
    """Before the first request, within an empty line or within a head: a 408 after its time."""
    with Echo(head_s=0.3) as echo, wired(echo.port) as wire:
        wire.send(begin)
        assert [answer.status for answer in wire.answers()] == [408]


@pytest.mark.parametrize(
    "rest",
    [
        b"a",
        b"1\r\na\r\n",
        b"0\r\n",
        b"0\r\nx: y\r\n",
    ],
)
def test_rest_of_a_refused_request_has_a_time(rest: bytes) -> None:
    """After an answer the rest of a body, its chunks and its trailers are awaited for a while only."""
    framing = b"content-length: 100\r\n\r\n" if rest == b"a" else b"transfer-encoding: chunked\r\n\r\n"
    with Echo(head_s=0.3) as echo, wired(echo.port) as wire:
        began = time.monotonic()
        wire.send(b"POST /refuse HTTP/1.1\r\nhost: localhost\r\n" + framing + rest)
        assert [answer.status for answer in wire.answers()] == [401]
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("number", [201, 5000])
def test_too_many_fields_are_a_431(echo: Echo, number: int) -> None:
    """However small they are."""
    with wired(echo.port) as wire:
        assert [answer.status for answer in asked(wire, HEAD + b"a:b\r\n" * number + b"\r\n")] == [431]


@pytest.mark.parametrize("size", [0, 1000])
def test_head_beyond_its_size_is_a_431(echo: Echo, size: int) -> None:
    """At once or in pieces, with an end or without."""
    for end in (b"", b"\r\n\r\n"):
        with wired(echo.port) as wire:
            answers = asked(wire, HEAD + b"x: " + b"y" * 70_000 + end, size)
            assert [answer.status for answer in answers] == [431]


@pytest.mark.parametrize("size", [0, 1000])
def test_target_beyond_its_size_is_a_414(echo: Echo, size: int) -> None:
    """At once or in pieces, whole or not: no client of an API needs more, and what it costs grows with it."""
    most = TARGET_BYTES_MAX - 1
    for line in (
        b"GET /" + b"y" * 70_000,
        b"GET /" + b"y" * (most + 1) + NEXT[9:],
        b"GET /?" + b"%41" * 9000 + NEXT[9:],
    ):
        with wired(echo.port) as wire:
            assert [answer.status for answer in asked(wire, line, size)] == [414]
    with wired(echo.port) as wire:
        assert [answer.status for answer in asked(wire, b"GET /" + b"y" * most + NEXT[9:], size)] == [200]


@pytest.mark.parametrize("name", [b"connection", b"expect", b"host", b"x-forwarded-for", b"x-forwarded-proto"])
def test_field_that_decides_something_is_small(echo: Echo, name: bytes) -> None:
    """Its parts are looked at one by one; in two fields of a name there may be no more."""
    before = b"GET /a HTTP/1.1\r\n" + (b"" if name == b"host" else b"host: localhost\r\n")
    for value in (b"," * 1025, b"," * 60_000, b"." * 1025, b"," * 600 + b"\r\n" + name + b": " + b"," * 600):
        with wired(echo.port) as wire:
            assert [answer.status for answer in asked(wire, before + name + b": " + value + b"\r\n\r\n")] == [431]


def test_flood_behind_a_refusal_is_not_kept(echo: Echo) -> None:
    """Trailers, chunks, fields or requests without end behind an answer: refused or slowed, and never held."""
    chunks = b"transfer-encoding: chunked\r\n\r\n0\r\n"
    for head, flood in (
        (b"POST /refuse HTTP/1.1\r\nhost: localhost\r\n" + chunks, b"x-a: " + b"b" * 1000 + b"\r\n"),
        (b"POST /refuse HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n", b"1;x=y\r\na\r\n"),
        (b"GET /refuse HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", SMUGGLED),
        (b"GET /refuse HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HTTP/1.1\r\n", b"x-a: " + b"b" * 1000 + b"\r\n"),
    ):
        with wired(echo.port) as wire:
            wire.send(head)
            first = wire.answer()
            assert first is not None
            assert first.status == 401
            wire.send(flood * (4 * MIB // len(flood)))
            assert echo.door.unread_bytes < MIB
    until("nothing to be kept", lambda: echo.door.unread_bytes == 0)


@pytest.mark.parametrize("framing", [counted, chunked])
def test_client_that_is_refused_while_it_sends_reads_why(echo: Echo, framing: object) -> None:
    """It sends its megabytes to the end first, as many do, then reads, and goes on."""
    head = b"POST /refuse HTTP/1.1\r\nhost: localhost\r\n"
    with wired(echo.port) as wire:
        wire.send(head)
        answers = asked(wire, framing(b"a" * 8 * MIB) + NEXT, 100_000)  # type: ignore[operator]
    assert [answer.status for answer in answers] == [401, 200]


def test_requests_that_wait_for_an_answer_are_bounded(echo: Echo) -> None:
    """While an answer is under way a few kilobytes behind it are kept, and the rest stays with the client."""
    echo.gate.clear()
    try:
        with wired(echo.port) as wire:
            wire.socket.settimeout(0.5)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 64 * MIB:
                    sent += wire.socket.send(SMUGGLED * 1000)
            assert sent < 32 * MIB
            assert 0 < echo.door.unread_bytes < MIB
            echo.gate.set()
            wire.socket.settimeout(DEADLINE_S)
            assert [answer.status for answer in (wire.answer(), wire.answer()) if answer] == [200, 200]
    finally:
        echo.gate.set()
    until("nothing to be kept", lambda: echo.door.unread_bytes == 0)


def test_half_heads_of_many_connections_are_bounded_together() -> None:
    """Connections that each keep a little less than a head may have keep a stated amount together.

    Where it is too much several go at once: who keeps most is not looked for at each piece that comes.
    """
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.unread_bytes_max = MIB
        wires = [stack.enter_context(wired(echo.port)) for _ in range(18)]
        for wire in wires:
            wire.send(HEAD + b"x: " + b"y" * 59_000)
        until("a refusal", lambda: select.select([wire.socket for wire in wires], [], [], 0)[0])
        assert echo.door.unread_bytes <= MIB * 3 / 4
        refusal = next(wire for wire in wires if select.select([wire.socket], [], [], 0)[0]).answer()
        assert refusal is not None
        assert refusal.status == 503
        with wired(echo.port) as other:
            assert [answer.status for answer in asked(other, NEXT)] == [200]


def test_idle_connection_gives_way_to_one_that_asks() -> None:
    """Where all connections are taken, one on which nothing is asked is closed."""
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.connections_max = 10
        for _ in range(40):
            stack.enter_context(wired(echo.port))
        with wired(echo.port) as wire:
            assert [answer.status for answer in asked(wire, NEXT)] == [200]


def test_who_takes_no_answer_gives_way_to_one_that_asks() -> None:
    """Where all connections are taken, one of who has shown no key and takes no answer is closed."""
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.door.connections_max = 4
        for _ in range(4):
            wire = stack.enter_context(wired(echo.port))
            wire.send(HEAD + counted(b"a" * 8 * MIB) + SMUGGLED)
        until("answers to wait", lambda: len(echo.waiting) == 4)
        with wired(echo.port) as wire:
            assert [answer.status for answer in asked(wire, NEXT)] == [200]


def test_next_request_waits_until_the_last_answer_is_taken() -> None:
    """Who does not read is not asked about again, and gets all answers when it reads."""
    begun: list[str] = []
    with Echo() as echo, wired(echo.port) as wire:
        app = echo.door.app

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            begun.append(scope["path"])
            await app(scope, receive, send)

        echo.door.app = noting
        wire.send(HEAD + counted(b"a" * 8 * MIB) + SMUGGLED + NEXT)
        until("the answer to wait", lambda: len(echo.waiting) == 1)
        time.sleep(0.2)
        assert begun == ["/a"]
        assert [answer.status for answer in wire.answers()] == [200, 200, 200]


def test_client_that_takes_nothing_of_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose client does not read is closed after its time, and keeps nothing."""
    monkeypatch.setattr(connection, "SEND_S", 0.3)
    with Echo() as echo, wired(echo.port) as wire:
        wire.send(HEAD + counted(b"a" * 16 * MIB))
        until("the client to be given up", lambda: echo.connections == 0)


def test_client_that_has_closed_its_side_and_takes_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of its answer waits: also where it is too little for anybody to wait for it."""
    monkeypatch.setattr(connection, "SEND_S", 0.3)
    with Echo() as echo, contextlib.ExitStack() as stack:
        echo.shrink()
        for size in range(2048, 192 * 1024, 4096):
            wire = stack.enter_context(wired(echo.port))
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.send(HEAD + counted(b"a" * size))
            select.select([wire.socket], [], [])
            wire.socket.shutdown(socket.SHUT_WR)
        until("every connection to be closed", lambda: echo.connections == 0)


def test_idle_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an answer a connection is kept for a while, and closed without a word."""
    monkeypatch.setattr(connection, "IDLE_S", 0.3)
    with Echo() as echo, wired(echo.port) as wire:
        assert [answer.status for answer in asked(wire, NEXT.replace(b"close", b"keep-alive"))] == [200]


def test_refused_client_that_sends_on_is_closed(echo: Echo) -> None:
    """It has a moment to read why, however much it sends, and no longer."""
    with wired(echo.port) as wire:
        wire.send(b"no request\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < DEADLINE_S:
                wire.socket.sendall(b"a" * 100_000)
        assert time.monotonic() - began < DEADLINE_S / 2
    until("every connection to be closed", lambda: echo.connections == 0)
