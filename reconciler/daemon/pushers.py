"""Who pushes through the daemon now, by numbers that cannot be guessed.

The hook of such a push is given its number and nothing else, and names it when it has the push recorded: what a pusher
has in the environment never says who it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.daemon.tokens import Caller


class Pushes:
    """Who pushes now, by numbers that cannot be guessed."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}

    @contextmanager
    def under_way(self, caller: Caller) -> Iterator[str]:
        """Give the number of a push by `caller` while it lasts."""
        number = secrets.token_hex(16)
        self._callers[number] = caller
        try:
            yield number
        finally:
            del self._callers[number]

    def caller(self, number: str) -> Caller | None:
        """Tell who pushes under a number, None if nobody does."""
        return self._callers.get(number)
