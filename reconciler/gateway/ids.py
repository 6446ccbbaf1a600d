"""Ids of requests: what an answer, the log and the operator's messages call the same request."""

from __future__ import annotations

import os

from reconciler.log.stamp import format_ulid, wall_clock

RANDOM_POOL = 256
"""For so many ids randomness is asked for at once."""


class RequestIds:
    """Ids that sort by time: `req_` and a ULID. For one thread."""

    def __init__(self) -> None:
        self._pool = b""

    def next(self) -> str:
        """Make one. Randomness is asked for in advance: a system call gives the interpreter away to another thread."""
        if not self._pool:
            self._pool = os.urandom(10 * RANDOM_POOL)
        random, self._pool = self._pool[:10], self._pool[10:]
        return "req_" + format_ulid(wall_clock() // 1000 << 80 | int.from_bytes(random, "big"))
