"""The process that has large bodies: it takes them apart and writes them anew, one question at a time.

It is told of a body once, by an open file that it maps, and keeps it until it is dropped. What it answers is small, or
an open file again. It reads nothing else, writes nothing to any disk, and ends when its socket does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from reconciler import __version__
from reconciler.gateway import wire
from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call, Route
from reconciler.gateway.offloading import parse
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.spool import Spool
from reconciler.gateway.surfaces import SURFACES
from reconciler.providers import PROVIDERS

NICENESS = 5
"""Whoever answers everybody comes before whoever judges one body."""


class _Desk:
    """The calls whose bodies are here, by number."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}

    def answer(self, number: int, word: str, given: Sequence[Any], fds: list[int]) -> Any:
        """Answer one question; with a Spool where bytes are asked for. Raises Refusal."""
        if word == "read":
            size, surface, rest, fallback, query = given
            route = Route(SURFACES[surface], *rest)
            self._calls[number] = call = _read(Spool(fds.pop(), size), route, tuple(fallback), query)
            found = call._asdict()
            del found["body"], found["surface"]
            return call.body.size, found
        if word == "drop":
            return self._calls.pop(number, None) and None
        call = self._calls[number]
        if word == "needs":
            provider, model = given
            return call.surface.judges[call.operation](call.body, PROVIDERS[provider], model)
        if word == "count":
            return _spooled(call.surface.write_count(call, *given))
        if word == "uncounted":
            return call.surface.uncounted(call)
        assert word == "write"
        provider, model, output, last = given
        data = call.surface.write(call, model, output, PROVIDERS[provider])
        if last:
            del call, self._calls[number]
        return _spooled(data)


def _read(spool: Spool, route: Route, fallback: tuple[str, ...], query: bytes) -> Call:
    try:
        return parse(route, Body(spool.mapped()), fallback, query)
    finally:
        spool.close()


def _spooled(data: bytes) -> Spool:
    spool = Spool()
    spool.add(data)
    return spool


def _told(desk: _Desk, message: bytes, fds: list[int]) -> tuple[list[Any], Spool | None]:
    """Answer a message: how it went, what came of it, and bytes."""
    number, word, given = msgspec.msgpack.decode(message)
    try:
        found = desk.answer(number, word, given, fds)
    except Refusal as refusal:
        refusal.forget()
        return ["refused", refusal.reason, refusal.message[: wire.TEXT_CHARS_MAX]], None
    except MemoryError:
        return ["refused", "busy", ""], None
    except Exception as bug:  # the next question has nothing to do with it
        return ["failed", f"{type(bug).__name__}: {bug}"[: wire.TEXT_CHARS_MAX]], None
    if isinstance(found, Spool):
        return ["bytes", found.size], found
    return ["ok", found], None


def serve(sock: socket.socket) -> None:
    """Answer what comes on the socket until it ends."""
    desk = _Desk()
    wire.put(sock, msgspec.msgpack.encode(__version__))
    while True:
        message, fds = wire.take(sock)
        answer, spool = _told(desk, message, fds)
        wire.put(sock, msgspec.msgpack.encode(answer), () if spool is None else (spool.fileno(),))
        if spool is not None:
            spool.close()


def main() -> None:
    """Be that process; the socket is standard input."""
    # They are meant for the one that asks, which lets go of the socket in the end.
    for name in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    os.nice(NICENESS)
    try:
        serve(socket.socket(fileno=os.dup(sys.stdin.fileno())))
    except (EOFError, OSError):
        sys.exit(0)
