"""Turns of one thread's work, and those who ask for one: a wake-up asks for a turn, and a request waits for its end.

Requests are numbered. A turn answers all that came before it began, so whoever waits gets a turn that began after it
asked, and many who ask while one runs are one further turn.
"""

from __future__ import annotations

import threading

from reconciler.core.errors import CouldNotRun


class Asking:
    """Who asks for turns. The first turn is asked for from the start. `changed` may be held around further fields."""

    def __init__(self, what: str) -> None:
        """`what` completes "the daemon did not finish ... in time"."""
        self.changed = threading.Condition()
        self.stopping = False
        self._what = what
        self._asked = 1
        self._answered = 0

    def ask(self) -> int:
        """Ask for a turn; give the number that `wait` waits for."""
        with self.changed:
            self._asked += 1
            self.changed.notify_all()
            return self._asked

    def wait(self, number: int, timeout_s: float) -> None:
        """Wait until a turn has answered `number`. Raises CouldNotRun after the timeout, or when no turn will come."""
        with self.changed:
            if not self.changed.wait_for(lambda: self._answered >= number or self.stopping, timeout_s):
                raise CouldNotRun(f"the daemon did not finish {self._what} in time", "see pai status")
            if self._answered < number:
                raise CouldNotRun("the daemon is stopping", "try again when it has stopped")

    def next(self, timeout_s: float | None) -> bool:
        """Wait until a turn is asked for, or it ends; False if neither happened in time."""
        with self.changed:
            return self.changed.wait_for(lambda: self.stopping or self._asked > self._answered, timeout_s)

    def rest(self, seconds: float) -> None:
        """Wait so long, whoever asks meanwhile, or until it ends."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopping, seconds)

    def begin(self) -> int | None:
        """Give the number that a turn which begins now will answer; None if there shall be no more."""
        with self.changed:
            return None if self.stopping else self._asked

    def answer(self, number: int) -> None:
        """Say that a turn has ended that began with `number`."""
        with self.changed:
            self._answered = number
            self.changed.notify_all()

    def stop(self) -> None:
        """Let no further turn begin; whoever waits is told."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
