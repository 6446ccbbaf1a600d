"""A provider that is broken, or wants to break what stands before it: its key, its headers, its status."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

import httpx
import pytest

from tests.support import DEADLINE_S, Site
from tests.support_gateway import PROVIDER_KEYS, Bench, asked, headers_of, opened, refused
from tests.support_upstream import RawProvider, chunked, framed, streamed


class Broken(NamedTuple):
    """A running gateway, and the provider behind all of its bindings."""

    bench: Bench
    provider: RawProvider


@pytest.fixture(scope="module")
def broken(gateway_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    """Give a gateway whose providers are one that says what the test wants."""
    provider = RawProvider()
    with opened(gateway_template, tmp_path_factory.mktemp("broken"), **provider.environment) as bench:
        yield Broken(bench, provider)
    provider.close()


OPERATION = {"openai": "chat", "anthropic": "messages", "gemini": "generate", "openrouter": "chat"}
EACH = pytest.mark.parametrize("provider", OPERATION)


def _escaped(key: str) -> str:
    return "".join(f"\\u{ord(character):04X}" for character in key)


WRITTEN: dict[str, Callable[[str], str]] = {
    "literal": lambda key: key,
    "escaped": _escaped,
    "first-escaped": lambda key: _escaped(key[:1]) + key[1:],
    "last-escaped": lambda key: key[:-1] + _escaped(key[-1:]).lower(),
    "percent": lambda key: "".join(f"%{ord(character):02x}" for character in key),
}


CONTROLS = re.compile(r'["\x00-\x1f]')


def _kept_out(answer: httpx.Response, key: str) -> None:
    """See that an answer holds the key nowhere, and three asterisks where it stood."""
    shown = [*answer.headers.items(), ("", answer.text)]
    for text in (part for pair in shown for part in pair):
        assert key not in text
        assert key not in json.loads(f'"{re.sub(CONTROLS, "", text)}"')
    assert "***" in answer.text


@EACH
@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "400 Bad", "401 No", "404 No", "429 Slow", "500 Bad", "529 Busy"]
)
def test_key_never_comes_back(broken: Broken, provider: str, way: str, status: str) -> None:
    """In the body and the headers of any status, whole or streamed in pieces, packed or not: the key is masked."""
    key = PROVIDER_KEYS[provider]
    body = b'{"error": {"message": "wrong key: %s!"}}' % WRITTEN[way](key).encode()
    lines = (f"x-own: Bearer {key}", f"{key}: x", "x-kept: yes")
    packed = gzip.compress(body, mtime=0)
    for pieces in (
        [framed(body, *lines, status=status)],
        [framed(packed, *lines, "content-encoding: gzip", status=status)],
        [
            streamed(*lines, kind="application/json", status=status),
            *(chunked(bytes((byte,))) for byte in body),
            chunked(b""),
        ],
    ):
        broken.provider.says(*pieces)
        answer = broken.bench.ask(OPERATION[provider], provider)
        _kept_out(answer, key)
        assert answer.status_code == int(status[:3])
        assert (answer.headers["x-own"], answer.headers["x-kept"]) == ("Bearer ***", "yes")


@EACH
@pytest.mark.parametrize("way", WRITTEN)
def test_key_never_comes_back_in_a_stream(broken: Broken, provider: str, way: str) -> None:
    """Also cut anywhere by the pieces of a stream, and by those of its compression."""
    key = PROVIDER_KEYS[provider]
    event = b'data: {"error": {"message": "wrong key: %s!"}}\n\n' % WRITTEN[way](key).encode()
    packed = gzip.compress(event * 2, mtime=0)
    for head, data in ((streamed(), event * 2), (streamed("content-encoding: gzip"), packed)):
        for size in (1, 7, 1000):
            pieces = [chunked(data[at : at + size]) for at in range(0, len(data), size)]
            broken.provider.says(head, *pieces, chunked(b""))
            answer = broken.bench.ask(OPERATION[provider], provider, stream=True)
            _kept_out(answer, key)
            assert answer.text.count("***!") == 2


def _read(bench: Bench, provider: str) -> bytes:
    """Ask, and give all bytes that come back, as they come."""
    path, body = asked(OPERATION[provider], provider)
    text = json.dumps(body).encode()
    headers = {**headers_of(OPERATION[provider]), "host": "localhost", "connection": "close"}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join((*lines, f"content-length: {len(text)}", "", "")).encode()
    with socket.create_connection((bench.client.base_url.host, bench.client.base_url.port), DEADLINE_S) as client:
        client.sendall(head + text)
        return b"".join(iter(lambda: client.recv(65536), b""))


CASES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "small": str.lower,
    "capital": str.upper,
    "other": str.swapcase,
}


@EACH
@pytest.mark.parametrize("case", CASES)
def test_key_shows_nowhere_around_a_body_in_any_case(broken: Broken, provider: str, case: str) -> None:
    """Status line, names and values of headers, extensions of chunks, trailers: read from the socket itself."""
    key = CASES[case](PROVIDER_KEYS[provider])
    lines = (f"{key}: 1", f"x-{key}: 2", f"x-own: a {key} b", "x-kept: yes")
    for status in (f"200 {key}", f"400 {key}"):
        ends = b"2;x=%s\r\n{}\r\n0\r\n%s: 1\r\nx-late: %s\r\n\r\n" % ((key.encode(),) * 3)
        for pieces in (
            [framed(b"{}", *lines, status=status)],
            [streamed(*lines, f"trailer: {key}", kind="application/json", status=status), ends],
        ):
            broken.provider.says(*pieces)
            shown = _read(broken.bench, provider)
            assert shown.startswith(b"HTTP/1.1 %s" % status[:3].encode())
            assert b"x-kept: yes" in shown
            assert key.lower().encode() not in shown.lower()


ODD = "000 001 099 101 299 300 301 302 303 304 305 306 307 308 399 600 999"


@pytest.mark.parametrize("status", ODD.split())
def test_status_that_tells_nothing_is_forfeited(broken: Broken, status: str) -> None:
    """Neither success with a usage nor an error: nobody knows what it cost, so all that was reserved counts."""
    body = b"" if status in ("304", "101") else b"{}"
    for stream in (False, True):
        broken.provider.says(framed(body, "location: http://127.0.0.1:9/elsewhere", status=f"{status} Odd"))
        answer = broken.bench.ask("chat", "openai", stream=stream)
        if status != "299":
            assert refused("chat", answer).status == 502
        assert "location" not in answer.headers
        broken.bench.quiet()
        assert broken.bench.outcomes("openai")[-1] == "forfeited"


def test_header_that_a_proxy_or_a_browser_obeys_does_not_pass(broken: Broken) -> None:
    """Of any status, whole or streamed: files, caches, cookies and rights of pages are not the provider's to give."""
    acting = (
        "X-Accel-Redirect: /secret",
        "X-Sendfile: /etc/passwd",
        "Access-Control-Allow-Origin: *",
        "Set-Cookie: a=b",
    )
    acting += (
        "Clear-Site-Data: *",
        "Refresh: 0; url=http://e",
        "X-LiteSpeed-Location: /x",
        "Surrogate-Control: max-age=9",
    )
    event = chunked(b"data: [DONE]\n\n")
    for head, rest in (
        *((framed(b"{}", *acting, "x-own: kept", status=status), b"") for status in ("200 OK", "404 No", "500 Bad")),
        (streamed(*acting, "x-own: kept"), event + chunked(b"")),
    ):
        broken.provider.says(head + rest)
        answer = broken.bench.ask("chat", "openai", stream=bool(rest))
        assert answer.headers["x-own"] == "kept"
        assert not {line.partition(":")[0].lower() for line in acting} & set(answer.headers)


@pytest.mark.parametrize("value", ["a\rx-evil: 1", "a\nx-evil: 1", "a\0b", "a\r\n folded", "a\x01b", "a\x7fb"])
def test_header_with_a_control_character_is_no_answer(broken: Broken, value: str) -> None:
    """What would be another header further on, or is none, makes the answer one that nobody takes."""
    broken.provider.says(framed(b"{}", f"x-own: {value}"))
    answer = broken.bench.ask("chat", "openai")
    assert refused("chat", answer).status == 502
    assert not {"x-own", "x-evil"} & set(answer.headers)
