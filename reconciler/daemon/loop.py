"""The reconciling loop: one thread that looks again whenever somebody says so.

A wake-up carries no information; truth is git and the log. Whoever needs an answer (a command through the control
socket) waits for a pass that began after it asked. A pass that fails says so in `error` and is tried again after a
growing pause; the loop itself ends only when it is told to.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from reconciler.core.errors import CouldNotRun, LogNotWritable, PaiError, SourceUnavailable
from reconciler.core.pass_result import Result
from reconciler.daemon.worker import Asking
from reconciler.reconcile import Reconciler

log = logging.getLogger("pai.reconcile")

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
IDLE_S = 1.0
"""Quiet time after which what was read is kept on disk for the hook and the next start."""
STOP_S = 30.0
PASS_S_MAX = 120.0
"""Time after which a pass counts as hung."""
UNSAVED_MAX = 20
"""Passes after which it is kept even if there never is a quiet second."""


class ReconcileLoop:
    """Runs passes of a reconciler on its own thread. `observe` is told of every finished pass and its seconds."""

    def __init__(
        self, reconciler: Reconciler, probe: Callable[[], None], observe: Callable[[Result, float], None]
    ) -> None:
        self._reconciler = reconciler
        self._probe = probe
        self._observe = observe
        self._asking = Asking("looking at the repository")
        self._unsaved = 0
        self._accept = ""
        self._began: float | None = None
        self._ended: tuple[Result | None, PaiError | None] = (None, None)
        """The last result there is, and what is wrong with the last pass."""
        self._thread = threading.Thread(target=self._run, name="pai-reconcile", daemon=True)

    def start(self) -> None:
        """Begin with a first pass."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the pass that is running and end the thread."""
        self._asking.stop()
        self._thread.join(STOP_S)  # a pass that hangs must not keep the daemon; nothing of it is on the log

    def wake(self) -> None:
        """Say that the repository may have changed."""
        self._asking.ask()

    @property
    def _result(self) -> Result | None:
        return self._ended[0]

    @property
    def _error(self) -> PaiError | None:
        return self._ended[1]

    @property
    def source_read(self) -> bool:
        """Tell whether any pass has read the source to its end."""
        return self._result is not None

    @property
    def head(self) -> str:
        """The branch's tip as the last good pass saw it, "" before."""
        return self._result.head if self._result else ""

    @property
    def error(self) -> PaiError | None:
        """What is wrong with the last pass, None if nothing."""
        return self._error

    @property
    def fault(self) -> str:
        """Say what keeps the loop from doing its work at all, "" if nothing does."""
        if not self._thread.is_alive():
            return "the reconciling thread has ended"
        began = self._began
        if began is not None and time.monotonic() - began > PASS_S_MAX:
            return f"a reconciling pass has been running for {time.monotonic() - began:.0f} s"
        known = isinstance(self._error, SourceUnavailable | LogNotWritable)
        return self._error.message if self._error is not None and not known else ""

    @property
    def held(self) -> str:
        """The branch's commit before a force-push that is held, "" if none is."""
        return self._result.held if self._result else ""

    def request(self, accept_rewrite: str = "", timeout_s: float = 60.0) -> Result:
        """Wait for a pass that begins after this call. Raises what the pass raises, CouldNotRun after the timeout.

        `accept_rewrite` names the operator who lets a held tip come into force.
        """
        with self._asking.changed:
            self._accept = accept_rewrite or self._accept
            number = self._asking.ask()
        self._asking.wait(number, timeout_s)
        result, error = self._ended
        if error is not None:
            raise error
        assert result is not None
        return result

    def _run(self) -> None:
        pause_s = PAUSE_FIRST_S
        warm = False
        while True:
            asked = self._wait(None if self._error is None else pause_s, warm)
            if asked is None:
                return
            self._pass(asked)
            if self._error is None:
                pause_s = PAUSE_FIRST_S
                if not warm:
                    warm = self._warm()
            else:
                pause_s = min(PAUSE_MAX_S, pause_s * 2) * random.uniform(0.8, 1.2)  # noqa: S311 (jitter, no secret)

    def _wait(self, retry_s: float | None, warm: bool) -> int | None:
        """Sleep until there is something to look at; give the request number to answer, None to end."""
        self._unsaved += 1
        if warm and retry_s is None:
            quiet = not self._asking.next(IDLE_S)
            if quiet or self._unsaved > UNSAVED_MAX:
                self._reconciler.save()
                self._unsaved = 0
        self._asking.next(retry_s)
        return self._asking.begin()

    def _pass(self, asked: int) -> None:
        started = self._began = time.monotonic()
        result, error = None, None
        try:
            if isinstance(self._error, LogNotWritable):
                self._probe()
            with self._asking.changed:
                accept, self._accept = self._accept, ""
            result = self._reconciler.run(accept)
        except PaiError as caught:
            error = caught
        except Exception as bug:
            error = CouldNotRun(f"internal error while reconciling: {bug!r}", "see the daemon's log")
            if self._error is None or self._error.message != error.message:
                log.exception("a reconciling pass failed")
        if error is not None and (self._error is None or self._error.message != error.message):
            log.warning("%s (%s)", error.message, error.hint)
        if result is not None:
            self._observe(result, time.monotonic() - started)
        self._began = None
        self._ended = (result or self._result, error)
        self._asking.answer(asked)

    def _warm(self) -> bool:
        try:
            self._reconciler.warm()
        except PaiError as error:
            log.warning("reading the tree ahead failed: %s", error.message)
            return False
        except Exception:
            log.exception("reading the tree ahead failed")
        return True
