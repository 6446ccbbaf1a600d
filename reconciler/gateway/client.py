"""The client's side of an answer: what is sent, and whether anybody still takes it.

Sending to a client that left, or that does not read, simply does nothing any more. Nothing is buffered here; a slow
client slows the reading of its own answer down, until it is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, MutableMapping
from typing import Any

from reconciler.gateway.waiting import within

Message = MutableMapping[str, Any]
Send = Callable[[Message], Coroutine[Any, Any, None]]
Headers = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")


def named(request: bytes, binding: bytes = b"") -> Headers:
    """Give the headers that every answer carries."""
    return [(b"x-pai-request-id", request), (b"x-pai-binding", binding)]


SEND_S = 60.0
"""How long a client may leave its answer unread before it is given up."""


class Client:
    """One request's client. `begun` says whether any of an answer was sent, `gone` whether it left or was given up."""

    __slots__ = ("_send", "_state", "begun", "extra", "gone")

    def __init__(self, send: Send, extra: Callable[[], Headers], state: dict[str, Any] | None = None) -> None:
        """`extra` gives the headers that every answer carries, as they are when it begins; `state` is the request's."""
        self._send = send
        self._state: dict[str, Any] = {} if state is None else state
        self.extra = extra
        self.begun = False
        self.gone = False

    def watch(self, left: Callable[[], None]) -> None:
        """Have `left` called when the client leaves, at once if it has, until `forget`."""

        def gone() -> None:
            self.gone = True
            left()

        self._state["on_left"] = gone
        if self._state.get("left"):
            gone()

    def forget(self) -> None:
        """Watch no more. The state outlives the request."""
        self._state.pop("on_left", None)

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the head of an answer."""
        self.begun = True
        await self._pass({"type": "http.response.start", "status": status, "headers": [*headers, *self.extra()]})

    async def piece(self, data: bytes) -> None:
        """Send a piece of the body."""
        if data:
            await self._pass({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece, or none, and with it the end."""
        await self._pass({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer."""
        self.begun = True
        fields = [*headers, (b"content-length", b"%d" % len(body)), *self.extra()]
        await self._pass(
            {"type": "http.response.start", "status": status, "headers": fields},
            {"type": "http.response.body", "body": body, "more_body": False},
        )

    async def _pass(self, *messages: Message) -> None:
        for message in messages:
            if self.gone:
                return
            try:
                await within(SEND_S, self._send(message))
            except (TimeoutError, OSError):
                self.gone = True
