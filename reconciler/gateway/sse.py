"""Cuts an answer that arrives in pieces into its events, or into the objects of its JSON array, as they complete.

For the relay, which forwards whole events, and for the meter, which reads them. Pure: it must not decode JSON, judge
what it cuts, or alter a byte. Invariants: the events given so far and `rest()` joined are the bytes fed, also after an
error; every byte is searched once, however the pieces fall; no more than one event of EVENT_BYTES_MAX is held back.

Lines end with LF, CRLF or CR, and an empty line ends an event, as the HTML standard has it for server-sent events.
"""

from __future__ import annotations

import re
from typing import NoReturn

EVENT_BYTES_MAX = 16 * 1024 * 1024

# Two line ends in a row. A CR that is the last byte so far may be half of a CRLF: the byte after it decides.
_EMPTY_LINE = re.compile(rb"\n\n|[\n\r]\r(?:\n|(?=.))", re.DOTALL)
_TAIL = 2  # bytes of an empty line that can have come before the piece that completes it

_BOM = b"\xef\xbb\xbf"


class Events:
    """The raw events of one stream: comments, blank lines before an event and a byte order mark stay in its bytes."""

    __slots__ = ("_held", "_size", "_tail")

    def __init__(self) -> None:
        self._held: list[bytes] = []  # the pieces of the event that has no end yet
        self._size = 0
        self._tail = b""  # their last bytes, where an empty line may have begun

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give the events that this piece completes, each with its empty line.

        Raises ValueError if an event is larger than EVENT_BYTES_MAX; nothing is lost then, `rest()` gives all of it.
        """
        tail = self._tail
        length = len(chunk)
        if not tail and 2 < length <= EVENT_BYTES_MAX and chunk.find(b"\n\n") == length - 2 and b"\r" not in chunk:
            return [chunk]  # one whole event, as most pieces are
        window = tail + chunk
        at = 0  # where the next event begins in the window
        held, size = self._held, self._size - len(tail)
        events: list[bytes] = []
        for end in _ends(window):
            if size + end - at > EVENT_BYTES_MAX:
                break
            events.append(window[at:end])
            at, size = end, 0
        size += len(window) - at
        if size > EVENT_BYTES_MAX:
            self._refuse(chunk)
        if events:
            if held:
                events[0] = b"".join((*held, events[0][len(tail) :]))
            held = self._held = []
            tail = b""
        if size:
            held.append(window[at + len(tail) :])
        self._size = size
        self._tail = window[max(at, len(window) - _TAIL) :]
        return events

    def rest(self) -> bytes:
        """Give the bytes after the last complete event: at the stream's end, an event without its empty line."""
        return b"".join(self._held)

    def _refuse(self, chunk: bytes) -> NoReturn:
        self._held.append(chunk)
        self._size += len(chunk)
        raise ValueError(f"an event of over {EVENT_BYTES_MAX} bytes")


def _ends(window: bytes) -> list[int]:
    """Find where events end. Nearly all streams use one kind of line end, and a plain search is much quicker."""
    if b"\r" not in window:
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
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    data: list[bytes] = []
    for line in event.removeprefix(_BOM).splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return b"\n".join(data)


_STRUCTURE = re.compile(rb'["{}]')


class Items:
    """The objects of a JSON array that is streamed as one body; an object that stands alone is one item.

    Braces are counted outside of strings, so what is no JSON gives some pieces or none: the reader judges them.
    """

    __slots__ = ("_depth", "_escaped", "_held", "_in_string", "_size")

    def __init__(self) -> None:
        self._held: list[bytes] = []  # the pieces of the object that is still open
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False  # the last piece ended within a string, after the backslash of an escape

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give the objects that this piece completes. Raises ValueError if one is larger than EVENT_BYTES_MAX."""
        items: list[bytes] = []
        begin = at = 0  # `begin` counts while an object is open
        while at < len(chunk):
            if self._in_string:
                at = self._leave_string(chunk, at)
                continue
            match = _STRUCTURE.search(chunk, at)
            if match is None:
                break
            at, sign = match.end(), match[0]
            if sign == b'"':
                self._in_string = True
            elif sign == b"{":
                begin = begin if self._depth else at - 1
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if not self._depth:
                    self._hold(chunk[begin:at])
                    items.append(b"".join(self._held))
                    self._held, self._size = [], 0
        if self._depth:
            self._hold(chunk[begin:])
        return items

    def _leave_string(self, chunk: bytes, at: int) -> int:
        """Move behind the string's closing quote, or to the end of the piece; a quote after an escape is no end."""
        while True:
            quote = chunk.find(b'"', at)
            run = chunk[at:] if quote < 0 else chunk[at:quote]
            slashes = len(run) - len(run.rstrip(b"\\"))
            escaped = (slashes + (self._escaped and slashes == len(run))) % 2 == 1
            self._escaped = escaped and quote < 0
            if quote < 0:
                return len(chunk)
            at = quote + 1
            if not escaped:
                self._in_string = False
                return at

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._size += len(piece)
        if self._size > EVENT_BYTES_MAX:
            raise ValueError(f"an object of over {EVENT_BYTES_MAX} bytes")
