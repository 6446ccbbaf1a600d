"""Names, proxies and chunks, without a socket; and what is leaned on inside uvicorn and httptools."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import ipaddress
import random
from types import SimpleNamespace
from unittest.mock import create_autospec

import httptools
import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import Server, ServerState

from reconciler.listening import Door, DoorLimits, Hosts, Proxies, head
from reconciler.listening.connection import TAKEN_BYTES_MIN, ClientConnection
from reconciler.listening.framing import BadRequest, Chunked
from reconciler.listening.head import Beginning, RequestHead

KNOWN = [
    b"localhost",
    b"LOCALHOST:8000",
    b"localhost.",
    b"localhost:",
    b"pai.example.com",
    b"Pai.Example.com:443",
    b"pai.example.com.:443",
    b"127.0.0.1",
    b"127.0.0.1:65535",
    b"192.168.7.9:1",
    b"[::1]",
    b"[::1]:8000",
    b"[::ffff:127.0.0.1]",
    b"[2001:DB8::1]:80",
]
FOREIGN = [
    b"",
    b":8000",
    b".",
    b"evil.example",
    b"evil.example:8000",
    b"localhost.evil.example",
    b"evil.localhost",
    b"127.0.0.1.evil.example",
    b"[::1].evil.example",
    b"[::1]evil.example",
    b"[::1].evil.example:80",
    b"[evil.example]",
    b"[::1",
    b"::1",
    b"::1]",
    b"[127.0.0.1]",
    b"[fe80::1%25eth0]",
    b"[fe80::1%eth0]",
    b"[v1.x]",
    b"user@localhost",
    b"user:password@localhost:80",
    b"localhost@evil.example",
    b"localhost, evil.example",
    b"localhost evil.example",
    b"localhost/",
    b"localhost?",
    b"localhost#",
    b"localhost..",
    b"localhost:80:90",
    b"localhost:evil",
    b"localhost:-1",
    b"localhost:999999",
    b"2130706433",
    b"0x7f000001",
    b"0x7f.0.0.1",
    b"0177.0.0.1",
    b"127.0.0.01",
    b"127.1",
    b"127.0.0.1.",
    "127.0.0.１".encode(),
    "lоcalhost".encode(),
    b"localhost\xff",
    b"*",
    b"null",
    b"file:",
]


@pytest.mark.parametrize("authority", KNOWN)
def test_addresses_and_own_names_are_known(authority: bytes) -> None:
    """In any case, with any port, and with the dot of the root."""
    hosts = Hosts(["pai.example.com"])
    assert hosts.know([authority])
    assert hosts.know([authority])


@pytest.mark.parametrize("authority", FOREIGN)
def test_what_is_not_plainly_known_is_foreign(authority: bytes) -> None:
    """Also when it stands beside one that is known, and when it is asked for twice."""
    hosts = Hosts(["pai.example.com"])
    assert not hosts.know([authority])
    assert not hosts.know([b"localhost", authority])
    assert not hosts.know([authority, b"localhost"])


@pytest.mark.parametrize(
    ("target", "hosts", "path", "query"),
    [
        (b"/a?b?c", [b"x"], b"/a", b"b?c"),
        (b"http://y:1/a?b", [b"x", b"y:1"], b"/a", b"b"),
        (b"HTTPS://y", [b"x", b"y"], b"/", b""),
        (b"http://y?b", [b"x", b"y"], b"/", b"b"),
        (b"http://", [b"x", b""], b"/", b""),
        (b"http://u@y/a", [b"x", b"u@y"], b"/a", b""),
        (b"//y/a", [b"x"], b"//y/a", b""),
        (b"/http://y/a", [b"x"], b"/http://y/a", b""),
    ],
)
def test_url_as_target_names_a_host_too(target: bytes, hosts: list[bytes], path: bytes, query: bytes) -> None:
    """RFC 9112 3.2: the authority of the target counts, and so does the Host."""
    head = RequestHead(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (head.hosts, head.path, head.query) == (hosts, path, query)


@pytest.mark.parametrize("blank", [b"", b"\r\n"])
def test_nothing_of_a_head_is_looked_at_twice(monkeypatch: pytest.MonkeyPatch, blank: bytes) -> None:
    """However it comes, its first line is matched once, when it has come."""
    matched: list[int] = []
    line = head._LINE
    monkeypatch.setattr(
        head,
        "_LINE",
        SimpleNamespace(match=lambda data, begin: matched.append(len(data)) or line.match(data, begin)),
    )
    first = blank + b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\n"
    data = first + b"host: x\r\ny: " + b"z" * 1000 + b"\r\n\r\n"
    beginning = Beginning()
    ends = [beginning.end(data[:size], len(blank)) for size in range(len(blank) + 1, len(data) + 1)]
    assert ends == [0] * (len(ends) - 1) + [len(data)]
    assert matched == [len(first)]
    beginning.anew()
    with pytest.raises(BadRequest):
        beginning.end(b"no line\r\n", 0)


TRUSTED = Proxies(map(ipaddress.ip_network, ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7")))


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], "10.0.0.1"),
        ([b""], "10.0.0.1"),
        ([b"203.0.113.9"], "203.0.113.9"),
        ([b"203.0.113.9:4711"], "203.0.113.9"),
        ([b"192.168.1.1, 203.0.113.9"], "203.0.113.9"),
        ([b"192.168.1.1", b"203.0.113.9"], "203.0.113.9"),
        ([b"192.168.1.1", b"203.0.113.9 ,\t10.1.1.1, 192.0.2.7"], "203.0.113.9"),
        ([b"10.9.9.9, 10.1.1.1"], "10.9.9.9"),
        ([b"::ffff:203.0.113.9"], "203.0.113.9"),
        ([b"[2001:db9::1]:80, 2001:db8::5"], "2001:db9::1"),
        ([b"2001:db9::1"], "2001:db9::1"),
        ([b"garbage, 203.0.113.9"], "203.0.113.9"),
        ([b"203.0.113.9, garbage"], "10.0.0.1"),
        ([b"203.0.113.9, garbage, 10.1.1.1"], "10.0.0.1"),
        ([b"203.0.113.9,"], "10.0.0.1"),
        ([b"203.0.113.9", b""], "10.0.0.1"),
        ([b"unknown"], "10.0.0.1"),
        ([b"_hidden"], "10.0.0.1"),
        ([b"127.1"], "10.0.0.1"),
        ([b"2130706433"], "10.0.0.1"),
        ([b"203.0.113.9/32"], "10.0.0.1"),
        ([b'"203.0.113.9"'], "10.0.0.1"),
        ([b"for=203.0.113.9"], "10.0.0.1"),
        ([b"[203.0.113.9"], "10.0.0.1"),
        ([b"[2001:db9::1]x"], "10.0.0.1"),
        ([b"203.0.113.9\xff"], "10.0.0.1"),
        ([b"203.0.113.9, " + b"10.1.1.1, " * 40 + b"10.1.1.1"], "10.0.0.1"),
    ],
)
def test_client_is_what_trusted_proxies_wrote(lines: list[bytes], client: str) -> None:
    """From the right the first address that is no proxy's; what cannot be read is not believed."""
    assert TRUSTED.trust("10.0.0.1")
    assert TRUSTED.client("10.0.0.1", {b"x-forwarded-for": lines}) == client


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "11.0.0.1", "", "10.0.0.1.evil.example"])
def test_nobody_else_is_trusted(peer: str) -> None:
    """Nor is this machine, unless it is said."""
    assert not TRUSTED.trust(peer)
    assert not Proxies().trust("10.0.0.1")
    assert TRUSTED.trust("::ffff:10.0.0.1")


def test_chunks_are_the_same_however_they_come() -> None:
    """Cut anywhere, a body in chunks with extensions and trailers gives the same bytes and the same rest."""
    random_ = random.Random(7)  # noqa: S311 - the same bytes every time
    body = random_.randbytes(3000)
    pieces, at = [], 0
    while at < len(body):
        size = random_.choice((1, 2, 15, 16, 17, 300))
        piece = body[at : at + size]
        extension = random_.choice((b"", b";a", b' ;a="b;c"', b";a=b;d"))
        pieces.append(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece))
        at += size
    data = b"".join(pieces) + b"0;last\r\nX-Y: z\r\nhost: x\r\n\r\n" + b"GET"
    for _ in range(300):
        chunked, read, rest, sent = Chunked(), b"", b"", 0
        while sent < len(data):
            size = random_.choice((1, 2, 3, 50, 5000))
            rest += data[sent : sent + size]
            sent += size
            while rest and not chunked.whole:
                piece, rest = chunked.take(rest)
                read += piece
                if not chunked.turn_over:
                    break
        assert (chunked.whole, read, rest) == (True, body, b"GET")


def test_chunks_are_read_in_turns() -> None:
    """Many small chunks in one piece do not keep the others waiting."""
    data = b"1\r\na\r\n" * 10_000
    chunked = Chunked()
    piece, rest = chunked.take(data)
    assert chunked.turn_over
    assert 0 < len(piece) <= 256
    assert len(rest) == len(data) - 6 * len(piece)


def test_extensions_are_bounded_over_the_whole_body() -> None:
    """A body that is mostly no data is refused, however small each line is."""
    with pytest.raises(BadRequest, match="no data"):
        Chunked().take(b"".join((b"1;", b"x" * 300, b"\r\na\r\n")) * 100)


def test_what_is_leaned_on_inside_uvicorn_is_as_it_was_read() -> None:
    """Another minor version of uvicorn or httptools is read first: docs/decisions/0055."""
    versions = [importlib.metadata.version(name).rsplit(".", 1)[0] for name in ("uvicorn", "httptools")]
    assert versions == ["0.54", "0.9"]
    assert list(inspect.signature(RequestResponseCycle).parameters) == [
        "scope",
        "transport",
        "flow",
        "logger",
        "access_logger",
        "access_log",
        "default_headers",
        "message_event",
        "expect_100_continue",
        "keep_alive",
        "on_response",
    ]
    used = {"transport.write", "transport.close", "transport.is_closing", "flow.drain", "flow.resume_reading"}
    source = inspect.getsource(RequestResponseCycle)
    named = {f"{part}.{name}" for part in ("transport", "flow") for name in _attributes(source, part)}
    assert named == used | {"flow.write_paused"}
    assert list(inspect.signature(FlowControl).parameters) == ["transport"]
    assert "connection.shutdown()" in inspect.getsource(Server.shutdown)


def _attributes(source: str, part: str) -> set[str]:
    return {piece.split("(")[0].split()[0].rstrip(":") for piece in source.split(f"self.{part}.")[1:]}


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"POST / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\n", "HttpParserUpgrade"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "HttpParserError"),
        (b"POST / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", "HttpParserError"),
        (b"POST / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", "HttpParserError"),
        (b"POST / HTTP/1.1\r\nX : a\r\n\r\n", "HttpParserError"),
        (b"POST / HTTP/1.1\r\nX: a\x00\r\n\r\n", "HttpParserError"),
    ],
)
def test_llhttp_is_strict_by_itself(head: bytes, error: str) -> None:
    """What `head` leaves to the parser, it refuses; an offer to upgrade is told after the head was read."""
    with pytest.raises(getattr(httptools, error)):
        httptools.HttpRequestParser(object()).feed_data(head)


@pytest.mark.parametrize(("taken", "stays"), [(0, False), (1, False), (TAKEN_BYTES_MIN, True)])
def test_client_has_to_take_a_least_part_of_what_waits(taken: int, stays: bool) -> None:
    """A byte now and then does not keep a connection."""

    async def work() -> None:
        door = Door(None, None, Hosts([]), Proxies(), DoorLimits(5.0, 5.0))  # type: ignore[arg-type]
        served = type("Served", (ClientConnection,), {"door": door})
        came = served(None, ServerState(), {})
        transport = create_autospec(asyncio.Transport, instance=True)
        transport.get_extra_info.return_value = None
        transport.get_write_buffer_size.return_value = 1024 * 1024
        came.connection_made(transport)
        came.pause_writing()
        transport.get_write_buffer_size.return_value -= taken
        came._untaken()
        assert transport.abort.called is not stays
        came._untaken()
        assert transport.abort.called
        came.connection_lost(None)

    asyncio.run(work())
