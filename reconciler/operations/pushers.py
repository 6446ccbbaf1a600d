"""Who pushes through the daemon now, by numbers that cannot be guessed.

The hook of such a push is given its number and nothing else, and names it when it has the push recorded: what a pusher
has in the environment never says who it is. One push at a time is let in: the next one sees what became of it.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from reconciler.operations.operation import Caller


class Ended(NamedTuple):
    """A push that has ended: who pushed, and from which to which commits the source branch was to move."""

    caller: Caller
    moves: Sequence[tuple[str, str]]


class Pushes:
    """Who pushes now, by numbers that cannot be guessed."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}
        self._let_in = ""
        self._recording = 0
        self._moves: Sequence[tuple[str, str]] = ()
        self._changed = threading.Condition()

    def begin(self, caller: Caller) -> str:
        """Give the number of a push by `caller`."""
        number = secrets.token_hex(16)
        self._callers[number] = caller
        return number

    @contextmanager
    def let_in(self, number: str, moves: Sequence[tuple[str, str]], timeout_s: float) -> Iterator[bool]:
        """Wait until every other recorded push has ended; gives False if that takes too long.

        The push is recorded inside the `with`, and counts as let in from then until `end`, also if recording fails.
        """
        with self._changed:
            free = self._changed.wait_for(lambda: self._let_in in ("", number) or self._gone(number), timeout_s)
            free = free and not self._gone(number)
            if free:
                self._let_in, self._moves = number, moves
                self._recording += 1
        try:
            yield free
        finally:
            with self._changed:
                self._recording -= free
                self._changed.notify_all()

    def close(self, number: str) -> Ended | None:
        """Bar a push from being recorded once no recording is under way, and give it; None the second time."""
        with self._changed:
            caller = self._callers.pop(number, None)
            self._changed.notify_all()
            if caller is None:
                return None
            mine = self._let_in == number
            self._changed.wait_for(lambda: not mine or not self._recording)
            return Ended(caller, self._moves if mine else ())

    def end(self, number: str) -> None:
        """Let the next push in."""
        with self._changed:
            if self._let_in == number:
                self._let_in, self._moves = "", ()
            self._changed.notify_all()

    def caller(self, number: str) -> Caller | None:
        """Tell who pushes under a number, None if nobody does."""
        return self._callers.get(number)

    def _gone(self, number: str) -> bool:
        return number not in self._callers
