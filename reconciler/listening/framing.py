"""Where the body of a request ends (RFC 9112 6.3), and the bytes between: no I/O, and no header is ever made of a body.

Whatever can be read in two ways is refused, since a proxy in front may have read the other one. Trailer fields are
checked and dropped (RFC 9110 6.5.1 forbids to merge them into the head).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

LINE_BYTES_MAX: Final = 1024
"""Of a chunk's size with its extensions."""
TRAILER_BYTES_MAX: Final = 8 * 1024
TRAILER_FIELDS_MAX: Final = 64
CHUNKS_A_TURN: Final = 256
"""After so many chunks other connections have their turn; one takes about a microsecond."""
EXCESS_BYTES_MAX: Final = 16 * 1024
"""How much of a chunked body may be no data, beyond what small chunks cost: Go's net/http/internal/chunked.go."""

_CRLF: Final = b"\r\n"
_LENGTH = re.compile(rb"[0-9]{1,15}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,13})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class BadRequest(Exception):
    """The connection is closed after this answer: a status line's code and phrase, and a sentence."""

    def __init__(self, message: str, status: str = "400 Bad Request") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class NoRequest(BadRequest):
    """What came is no request at all."""

    def __init__(self) -> None:
        super().__init__("this is no HTTP request that is served here: HTTP/1.1, and no TLS")


class Counted:
    """A body of so many bytes."""

    __slots__ = ("_left", "whole")
    turn_over = False
    chunks = 0

    def __init__(self, length: int) -> None:
        self._left = length
        self.whole = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Give what of `data` is body, and what follows it."""
        piece = data[: self._left]
        self._left -= len(piece)
        self.whole = not self._left
        return piece, data[len(piece) :]


class Chunked:
    """A body in chunks. `turn_over` says that more could have been read at once, `chunks` how many were taken last."""

    __slots__ = ("_excess", "_fields", "_left", "_step", "_trailer_bytes", "chunks", "turn_over", "whole")

    def __init__(self) -> None:
        self._step: Callable[[Chunked, bytes, int, list[bytes]], int] = Chunked._size
        self._left = 0
        self._excess = 0
        self._fields = 0
        self._trailer_bytes = self.chunks = 0
        self.turn_over = False
        self.whole = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Give what of `data` is body, and what has to come again with more behind it. Raises Bad."""
        pieces: list[bytes] = []
        at = following = 0
        steps = 3 * CHUNKS_A_TURN  # a chunk is three steps
        while following >= 0 and not self.whole and steps:
            at = following
            following = self._step(self, data, at, pieces)
            steps -= 1
        self.turn_over = following >= 0 and not self.whole
        self.chunks = CHUNKS_A_TURN - steps // 3
        return b"".join(pieces), data[max(at, following) :]

    def _size(self, data: bytes, at: int, _: list[bytes]) -> int:
        """Read the line before a chunk and say where it ends, -1 if that has not come yet. So for the others."""
        found = _SIZE.match(data, at, at + LINE_BYTES_MAX)
        if found is None:
            return _wait_for_line(data, at, LINE_BYTES_MAX)
        self._left = int(found[1], 16)
        line = found.end() - at
        self._excess = max(0, self._excess + line + 2 - 16 - 2 * self._left)
        if self._excess > EXCESS_BYTES_MAX:
            raise BadRequest("too much of the chunked body is no data")
        self._step = Chunked._data if self._left else Chunked._trailer
        return found.end()

    def _data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        piece = data[at : at + self._left]
        if not piece:
            return -1
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._step = Chunked._data_end
        return at + len(piece)

    def _data_end(self, data: bytes, at: int, _: list[bytes]) -> int:
        if data.startswith(_CRLF, at):
            self._step = Chunked._size
            return at + 2
        if data[at : at + 2] not in (b"", b"\r"):
            raise BadRequest("a chunk has another length than it says")
        return -1

    def _trailer(self, data: bytes, at: int, _: list[bytes]) -> int:
        if data.startswith(_CRLF, at):
            self.whole = True
            return at + 2
        found = _FIELD.match(data, at, at + TRAILER_BYTES_MAX)
        if found is None:
            return _wait_for_line(data, at, TRAILER_BYTES_MAX)
        self._trailer_bytes += found.end() - at
        self._fields += 1
        if self._trailer_bytes > TRAILER_BYTES_MAX or self._fields > TRAILER_FIELDS_MAX:
            raise BadRequest(f"trailers may have {TRAILER_FIELDS_MAX} fields and {TRAILER_BYTES_MAX:,} bytes")
        return found.end()


Body = Counted | Chunked


def body_of(version: str, lengths: list[bytes], codings: list[bytes]) -> Body | None:
    """Give the body that a head announces, None for none. Raises Bad for a framing that is not plain."""
    if codings:
        if lengths or version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]:
            raise BadRequest("a body is either chunked or has a content-length")
        return Chunked()
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest("the content-length is one number")
    length = int(lengths[0])
    return Counted(length) if length else None


def _wait_for_line(data: bytes, at: int, most: int) -> int:
    """Say that a line is not whole yet. Raises Bad if it is, or is too long: then it is malformed."""
    if data.find(b"\n", at, at + most) >= 0 or len(data) - at >= most:
        raise BadRequest("the chunked body is malformed")
    return -1
