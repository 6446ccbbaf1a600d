"""How the answers of each operation are framed, and what is done to a stream on its way: next to nothing.

A stream is fed what came from the provider and gives what may go to the client. It tells the meter what it read, takes
out the usage that the client did not ask for, and keeps back what may be the end, until the next piece shows that it
was not, or the tokens are settled. Bytes are never changed but for that usage.
"""

from __future__ import annotations

import json
from typing import Protocol

import msgspec

from reconciler.gateway.calls import Call
from reconciler.gateway.metering import Meter
from reconciler.gateway.sse import Events, Items, data_of

_ENDS: dict[str, tuple[bytes, ...]] = {
    "chat": (b"data: [DONE]", b"data:[DONE]"),
    "messages": (b"event: message_stop", b"event:message_stop"),
    "responses": tuple(
        begin + b"response." + end
        for begin in (b"event: ", b'data: {"type":"', b'data: {"type": "')
        for end in (b"completed", b"incomplete", b"failed")
    ),
}
"""How the events begin that end a stream; Gemini has none, its last event names a finishReason."""

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL_USAGE = (b',"usage":null', b', "usage": null', b'"usage":null,', b'"usage": null, ')


class Stream(Protocol):
    """One framing. `ended`: the stream has said its last word, whatever becomes of its connection."""

    ended: bool

    def feed(self, piece: bytes, meter: Meter, held: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Take a piece, and what was held back before; give what may go now and what is held back from now on."""
        ...

    def rest(self, meter: Meter) -> bytes:
        """Give what is left when the provider has ended."""
        ...


def stream_of(call: Call, content_type: str) -> Stream | None:
    """Give the framing of an answer, None if it is one whole."""
    if content_type == "text/event-stream":
        return _Sse(call)
    if call.stream and call.operation == "generate" and content_type == "application/json":
        return _Array()
    return None


class _Sse:
    """Server-sent events."""

    def __init__(self, call: Call) -> None:
        """Frame the answer to `call`."""
        self._events = Events()
        self._ends = _ENDS.get(call.operation, ())
        self._gemini = call.operation == "generate"
        self.ended = False
        self._hide_usage = call.operation == "chat" and not call.asked_usage

    def feed(self, piece: bytes, meter: Meter, held: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Cut into events, meter each, and pass on all up to the first that may be the end."""
        out: list[bytes] = []
        for event in self._events.feed(piece):
            shown = self._event(event, meter)
            if self._gemini:
                out += held
                held = []
            if held or (b'"finishReason"' in shown if self._gemini else shown.startswith(self._ends)):
                self.ended = not self._gemini
                held = [*held, shown]
            else:
                out.append(shown)
        return b"".join(out), held

    def rest(self, meter: Meter) -> bytes:
        """Give an event that lacks its empty line."""
        left = self._events.rest()
        return self._event(left, meter) if left else b""

    def _event(self, event: bytes, meter: Meter) -> bytes:
        data = data_of(event)
        if not data:
            return event
        meter.feed(data)
        if self._hide_usage and b'"usage"' in data:
            return _without_usage(event, data)
        return event


def _without_usage(event: bytes, data: bytes) -> bytes:
    """Take the usage out of a chat chunk, and the chunk with it if there is nothing else in it."""
    for null in _NULL_USAGE:
        if null in event:
            return event.replace(null, b"", 1)
    try:
        fields = _decode(data)
    except (ValueError, RecursionError):
        return event
    if "usage" not in fields:
        return event
    if bytes(fields.get("choices", b"[]")) in (b"[]", b"null") and "error" not in fields:
        return b""
    del fields["usage"]
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


def _decode(data: bytes) -> dict[str, msgspec.Raw]:
    """Take a chunk apart. Half of a surrogate pair, as text cut between two tokens has it, is nothing to msgspec."""
    try:
        return _top.decode(data)
    except ValueError:
        found = json.loads(data)
        return {name: msgspec.Raw(json.dumps(item).encode()) for name, item in found.items()}


class _Array:
    """Gemini's JSON array, one object at a time; its end is its closing bracket."""

    def __init__(self) -> None:
        self._items = Items()
        self.ended = False

    def feed(self, piece: bytes, meter: Meter, held: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Meter each object, and pass the bytes on as they came, but for a piece that may close the array."""
        for item in self._items.feed(piece):
            meter.feed(item)
        before = b"".join(held)
        return (before, [piece]) if piece.rstrip().endswith(b"]") else (before + piece, [])

    def rest(self, meter: Meter) -> bytes:
        """Nothing is left: all bytes were passed on or are held back."""
        del meter
        return b""
