"""How the answers of each operation are framed, and what is done to them on their way: next to nothing.

A stream is fed what came from the provider and gives what may go to the client. It tells the meter what it read, takes
out the usage that the client did not ask for, and keeps back what may be the end, until the next piece shows that it
was not, or the tokens are settled. Bytes are never changed but for that usage.

What is too large to be held passes in parts, of which only an outline is metered and the last one may be kept back; the
usage stays in it. A limit of the meter never keeps a byte from the client.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod

import msgspec

from reconciler.gateway.calls import Call
from reconciler.gateway.metering import Meter
from reconciler.gateway.outline import Outline
from reconciler.gateway.sse import DataLines, Events, data_of

EVENT_STREAM = "text/event-stream"

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Anything(msgspec.Struct):
    """A JSON object of which nothing is read."""


_object = msgspec.json.Decoder(_Anything)
_USAGE = b'"usage"'
_NULL_USAGE = re.compile(rb', ?"usage": ?null|"usage": ?null, ?')
_FINISH = b'"finishReason"'

EVENT_BYTES_MAX = 16 * 1024
"""What is held of one event. Of one that passes in parts nothing is held."""
PART_BYTES_MIN = 1024
DATA_BYTES_MAX = 1024
"""What is held of the data of such an event: comments and other fields may be all that is large in it."""
SAID_ALL_S = 0.1
"""How long something may follow the last word of a stream before it is taken for the end."""
FINISHED_S = 0.5
"""The same where something often does: a `[DONE]` behind the end of a response, and perhaps an event behind the one in
which Gemini's candidates are finished."""


class Stream(ABC):
    """One framing. `ended`: the stream has said its last word, whatever becomes of its connection."""

    ended = False

    @abstractmethod
    def feed(self, piece: bytes, meter: Meter, held: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Take a piece, and what was held back before; give what may go now and what is held back from now on."""

    def rest(self, meter: Meter) -> bytes:
        """Give what is left when the provider has ended: nothing, where all bytes were passed on or are held back."""
        del meter
        return b""

    def patience(self, meter: Meter, held: list[bytes]) -> float | None:
        """Say for how many seconds more may come before what came is all, None if the provider has to say so."""
        del meter, held
        return SAID_ALL_S if self.ended else None


def stream_of(call: Call, begin: bytes, content_type: str = "") -> Stream | None:
    """Give the framing of an answer that begins so, None if it is one whole.

    Who asked for a stream gets one, whatever its content type says, unless it is JSON.
    """
    text = begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] or (b"[" if content_type == "application/json" else b"")
    if text in (b"{", b"["):
        return Array() if call.stream and call.operation == "generate" and text == b"[" else None
    return Sse(call) if call.stream or content_type == EVENT_STREAM else None


class Sse(Stream):
    """Server-sent events."""

    def __init__(self, call: Call) -> None:
        """Frame the answer to `call`; an event of more than EVENT_BYTES_MAX passes in parts."""
        self._events = Events()
        self._large: _Large | None = None  # an event that passes in parts
        self._gemini = call.operation == "generate"
        self._patience_s = FINISHED_S if call.operation == "responses" else SAID_ALL_S
        self._hide_usage = call.operation == "chat" and not call.asked_usage

    def feed(self, piece: bytes, meter: Meter, held: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Cut into events, meter each, and pass on all up to the first that may be the end."""
        if not held and self._large is None and (data := self._events.line(piece)):
            shown = self._shown(piece, data, meter)
            if not (shown.find(_FINISH) >= 0 if self._gemini else meter.said_all):
                return shown, held
            self.ended = not self._gemini
            return b"", [shown]
        out: list[bytes] = []
        for event in self._events.feed(piece):
            if self._large is not None:
                shown, last = event, self._last_part(self._large, event, meter)
            else:
                shown = self._shown(event, data_of(event), meter)
                last = self._gemini and shown.find(_FINISH) >= 0
            if self._gemini:
                out += held
                held = []
            else:
                last = meter.said_all
            if held or last:
                self.ended = not self._gemini
                held.append(shown)
            else:
                out.append(shown)
        if self._events.size > (EVENT_BYTES_MAX if self._large is None else PART_BYTES_MIN):
            if self._gemini:
                out += held
                held = []
            (held or out).append(self._part(meter))
        return b"".join(out), [b"".join(held)] if len(held) > 1 else held  # thousands of two bytes would be megabytes

    def rest(self, meter: Meter) -> bytes:
        """Give an event that lacks its empty line."""
        left = self._events.rest()
        if self._large is not None:
            self._last_part(self._large, left, meter)
            return left
        return self._shown(left, data_of(left), meter)

    def patience(self, meter: Meter, held: list[bytes]) -> float | None:
        """Wait a moment after the last word, and a little longer where the meter has to find it."""
        if self._gemini:
            return FINISHED_S if held and meter.usage(complete=False) is not None else None
        return self._patience_s if self.ended else None

    def _shown(self, event: bytes, data: bytes, meter: Meter) -> bytes:
        """Meter an event by its data, and give what of it goes to the client."""
        if not data:
            return event
        meter.feed(data)
        if self._hide_usage and (at := data.find(_USAGE)) >= 0:
            return _without_null(event, data, at) or _without_usage(event, data)
        return event

    def _part(self, meter: Meter) -> bytes:
        """Take a part of an event that is too large to be held."""
        part = self._events.spill()
        if self._large is None:
            self._large = _Large()
        self._large.feed(part, meter)
        return part

    def _last_part(self, large: _Large, part: bytes, meter: Meter) -> bool:
        """Take the last part of such an event, and tell whether it finishes candidates of Gemini's."""
        self._large = None
        large.feed(part, meter)
        return large.end(meter)


class _Large:
    """An event that passes in parts. Its object may close, and be metered, some parts before the event ends."""

    def __init__(self) -> None:
        self._lines = DataLines()
        self._data = b""  # all of it, as long as it may be small
        self._outline: Outline | None = None
        self._closed = False
        self._finishes = False  # candidates of Gemini's

    def feed(self, part: bytes, meter: Meter) -> None:
        """Meter what a part adds."""
        data = self._lines.feed(part)
        if self._outline is None:
            self._data += data
            if len(self._data) <= DATA_BYTES_MAX:
                return
            data, self._data, self._outline = self._data, b"", Outline(alone=True)
        found = _meter_outline(self._outline, data, meter)
        self._closed |= bool(found)
        self._finishes |= any(_FINISH in item for item in found)

    def end(self, meter: Meter) -> bool:
        """Meter what is left, and tell whether the event finishes candidates of Gemini's."""
        if self._outline is None:
            if self._data:
                meter.feed(self._data)
            return _FINISH in self._data
        if not self._closed:
            meter.lose()  # it has no end
        return self._finishes


def _meter_outline(outline: Outline, part: bytes, meter: Meter) -> list[bytes]:
    """Meter what a part of a text adds to its outline."""
    known = not outline.gave_up
    found = outline.feed(part)
    for item in found:
        meter.feed(item)
    if outline.gave_up and known:
        meter.lose()
    return found


class Array(Stream):
    """Gemini's JSON array, one object at a time; its end is its closing bracket."""

    def __init__(self) -> None:
        """Frame one answer."""
        self._outline = Outline()

    def feed(self, piece: bytes, meter: Meter, held: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Meter each object, and pass the bytes on as they came, but for a piece that may close the array."""
        _meter_outline(self._outline, piece, meter)
        self.ended = self._outline.closed
        before = b"".join(held)
        return (before, [piece]) if self.ended or piece.rstrip().endswith(b"]") else (before + piece, [])


class Large(Stream):
    """One whole that is too large to be held: its last piece waits until the tokens are settled.

    It ends where the framing of HTTP says so.
    """

    def __init__(self) -> None:
        """Frame one answer."""
        self._outline = Outline(alone=True)
        self._metered = False

    def feed(self, piece: bytes, meter: Meter, held: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Meter the outline, and hold this piece back in place of the one before."""
        self._metered |= bool(_meter_outline(self._outline, piece, meter))
        return b"".join(held), [piece]

    def rest(self, meter: Meter) -> bytes:
        """Nothing is left; what has no end was not read."""
        if not self._metered:
            meter.lose()
        return b""


def _without_usage(event: bytes, data: bytes) -> bytes:
    """Take the usage out of a chat chunk, and the chunk with it if nothing else is in it.

    Only out of a JSON object, and nothing else is cut. Elsewhere a cut could join the halves of a key, which was looked
    for before.
    """
    try:
        fields = _decode(data)
    except (ValueError, RecursionError):
        return event
    if "usage" not in fields:
        return event
    if bytes(fields.get("choices", b"[]")) in (b"[]", b"null") and "error" not in fields:
        return b""
    del fields["usage"]
    return b"data: " + b"\ndata: ".join(msgspec.json.encode(fields).splitlines()) + b"\n\n"


def _without_null(event: bytes, data: bytes, at: int) -> bytes:
    """Cut the one usage, of null, out of data that stand in one line and are JSON; give nothing in all other cases.

    `at` is where the data name a usage first. Nearly all chunks are cut so.
    """
    null = _NULL_USAGE.search(data, at - 2)
    begin = 6 if event.startswith(data, 6) else event.find(data)  # which takes longer
    if null is None or begin < 0 or data.find(_USAGE, at + 1) >= 0:
        return b""
    try:
        _object.decode(data)
    except (ValueError, RecursionError):
        return b""
    return event[: begin + null.start()] + event[begin + null.end() :]


def _decode(data: bytes) -> dict[str, msgspec.Raw]:
    """Take a chunk apart. Half of a surrogate pair, as text cut between two tokens has it, is nothing to msgspec.

    Raises ValueError, for other encodings as well: in UTF-16 a key would not have been found.
    """
    try:
        return _top.decode(data)
    except ValueError:
        found = json.loads(data.decode())
        if not isinstance(found, dict):
            raise
        return {name: msgspec.Raw(json.dumps(item).encode()) for name, item in found.items()}
