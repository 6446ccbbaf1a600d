"""A thread that does its work in turns: when somebody asks, when its interval is over, and after a pause if it failed.

Requests are numbered. A turn answers all that came before it began, so whoever waits gets a turn that began after it
asked, and many who ask while one runs are one further turn. A turn that raises leaves its error in `error` until one
goes well; the log is told once of each. Nothing that a turn raises ends the thread.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from reconciler.core.errors import CouldNotRun, PaiError

ASKED_MAX_S: Final = 3600.0
"""The longest wait that an error may ask for; forges' rate limits are per hour."""
_DOUBLED_MAX: Final = 30
"""Doublings after which a pause has long been the longest: larger powers do not fit a float."""


class Pauses(NamedTuple):
    """How long to wait after a failure: twice as long for each further one in a row, up to `max_s`.

    A pause is shorter or longer by up to `spread` of it, so that many daemons do not ask at the same moment.
    """

    first_s: float
    max_s: float
    spread: float = 0.0

    def after(self, failures: int) -> float:
        """Give the pause after so many failures in a row, in seconds."""
        pause_s = min(self.max_s, self.first_s * 2.0 ** min(failures - 1, _DOUBLED_MAX))
        return pause_s * random.uniform(1 - self.spread, 1 + self.spread)  # noqa: S311 (no secret)


def _nobody(_seconds: float, _error: PaiError | None) -> None:
    """Observe nothing."""


class Worker:
    """Runs `turn` on a thread of its own, the first time at once.

    `turn` is told whether somebody asked. It returns after how many seconds it comes again by itself, None for never.
    """

    def __init__(
        self,
        name: str,
        what: str,
        turn: Callable[[bool], float | None],
        pauses: Pauses,
        log: logging.Logger,
        *,
        said: Callable[[PaiError], str] = lambda error: f"{error.message} ({error.hint})",
        observe: Callable[[float, PaiError | None], None] = _nobody,
        patient: bool = False,
        rest_s: float = 0.0,
        stop_s: float = 30.0,
        hasten: Callable[[], None] | None = None,
    ) -> None:
        """`what` completes "the daemon did not finish ... in time". `said` words an error's line in the log.

        `observe` gets the seconds of every turn and its error, before whoever waits is answered. If `patient`, who asks
        waits for the end of a pause after a failure. `rest_s` is between any two turns. `stop` waits for
        `stop_s`, and calls `hasten`, which may end the turn that runs.
        """
        self.changed = threading.Condition()
        self.stopping = False
        self.error: PaiError | None = None
        self.began: float | None = None
        """When the turn that runs began, by the monotonic clock; None between turns."""
        self.due: float | None = None
        """When the next turn comes by itself, by the monotonic clock; None if it does not."""
        self.rest_s = rest_s
        self._what = what
        self._turn = turn
        self._pauses = pauses
        self._log = log
        self._said = said
        self._observe = observe
        self._patient = patient
        self._stop_s = stop_s
        self._hasten = hasten
        self._asked = 1
        self._answered = 0
        self._failures = 0
        self._told = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def problem(self) -> str:
        """The message of what the last turn raised, "" if it went well."""
        return "" if self.error is None else self.error.message

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin with a first turn."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be something to do."""
        self.ask()

    def ask(self) -> int:
        """Ask for a turn; give the number that `wait` waits for. With `changed` held, no turn begins meanwhile."""
        with self.changed:
            self._asked += 1
            self.changed.notify_all()
            return self._asked

    def wait(self, number: int, timeout_s: float) -> None:
        """Wait until a turn has answered `number`, and raise what it raised.

        Raises CouldNotRun after the timeout, or when no turn will come.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: self._answered >= number or self.stopping, timeout_s):
                raise CouldNotRun(f"the daemon did not finish {self._what} in time", "see pai status")
            if self._answered < number:
                raise CouldNotRun("the daemon is stopping", "try again when it has stopped")
            if self.error is not None:
                raise self.error

    def rest(self, seconds: float) -> bool:
        """Wait so long, whoever asks meanwhile; True at once when the worker is to stop. A turn may call it too."""
        with self.changed:
            return self.changed.wait_for(lambda: self.stopping, seconds)

    def stop(self) -> bool:
        """Let no further turn begin, tell whoever waits, and wait for the turn that runs.

        Tells whether the thread has ended; one that hangs is left behind.
        """
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
        if self._hasten is not None:
            self._hasten()
        if self.alive:
            self._thread.join(self._stop_s)
        return not self.alive

    def _run(self) -> None:
        while not self.stopping:
            with self.changed:
                number, asked = self._asked, self._asked > self._answered
            self._take(number, asked)
            self.rest(self.rest_s)
            self._await_next()

    def _take(self, number: int, asked: bool) -> None:
        """Take one turn, keep what came of it, and answer who asked before it."""
        started = self.began = time.monotonic()
        again_s: float | None = None
        error: PaiError | None = None
        try:
            again_s = self._turn(asked)
        except PaiError as caught:
            error = caught
        except Exception as bug:
            error = CouldNotRun(f"internal error while {self._what}: {bug!r}", "see the daemon's log")
            if self._said(error) != self._told:
                self._log.exception("a turn of %s failed", self._what)
        self._tell(error)
        if error is not None:
            self._failures += 1
            again_s = max(self._pauses.after(self._failures), min(error.wait_s, ASKED_MAX_S))
        else:
            self._failures = 0
        ended = time.monotonic()
        self._observe(ended - started, error)
        with self.changed:
            self.due = None if again_s is None else ended + again_s
            self.began, self.error = None, error
            self._answered = number
            self.changed.notify_all()

    def _tell(self, error: PaiError | None) -> None:
        """Write a line about an error that is another one than that of the turn before."""
        said = "" if error is None else self._said(error)
        if said and said != self._told:
            self._log.warning("%s", said)
        self._told = said

    def _await_next(self) -> None:
        """Wait until a turn is due, or somebody asks for one who need not wait, or the worker is to stop."""
        heeds = self.error is None or not self._patient
        left_s = None if self.due is None else max(0.0, self.due - time.monotonic())
        with self.changed:
            self.changed.wait_for(lambda: self.stopping or (heeds and self._asked > self._answered), left_s)
