"""Times and ids of events: UTC microseconds that never go back, ULIDs that always grow.

Knows no clock and no randomness of its own: both come in as functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], int]
"""Gives the time as microseconds since 1970-01-01T00:00:00Z."""

Random = Callable[[int], bytes]
"""Gives so many random bytes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID_LETTERS = _ALPHABET.encode()
_BASE_32 = str.maketrans(_ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_SHIFTS = tuple(range(120, -1, -10))
_RANDOM_BITS = 80
_POOL = 256  # random ids asked for at once: a system call gives the GIL away, and the recorder's lock is held


def wall_clock() -> int:
    """Give the machine's clock as microseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1000


def format_time(us: int) -> str:
    """Write microseconds since 1970 as events do: `2026-11-23T10:04:11.123456Z`."""
    seconds, fraction = divmod(us, 1_000_000)
    return f"{(_EPOCH + timedelta(seconds=seconds)):%Y-%m-%dT%H:%M:%S}.{fraction:06d}Z"


def parse_time(text: str) -> int:
    """Read an RFC 3339 time as microseconds since 1970. Raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND


def format_ulid(value: int) -> str:
    """Write 128 bits as the 26 letters of a ULID."""
    pairs = _PAIRS
    return "".join([pairs[value >> shift & 1023] for shift in _SHIFTS])


def parse_ulid(text: str) -> int:
    """Read a ULID's 128 bits. Raises ValueError if it is none."""
    if len(text) != 26 or not text.isascii() or text.encode().translate(None, ULID_LETTERS) or text[0] > "7":
        raise ValueError(f"{text!r} is no ULID")
    return int(text.translate(_BASE_32), 32)


class Stamper:
    """Gives each event a time not before, and an id above, everything it has given or seen."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._us = 0
        self._id = 0
        self._second = -1_000_000  # the second that `_second_text` spells, in microseconds; at first none there is
        self._second_text = ""
        self._high = -1
        self._high_text = ""
        self._pool = b""

    def see(self, time_text: str, ulid: str) -> None:
        """Give only later times and higher ids from now on. Raises ValueError for what no event can carry."""
        self._us = max(self._us, parse_time(time_text))
        self._id = max(self._id, parse_ulid(ulid))

    def now(self) -> str:
        """Read the clock and give the time as text; a clock that goes back is held at the last time given."""
        us = self._clock()
        if us > self._us:
            self._us = us
        fraction = self._us - self._second
        if not 0 <= fraction < 1_000_000:
            fraction = self._us % 1_000_000
            self._second = self._us - fraction
            self._second_text = format_time(self._second)[:20]
        return f"{self._second_text}{fraction:06d}Z"

    def next_id(self) -> str:
        """Give an id of the last time that `now` gave: random in a new millisecond, the last one plus one within it."""
        ms = self._us // 1000
        if ms > self._id >> _RANDOM_BITS:
            if not self._pool:
                self._pool = self._random(10 * _POOL)
            self._id = ms << _RANDOM_BITS | int.from_bytes(self._pool[:10], "big")
            self._pool = self._pool[10:]
        else:
            self._id += 1
        high = self._id >> 20
        if high != self._high:  # of the ids of one batch, only the last four letters differ
            self._high, self._high_text = high, format_ulid(self._id)[:22]
        return self._high_text + _PAIRS[self._id >> 10 & 1023] + _PAIRS[self._id & 1023]
