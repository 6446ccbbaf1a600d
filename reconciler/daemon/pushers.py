"""Who pushes through the daemon now, by numbers that cannot be guessed.

The hook of such a push is given its number and nothing else, and names it when it has the push recorded: what a pusher
has in the environment never says who it is. One push at a time is let in: the next one sees what became of it.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.daemon.tokens import Caller


class Pushes:
    """Who pushes now, by numbers that cannot be guessed."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}
        self._let_in = ""
        self._changed = threading.Condition()

    @contextmanager
    def under_way(self, caller: Caller) -> Iterator[str]:
        """Give the number of a push by `caller` while it lasts."""
        number = secrets.token_hex(16)
        self._callers[number] = caller
        try:
            yield number
        finally:
            with self._changed:
                del self._callers[number]
                if self._let_in == number:
                    self._let_in = ""
                self._changed.notify_all()

    def let_in(self, number: str, timeout_s: float) -> bool:
        """Wait until no other push is between being recorded and its end; False if that takes too long."""
        with self._changed:
            free = self._changed.wait_for(lambda: self._let_in in ("", number), timeout_s)
            if free and number in self._callers:
                self._let_in = number
            return free

    def caller(self, number: str) -> Caller | None:
        """Tell who pushes under a number, None if nobody does."""
        return self._callers.get(number)
