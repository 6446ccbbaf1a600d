"""An agent with a key, and a sender of webhooks, with bodies: large, deep, of very many values, of names said twice.

What the body says is judged by the daemon; an answer of any kind is fine, what counts is what it costs others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.attacks_doors import _status, sent_and_held
from benchmarks.attacks_site import Place, answered, connected, head
from benchmarks.attacks_told import Seen, Told, again

LARGE = 32 * 1024 * 1024 - 200
AT_ONCE = 3
_MESSAGES = b'{"model": "large", "max_tokens": 30, "messages": ['
_SAID = b'{"role": "user", "content": "'


def _plain() -> bytes:
    """One long text."""
    return _MESSAGES + _SAID + b"a" * (LARGE - 150) + b'"}]}'


def _escaped() -> bytes:
    """One long text of escapes."""
    return _MESSAGES + _SAID + b"\\u0041" * ((LARGE - 150) // 6) + b'"}]}'


def _many_messages() -> bytes:
    """As many messages as are taken apart."""
    one = _SAID + b"a" * 450 + b'"}'
    return _MESSAGES + b",".join([one] * 60_000) + b"]}"


def _deep() -> bytes:
    return _MESSAGES + b"[" * (LARGE // 2) + b"]" * (LARGE // 2 - 100) + b"]}"


def _many_values() -> bytes:
    return _MESSAGES + b"0," * (LARGE // 2 - 100) + b"0]}"


def _many_names() -> bytes:
    names = b",".join(b'"n%d":0' % number for number in range(240_000))
    return b'{"model": "large", "max_tokens": 30, "messages": [], "metadata": {' + names + b"}}"


def _same_names() -> bytes:
    return _MESSAGES + b"{" + b'"role":"user",' * 240_000 + b'"role":"user"}]}'


def _many_texts() -> bytes:
    return _MESSAGES + _SAID + b'"},' + b'"",' * (LARGE // 3 - 100) + b'""]}'


def _marks() -> bytes:
    """As many marks as a small body has, in the order that takes longest to be put right."""
    return _MESSAGES + _SAID + ("\u0315" * 16_000 + "\u0300" * 16_000).encode() + b'"}]}'


def send(body: Callable[[], bytes], place: Place) -> Told:
    """Send a body again and again, on three connections."""
    data = body()
    lines = (f"x-api-key: {place.key}", "content-type: application/json", f"content-length: {len(data)}")
    request = head("POST", "/v1/messages", *lines) + data

    def once(_: float, seen: Seen) -> None:
        with connected(place.gateway, 20) as connection:
            with contextlib.suppress(ConnectionError):  # refused before it was read: the answer says so
                connection.sendall(request)
            seen[_status(answered(connection))] += 1

    return again(place.seconds, AT_ONCE, once)


def half_sent(place: Place) -> Told:
    """Send all of large bodies but the last byte on 30 connections, and wait."""
    lines = (f"x-api-key: {place.key}", "content-type: application/json", f"content-length: {LARGE}")
    data = head("POST", "/v1/messages", *lines) + b" " * (LARGE - 1)
    return sent_and_held(place, place.gateway, data, 30)


def webhooks(place: Place) -> Told:
    """Deliver forged webhooks of 1 MB without a pause, half of them without their last byte."""
    size = 1024 * 1024 - 1
    lines = ("x-hub-signature-256: sha256=" + "0" * 64, "x-github-event: push", f"content-length: {size}")
    request = head("POST", "/webhooks/github", *lines) + b" " * size
    counts = [0]

    def once(_: float, seen: Seen) -> None:
        counts[0] += 1
        with connected(place.admin, 12) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(request[: -(counts[0] % 2) or None])
            seen[_status(answered(connection))] += 1

    return again(place.seconds, 64, once)


_BODIES: Mapping[str, Callable[[], bytes]] = {
    "32 MiB, one text": _plain,
    "32 MiB, one text of escapes": _escaped,
    "32 MiB, 60,000 messages": _many_messages,
    "32 MiB deep, lists": _deep,
    "32 MiB of numbers": _many_values,
    "32 MiB of texts": _many_texts,
    "240,000 names": _many_names,
    "one name 240,000 times": _same_names,
    "64 KiB of marks": _marks,
}
ATTACKS: Mapping[str, Callable[[Place], Told]] = {
    **{f"body: {name}": partial(send, body) for name, body in _BODIES.items()},
    "body: 30 that never end": half_sent,
    "webhooks: forged, 1 MB": webhooks,
}
