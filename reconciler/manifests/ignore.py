"""Which paths are no manifests: dot-folders, and what `.paiignore` lists in gitignore syntax.

The patterns mean what they mean to git, byte for byte. All of them together are one automaton whose states are the bits
of an integer; a byte of a path takes a fixed number of operations on it, whatever the patterns and the names are made
of. Nothing is ever tried a second time, so no pattern can stop the process.

Invariant: `.` and `..` are no dot-folders; a path with such a segment is never skipped, so that it is refused.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import NamedTuple

from reconciler.core.errors import Refused

IGNORE_FILE = ".paiignore"
BYTES_MAX = 64 * 1024
PATTERNS_MAX = 1000
WORK_MAX = 256 * 1024 * 1024
"""What comparing all paths of a revision with the patterns may take, some five seconds; see `IgnoreRules.work`."""
_PARSING = 32
_PATH = 64
_BYTE = 10
_PATTERN_BYTES = 256
"""Work: for a byte of the patterns, for a path, for a byte of it, and as often one more as the patterns have so many
bytes."""

_SLASH = ord("/")
_PLAIN = re.compile(rb"[^*?\[\\]*")
"""What git compares as it stands; it looks at the rest of a pattern as if the pattern began there."""

_TRIMMED = re.compile(rb"(?:\\.|[^\\ ]|\\\Z| ++(?=[^ ]))*+", re.DOTALL)
"""A line up to its last character that is no space, or is one behind a backslash."""
_CLASSES = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, range(32))) + "\x7f",
    "digit": string.digits,
    "graph": string.ascii_letters + string.digits + string.punctuation,
    "lower": string.ascii_lowercase,
    "print": string.ascii_letters + string.digits + string.punctuation + " ",
    "punct": string.punctuation,
    "space": " \t\n\r",
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}
"""Git's own character classes."""


class IgnoreRefused(Refused):
    """A `.paiignore` that is too large to be one; a revision with it is refused."""


def too_long() -> IgnoreRefused:
    """Give the refusal of a file of more bytes than `BYTES_MAX`, whether or not it was read."""
    return IgnoreRefused(f"{IGNORE_FILE} has more than {BYTES_MAX:,} bytes", "write fewer, broader patterns")


class IgnoreRules:
    """The rules of one source path; paths are relative to it.

    `work` is about what they took so far: a manifest that is read takes as long as that many bytes.
    """

    __slots__ = ("_automaton", "_last", "_weight", "work")

    def __init__(self, automaton: _Automaton | None = None, size: int = 0) -> None:
        self._automaton = automaton
        self._weight = _BYTE + size // _PATTERN_BYTES
        self.work = _PARSING * size
        self._last: tuple[bytes, list[bytes], list[int | None]] = (b"", [], [])

    @classmethod
    def parse(cls, data: bytes | None) -> IgnoreRules:
        """Read a `.paiignore`; None means there is none. Lines that are no pattern match nothing, as in git.

        Raises IgnoreRefused for more than 64 KiB or 1,000 patterns.
        """
        if not data:
            return cls()
        if len(data) > BYTES_MAX:
            raise too_long()
        lines = [line for line in map(_trimmed, _lines(data)) if line]
        if len(lines) > PATTERNS_MAX:
            raise IgnoreRefused(f"{IGNORE_FILE} has more than {PATTERNS_MAX:,} patterns", "write fewer, broader ones")
        return cls(_Automaton(lines) if lines else None, len(data))

    def skips(self, path: str) -> bool:
        """Tell whether the file, link or submodule at `path` is none of Pai's business."""
        self.work += _PATH
        if (path[:1] == "." or "/." in path) and any(
            part[:1] == "." and part not in (".", "..") for part in path.split("/")[:-1]
        ):
            return True
        if self._automaton is None:
            return False
        folder, _, name = path.encode("utf-8", "surrogateescape").rpartition(b"/")
        self.work += self._weight * len(name)
        state = self._inside(self._automaton, folder)
        return state is None or self._automaton.excludes(self._automaton.read(state, name), folder=False)

    def _inside(self, automaton: _Automaton, folder: bytes) -> int | None:
        """Give the state before the names in `folder`; None if it or a folder around it is excluded as a whole."""
        if not folder:
            return automaton.start
        last, known, states = self._last  # a tree is listed folder by folder, so the next one shares most of the way
        if folder == last:
            return states[-1]
        parts = folder.split(b"/")
        same = next((n for n, (one, other) in enumerate(zip(parts, known, strict=False)) if one != other), None)
        states = states[: min(len(parts), len(known)) if same is None else same]
        for part in parts[len(states) :]:
            self.work += self._weight * len(part)
            state = states[-1] if states else automaton.start
            if state is not None:
                state = automaton.read(state, part)
                state = None if automaton.excludes(state, folder=True) else automaton.descend(state)
            states.append(state)
        self._last = (folder, parts, states)
        return states[-1]


def _lines(data: bytes) -> Iterable[bytes]:
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line.startswith(b"#"):
            yield line.removesuffix(b"\r").partition(b"\0")[0]


def _trimmed(line: bytes) -> bytes:
    """Take away the spaces at the end, but for those behind a backslash."""
    return line if (found := _TRIMMED.match(line)) is None else found[0]


class _Token(NamedTuple):
    """One step of a pattern; what stays in place at a byte, and whether it may be left without one."""

    takes: bytes = b""
    """The bytes that lead on."""
    stays: str = ""
    """"segment" at every byte but a slash, "any" at every byte."""
    free: bool = False
    """Leads on by itself: `*`."""
    fork: bool = False
    """Leads on by itself to the next token and to the one after it: the way past a folder loop."""


_NOTHING = _Token()
_STAR = _Token(stays="segment", free=True)
_REST = _Token(stays="any", free=True)
_FOLDERS = (_Token(fork=True), _Token(takes=b"/", stays="any"))
_ALL = bytes(c for c in range(256) if c != _SLASH)
_ANY = _Token(takes=_ALL)


class _Automaton:
    """All patterns at once.

    Bit n of a state says that token n is the next; of two matches the later pattern's bit is the higher one. `start`
    is the state before the first name.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        tokens: list[_Token] = []
        starts: list[int] = []
        names: list[int] = []
        ends: list[int] = []
        only_folders: list[int] = []
        negated: list[int] = []
        for line in lines:
            negates = line.startswith(b"!")
            pattern = line[1:] if negates else line
            folders = pattern.endswith(b"/")
            pattern = pattern.removesuffix(b"/")
            (starts if b"/" in pattern else names).append(len(tokens))
            tokens += _tokens(pattern)
            ends.append(len(tokens))
            if folders:
                only_folders.append(len(tokens))
            if negates:
                negated.append(len(tokens))
            tokens.append(_NOTHING)
        size = len(tokens)
        self._ends, self._negated = _bits(ends, size), _bits(negated, size)
        self._of_files = self._ends & ~_bits(only_folders, size)
        self._free = _bits((n for n, token in enumerate(tokens) if token.free), size)
        self._fork = _bits((n for n, token in enumerate(tokens) if token.fork), size)
        self._stay = _bits((n for n, token in enumerate(tokens) if token.stays), size)
        self._stay_at_slash = _bits((n for n, token in enumerate(tokens) if token.stays == "any"), size)
        self._takes = _takes(tokens)
        self._names = self._settle(_bits(names, size))
        self.start = self._settle(_bits(starts, size)) | self._names

    def read(self, state: int, name: bytes) -> int:
        """Follow a name, which holds no slash."""
        takes, stay, settle = self._takes, self._stay, self._settle
        for byte in name:
            if not state:
                break
            state = settle((state & takes[byte]) << 1 | state & stay)
        return state

    def descend(self, state: int) -> int:
        """Follow the slash after a folder's name; patterns without a slash begin anew."""
        return self._settle((state & self._takes[_SLASH]) << 1 | state & self._stay_at_slash) | self._names

    def excludes(self, state: int, *, folder: bool) -> bool:
        """Tell whether the last pattern that matches what was read is no `!` one."""
        last = (state & (self._ends if folder else self._of_files)).bit_length() - 1
        return last >= 0 and not self._negated >> last & 1

    def _settle(self, state: int) -> int:
        """Add where the tokens lead by themselves; behind a fork there is no fork, behind a star no star."""
        if fork := state & self._fork:
            state |= fork << 1 | fork << 2
        return state | (state & self._free) << 1


def _bits(numbers: Iterable[int], size: int) -> int:
    found = bytearray(size // 8 + 1)
    for number in numbers:
        found[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(found, "little")


def _takes(tokens: list[_Token]) -> list[int]:
    """Give for each byte the bits of the tokens that it leads on from."""
    size = len(tokens) // 8 + 1
    table = [bytearray(size) for _ in range(256)]
    for number, token in enumerate(tokens):
        if token is not _ANY:
            for byte in token.takes:
                table[byte][number >> 3] |= 1 << (number & 7)
    every = _bits((n for n, token in enumerate(tokens) if token is _ANY), len(tokens))
    found = [int.from_bytes(bits, "little") | every for bits in table]
    found[_SLASH] &= ~every
    return found


def _tokens(pattern: bytes) -> list[_Token]:
    """Take a pattern apart as git's wildmatch reads it; one that is broken holds a token that nothing satisfies."""
    whole = b"/" in pattern
    pattern = pattern.removeprefix(b"/") if whole else pattern
    if not pattern:
        return [_NOTHING]
    plain = _PLAIN.match(pattern)
    at = first = plain.end() if plain else 0
    found = [_literal(byte) for byte in pattern[:at]]
    while at < len(pattern):
        byte = pattern[at : at + 1]
        if byte == b"*":
            after = at
            while pattern[after : after + 1] == b"*":
                after += 1
            wide = whole and after - at > 1 and (at == first or pattern[at - 1] == _SLASH)
            if wide and pattern[after : after + 1] == b"/":
                found += [] if tuple(found[-2:]) == _FOLDERS else _FOLDERS
                after += 1
            else:
                found.append(_REST if wide and pattern[after : after + 2] in (b"", b"\\/") else _STAR)
            at = after
        elif byte == b"?":
            found.append(_ANY)
            at += 1
        elif byte == b"[":
            token, at = _set(pattern, at + 1)
            found.append(token)
        else:
            at += byte == b"\\"
            found.append(_literal(pattern[at]) if at < len(pattern) else _NOTHING)
            at += 1
    return found


def _literal(byte: int) -> _Token:
    return _Token(takes=bytes((byte,)))


def _set(pattern: bytes, at: int) -> tuple[_Token, int]:
    """Read a `[...]` from behind its bracket; give its token and where it ends."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before = 0
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        if at >= len(pattern):
            return _NOTHING, at
        byte = pattern[at]
        if byte == ord("-") and before and pattern[at + 1 : at + 2] not in (b"", b"]"):
            at += 1 + (pattern[at + 1] == ord("\\"))
            if at >= len(pattern):
                return _NOTHING, at
            members.update(range(before, pattern[at] + 1))
            before = 0
        elif pattern[at : at + 2] == b"[:":
            end = pattern.find(b"]", at + 2)
            if end < 0:
                return _NOTHING, len(pattern)
            if end == at + 2 or pattern[end - 1] != ord(":"):
                members.add(byte)
                before = byte
            elif (name := pattern[at + 2 : end - 1].decode("latin-1")) in _CLASSES:
                members.update(_CLASSES[name].encode())
                at, before = end, 0
            else:
                return _NOTHING, len(pattern)
        else:
            at += byte == ord("\\")
            if at >= len(pattern):
                return _NOTHING, at
            before = pattern[at]
            members.add(before)
        at += 1
    return _Token(takes=bytes(c for c in _ALL if (c in members) != negated)), at + 1
