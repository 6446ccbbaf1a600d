"""What a JSON text of any size says of its usage, all else left out: for answers that are too large to be held.

It is fed pieces and gives each top-level object, when it closes, as a small text for the meter: the members that a
meter reads (KEPT) as they stand, the objects in which such members may stand (ENTERED) with nothing but those, and no
other. A member that is named twice stays twice. An array around the objects is passed over. Pure.

Held are the small text and one name. It gives up, for good, on a text in which those are more than BYTES_MAX, that
enters more than DEPTH_MAX objects, or has in one object more than STEPS_MAX strings and brackets, or more than
SIGNS_MAX signs outside of what is left out, each of which takes a millionth of a second or two.
"""

from __future__ import annotations

import json
import re
from typing import Final

KEPT: Final = frozenset(
    (
        *(b"usage", b"usageMetadata", b"type", b"status", b"stop_reason", b"finishReason", b"index"),
        *(b"input_tokens", b"totalTokens"),
    )
)
ENTERED: Final = frozenset(
    (b"response", b"message", b"delta", b"content_block", b"candidates", b"choices", b"error")
)  # fmt: skip
BYTES_MAX: Final = 16 * 1024
DEPTH_MAX: Final = 32
STEPS_MAX: Final = 1_000_000
SIGNS_MAX: Final = 4096

_SIGNS = re.compile(rb'["{}\[\],:]')
_NEST = re.compile(rb'["{}\[\]]')
_PASSED = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\]]', re.DOTALL)
"""A whole string, a bracket, or the quote of a string that goes on in the next piece."""
_ELSEWHERE, _OUT, _NAME = range(3)
"""Where the bytes of a string go: nowhere, into the outline, or they are a member's name."""


class Outline:
    """One text, or several in a row, or in an array. `closed`: an array around them has ended."""

    def __init__(self, *, alone: bool = False) -> None:
        """`alone`: an object behind the first one makes the text no JSON, and is given up."""
        self._alone = alone
        self._objects = 0
        self.gave_up = False
        self.closed = False
        self._stack = bytearray()  # what was entered and is open: braces and brackets
        self._out = bytearray()
        self._skipped = 0  # brackets open within a value that is not entered
        self._copied = False  # whether the value at hand is kept
        self._entered = False  # whether it is entered, if it can be
        self._text = bytearray()  # the string that may be a name
        self._named = False  # whether a name was read, and its value is at hand
        self._string: int | None = None
        self._escaped = False
        self._steps = 0
        self._signs = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Give the outlines of the objects that this piece closes."""
        found: list[bytes] = []
        at = 0
        while at < len(piece) and not self.gave_up:
            if self._string is not None:
                at = self._in_string(piece, at)
                continue
            if self._skipped and not self._copied:
                at = self._pass(piece, at)
                continue
            match = (_NEST if self._skipped else _SIGNS).search(piece, at)
            if self._copied:
                self._out += piece[at : match.start() if match else len(piece)]
            at = len(piece)
            if match is not None:
                at = match.end()
                sign = match[0]
                self._signs += 1
                if self._skipped:
                    self._within(sign)
                elif sign == b",":
                    self._named = self._copied = self._entered = False
                elif sign != b":":
                    self._sign(sign, found)
                elif self._text and self._stack[-1:] == b"{":
                    self._name()
            if self._signs > SIGNS_MAX or len(self._out) > BYTES_MAX:
                self._give_up()
        return found

    def _give_up(self) -> None:
        self.gave_up = True
        self._out, self._text = bytearray(), bytearray()

    def _in_string(self, piece: bytes, begin: int) -> int:
        """Move behind the string's closing quote, or to the end of the piece; a quote after an escape is no end."""
        at = begin
        while True:
            quote = piece.find(b'"', at)
            run = piece[at:] if quote < 0 else piece[at:quote]
            slashes = len(run) - len(run.rstrip(b"\\"))
            escaped = (slashes + (self._escaped and slashes == len(run))) % 2 == 1
            self._escaped = escaped and quote < 0
            at = len(piece) if quote < 0 else quote + 1
            if quote < 0 or not escaped:
                break
            self._steps += 1
        if self._string == _OUT:
            self._out += piece[begin:at]
        elif self._string == _NAME:
            self._text += piece[begin:at]
        if quote >= 0:
            self._string = None
        if self._steps > STEPS_MAX or len(self._text) + len(self._out) > BYTES_MAX:
            self._give_up()
        return at

    def _pass(self, piece: bytes, at: int) -> int:
        """Move behind the value that is left out, or to the end of the piece, or to a string that goes on."""
        depth, match = self._skipped, None
        for match in _PASSED.finditer(piece, at):
            self._steps += 1
            sign = match[0]
            if sign in b"{[":
                depth += 1
            elif sign in b"}]":
                depth -= 1
                if not depth:
                    break
            elif sign == b'"':
                self._string = _ELSEWHERE
                break
        end = match.end() if match is not None and (not depth or self._string is not None) else len(piece)
        self._skipped = depth
        if self._steps > STEPS_MAX:
            self._give_up()
        return end

    def _within(self, sign: bytes) -> None:
        """Take a sign inside of a value that is kept as it is."""
        self._out += sign
        if sign == b'"':
            self._string = _OUT
        elif sign in b"{[":
            self._skipped += 1
        else:
            self._skipped -= 1
            if not self._skipped:
                self._copied = False

    def _sign(self, sign: bytes, found: list[bytes]) -> None:
        """Take a quote or a bracket of what is entered."""
        in_object = self._stack[-1:] == b"{"
        if sign == b'"':
            self._begin_string(in_object)
        elif sign in b"{[":
            self._open(sign, in_object)
        else:
            self._close(sign, found)

    def _begin_string(self, in_object: bool) -> None:
        if in_object and not self._named:
            self._string, self._text = _NAME, bytearray(b'"')
        elif self._entered:  # words, such as those of an error: that there are any is enough
            self._out += b'""'
            self._string = _ELSEWHERE
        elif self._copied:
            self._out += b'"'
            self._string = _OUT
        else:
            self._string = _ELSEWHERE

    def _name(self) -> None:
        """Take the name of a member, whose value comes next."""
        text, self._text, self._named = bytes(self._text), bytearray(), True
        name = text[1:-1]
        if b"\\" in name:
            try:
                name = str(json.loads(text)).encode(errors="replace")
            except ValueError:
                self._give_up()
                return
        self._entered = name in ENTERED
        self._copied = self._entered or name in KEPT
        if self._copied:
            self._part()
            self._out += text + b":"

    def _part(self) -> None:
        if not self._out.endswith((b"{", b"[")):
            self._out += b","

    def _open(self, sign: bytes, in_object: bool) -> None:
        if not self._stack:
            if sign == b"{" and self._alone and self._objects:
                self._give_up()
            elif sign == b"{":
                self._objects += 1
                self._stack += sign
                self._out += sign
            return
        if self._entered or (not in_object and sign == b"{"):
            if not in_object:
                self._part()
            self._stack += sign
            self._out += sign
            self._named = self._copied = self._entered = False
            if len(self._stack) > DEPTH_MAX:
                self._give_up()
        else:
            self._skipped = 1
            if self._copied:
                self._out += sign

    def _close(self, sign: bytes, found: list[bytes]) -> None:
        if not self._stack:
            self.closed = self.closed or sign == b"]"
            return
        if self._stack.pop() != (b"{"[0] if sign == b"}" else b"["[0]):
            self._give_up()
            return
        self._out += sign
        self._copied = self._entered = False
        self._named = self._stack[-1:] == b"{"
        if not self._stack:
            found.append(bytes(self._out))
            self._out, self._steps, self._signs = bytearray(), 0, 0
