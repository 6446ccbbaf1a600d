"""Cuts an answer that arrives in pieces into its events as they complete.

For the relay, which forwards whole events, and for the meter, which reads them. Pure: it must not decode JSON, judge
what it cuts, or alter a byte. Invariants: the events and spilt parts given so far and `rest()` joined are the bytes
fed; every byte is searched once, however the pieces fall; what is held back is the one event that has no end yet, and
its reader may take most of that at any time.

Lines end with LF, CRLF or CR, and an empty line ends an event, as the HTML standard has it for server-sent events.
"""

from __future__ import annotations

import re

# Two line ends in a row. A CR that is the last byte so far may be half of a CRLF: the byte after it decides.
_EMPTY_LINE = re.compile(rb"\n\n|[\n\r]\r(?:\n|(?=.))", re.DOTALL)
_TAIL = 2  # bytes of an empty line that can have come before the piece that completes it

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
_CR = 0x0D  # a number is looked for six times as fast as bytes


class Events:
    """The raw events of one stream: comments, blank lines before an event and a byte order mark stay in its bytes."""

    __slots__ = ("_held", "_tail")

    def __init__(self) -> None:
        self._held = bytearray()  # the event that has no end yet
        self._tail = b""  # its last bytes, where an empty line may have begun

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give the events that this piece completes, each with its empty line."""
        tail = self._tail
        window = tail + chunk
        at = 0  # where the next event begins in the window
        events: list[bytes] = []
        for end in _ends(window):
            events.append(window[at:end])
            at = end
        if events:
            if self._held:
                events[0] = bytes(self._held) + events[0][len(tail) :]
                self._held = bytearray()
            tail = b""
        self._held += window[at + len(tail) :]
        self._tail = window[max(at, len(window) - _TAIL) :]
        return events

    def line(self, chunk: bytes) -> bytes:
        """Give the data of a piece that is one whole event in one line, as most are; of any other b"", and feed it."""
        if chunk.find(b"\n") != len(chunk) - 2 or not chunk.endswith(b"\n\n") or not chunk.startswith(_DATA):
            return b""
        return b"" if self._held or self._tail or _CR in chunk else chunk[6:-2]

    def rest(self) -> bytes:
        """Give the bytes after the last complete event: at the stream's end, an event without its empty line."""
        return bytes(self._held)

    @property
    def size(self) -> int:
        """How many bytes are held back."""
        return len(self._held)

    def spill(self) -> bytes:
        """Give what is held of an event that has no end yet, but for the bytes in which its empty line may begin."""
        at = max(0, len(self._held) - _TAIL)
        part = bytes(self._held[:at])
        del self._held[:at]
        return part


def _ends(window: bytes) -> list[int]:
    """Find where events end. Nearly all streams use one kind of line end, and a plain search is much quicker."""
    if _CR not in window:
        pair = b"\n\n"
    elif b"\n\n" in window or b"\r\r" in window or window.count(b"\n\r") != window.count(b"\n\r\n"):
        return [match.end() for match in _EMPTY_LINE.finditer(window)]
    else:
        pair = b"\n\r\n"
    ends: list[int] = []
    at = window.find(pair)
    while at >= 0:
        at += len(pair)
        ends.append(at)
        at = window.find(pair, at)
    return ends


def data_of(event: bytes) -> bytes:
    """Give the data of a raw event, its lines joined by LF; nothing for comments and events without data."""
    if event.startswith(_DATA) and event.find(b"\n") == len(event) - 2 and _CR not in event:
        return event[6:-2]
    data: list[bytes] = []
    for line in event.removeprefix(_BOM).splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return b"\n".join(data)


class DataLines:
    """The data of one event that is given in parts: joined, what comes out is what `data_of` gives of the whole."""

    __slots__ = ("_begin", "_begun", "_first", "_in_data")

    def __init__(self) -> None:
        self._begin = b""  # of a line of which it does not show yet whether it is one of data
        self._in_data: bool | None = None  # whether the line at hand is one of data, None if that does not show yet
        self._first = True  # line of the event
        self._begun = False  # whether there was any data

    def feed(self, part: bytes) -> bytes:
        """Give the data in a part of the event."""
        out = bytearray()
        for line in (self._begin + part).splitlines(keepends=True):
            text = line.rstrip(b"\r\n")
            ended = len(text) < len(line)
            self._begin = b""
            if self._in_data is None:
                text = self._begin_line(text, ended, out)
            if self._in_data:
                out += text
            if ended:
                self._in_data, self._first = None, False
        return bytes(out)

    def _begin_line(self, text: bytes, ended: bool, out: bytearray) -> bytes:
        """Find out what a line is; give its value, or keep what there is of it back."""
        begin = text.removeprefix(_BOM) if self._first else text
        if not ended and (_DATA.startswith(begin) or _BOM.startswith(text)):
            self._begin = text
            return b""
        self._in_data = begin == b"data" or begin.startswith(b"data:")
        if self._in_data:
            if self._begun:
                out += b"\n"
            self._begun = True
        return begin[5:].removeprefix(b" ")
