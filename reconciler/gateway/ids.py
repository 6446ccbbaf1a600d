"""Ids of requests: what an answer, the log and the operator's messages call the same request."""

from __future__ import annotations

import os

from reconciler.log.stamp import ULID_LETTERS, format_ulid, wall_clock

RANDOM_POOL = 256
"""For so many ids randomness is asked for at once."""
_TIME_LETTERS, _RANDOM_LETTERS = 10, 16
_LETTERS = ULID_LETTERS * 8
"""A letter for each byte: each of 32 letters for 8 of them."""


class RequestIds:
    """Ids that sort by time: `req_` and a ULID. For one thread."""

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0
        self._ms, self._time = -1, ""

    def next(self) -> str:
        """Make one. Randomness is asked for in advance: a system call gives the interpreter away to another thread."""
        if self._at == len(self._pool):
            self._pool, self._at = os.urandom(_RANDOM_LETTERS * RANDOM_POOL).translate(_LETTERS).decode("ascii"), 0
        at, self._at = self._at, self._at + _RANDOM_LETTERS
        ms = wall_clock() // 1000
        if ms != self._ms:
            self._ms, self._time = ms, "req_" + format_ulid(ms << 80)[:_TIME_LETTERS]
        return self._time + self._pool[at : self._at]
