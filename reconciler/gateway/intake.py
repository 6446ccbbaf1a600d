"""A request's body on its way in: how large it may be, how long it may take, and where it is kept meanwhile.

A small one is one object, unless so much stands in it that taking it apart would keep others waiting, or its agent has
many requests open, which would hold much together. A larger one
waits for room first (`room.py`) and goes into a spool piece by piece; what has come of it before stays with the
connection, which reads no further meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from reconciler.gateway.client import Headers, Message
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.room import SMALL_BYTES_MAX, Room
from reconciler.gateway.spool import Spool
from reconciler.gateway.waiting import within

T = TypeVar("T")

BODY_BYTES_MAX = 32 * 1024 * 1024
BODY_S = 120.0
"""How long a client may take to send its body, and how long it may wait for room."""
WAITING_MAX = 100
"""Of one agent's bodies that wait for room: up to half a megabyte of each came before that, and stays with it."""
SIGNS_MAX = 2000
"""Of a body that the loop takes apart itself, which takes half a millionth of a second for each of these signs."""
_FILE_SIGNS = 16
"""So much as this many signs takes a file, which is an object that says so, or may with an escape."""
_REFERENCE_SIGNS = 2
"""The same of a reference in a schema."""
DEAR_BYTES_MAX = 16 * 1024
"""Of such a body with signs beyond ASCII or many escaped ones, of which each may take as long."""
NUMBERS_MAX = 24 * 1024
"""Of bytes of such a body at which a number may begin, or go on: a tenth of a microsecond each."""
_OF_NUMBERS = b" \t\r\n[,:0123456789"
TINY_BYTES_MAX = 8 * 1024
"""Of such a body of an agent that has many requests open."""

Receive = Callable[[], Awaitable[Message]]


class Intake:
    """One request's body. To be released, when nothing of it is needed any more."""

    def __init__(self, room: Room, receive: Receive) -> None:
        self._room = room
        self._receive = receive
        self._taken: tuple[str, int] | None = None
        self._size = 0
        self._whole = False

    async def read(self, headers: Headers, agent: str, *, many: bool = False) -> bytes | Spool:
        """Read the body to its end; `many`: the agent has many requests open. Raises Refusal."""
        declared = _declared(headers)
        most = TINY_BYTES_MAX if many else SMALL_BYTES_MAX
        first = await self._in_time(self._small(most))
        small = self._whole and self._size <= most
        if small and (len(first) <= SIGNS_MAX or _is_quick(first)):
            return first
        if not small:
            await self._take_room(agent, declared)
        spool = Spool()
        try:
            spool.add(first)
            await self._in_time(self._spill(spool))
        except BaseException:
            spool.close()
            raise
        self._shrink(declared - spool.size)
        return spool

    def release(self) -> None:
        """Give back the room; safe to call twice."""
        taken, self._taken = self._taken, None
        if taken is not None:
            self._room.give(*taken)

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await within(BODY_S, work)
        except TimeoutError:
            raise Refusal("invalid", f"the request body did not come within {BODY_S:g} s") from None

    async def _take_room(self, agent: str, size: int) -> None:
        busy = f"agent {agent} has too many large requests under way; try again later"
        if self._room.waiting(agent) >= WAITING_MAX:
            raise Refusal("busy", busy)
        try:
            await within(BODY_S, self._room.take(agent, size))
        except TimeoutError:
            raise Refusal("busy", busy) from None
        self._taken = agent, size

    def _shrink(self, size: int) -> None:
        """Give back what was taken for a body that did not say its size."""
        if self._taken is not None and size > 0:
            agent, taken = self._taken
            self._taken = agent, taken - size
            self._room.give(agent, size)

    async def _small(self, most: int) -> bytes:
        """Read the body, or what is more of it than a small one has."""
        pieces = [self._piece(await self._receive())]
        while not self._whole and self._size <= most:
            pieces.append(self._piece(await self._receive()))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _spill(self, spool: Spool) -> None:
        """Read the rest."""
        while not self._whole:
            spool.add(self._piece(await self._receive()))

    def _piece(self, message: Message) -> bytes:
        if message["type"] != "http.request":
            raise Refusal("invalid", "the client left before its request was whole")
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        if self._size > BODY_BYTES_MAX:
            raise _too_large()
        self._whole = not message.get("more_body")
        return piece


def _is_quick(body: bytes) -> bool:
    """Tell whether the loop takes a small body apart itself."""
    if len(body) > DEAR_BYTES_MAX and (not body.isascii() or (body.count(b"\\") > SIGNS_MAX and b"\\u" in body)):
        return False
    if len(body) > NUMBERS_MAX and len(body) - len(body.translate(None, _OF_NUMBERS)) > NUMBERS_MAX:
        return False
    objects = body.count(b"{")
    signs = objects + body.count(b"[") + body.count(b",") + _REFERENCE_SIGNS * body.count(b"ref")
    if signs <= SIGNS_MAX < objects * _FILE_SIGNS:
        signs += _FILE_SIGNS * (body.count(b"data") + body.count(b"\\u"))
    return signs <= SIGNS_MAX


def _declared(headers: Headers) -> int:
    """Give the size that a body says it has, or may have at most. Raises Refusal."""
    size = BODY_BYTES_MAX  # of one that does not say
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            size = int(value)
            if size > BODY_BYTES_MAX:
                raise _too_large()
        if name == b"content-encoding" and value.lower() != b"identity":
            raise Refusal("invalid", "the request body must not be compressed")
    return size


def _too_large() -> Refusal:
    return Refusal("too-large", f"the request body has more than {BODY_BYTES_MAX:,} bytes")
