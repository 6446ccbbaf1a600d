"""The reconciling loop: one thread that looks again whenever somebody says so.

A wake-up carries no information; truth is git and the log. Whoever needs an answer (a command through the control
socket) waits for a pass that began after it asked. A pass that fails says so in `error` and is tried again after a
growing pause; the loop itself ends only when it is told to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from reconciler.core.errors import LogNotWritable, PaiError, SourceUnavailable
from reconciler.core.pass_result import Result, RewriteAccepted
from reconciler.daemon.worker import Pauses, Worker
from reconciler.reconcile.reconciler import Reconciler

log = logging.getLogger("pai.reconcile")

PAUSES = Pauses(first_s=1.0, max_s=30.0, spread=0.2)
IDLE_S = 1.0
"""Quiet time after which what was read is kept on disk for the hook and the next start."""
PASS_S_MAX = 120.0
"""Time after which a pass counts as hung."""
UNSAVED_MAX = 20
"""Passes after which it is kept even if there never is a quiet second."""


class ReconcileLoop(Worker):
    """Runs passes of a reconciler on its own thread. `observe` is told of every finished pass and its seconds."""

    def __init__(
        self, reconciler: Reconciler, probe: Callable[[], None], observe: Callable[[Result, float], None]
    ) -> None:
        self._reconciler = reconciler
        self._probe = probe
        self._passed = observe
        self._unsaved = 0
        self._warm = False
        self._accept: RewriteAccepted | None = None
        self._result: Result | None = None
        super().__init__("pai-reconcile", "looking at the repository", self._look, PAUSES, log)

    @property
    def source_read(self) -> bool:
        """Tell whether any pass has read the source to its end."""
        return self._result is not None

    @property
    def head(self) -> str:
        """The branch's tip as the last good pass saw it, "" before."""
        return self._result.head if self._result else ""

    @property
    def fault(self) -> str:
        """Say what keeps the loop from doing its work at all, "" if nothing does."""
        if not self.alive:
            return "the reconciling thread has ended"
        began, error = self.began, self.error
        if began is not None and time.monotonic() - began > PASS_S_MAX:
            return f"a reconciling pass has been running for {time.monotonic() - began:.0f} s"
        return "" if error is None or isinstance(error, SourceUnavailable | LogNotWritable) else error.message

    @property
    def held(self) -> str:
        """The branch's commit before a force-push that is held, "" if none is."""
        return self._result.held if self._result else ""

    def request(self, accept_rewrite: RewriteAccepted | None = None, timeout_s: float = 60.0) -> Result:
        """Wait for a pass that begins after this call. Raises what the pass raises, CouldNotRun after the timeout.

        `accept_rewrite` is the order of an operator who lets a held tip come into force.
        """
        with self.changed:
            self._accept = accept_rewrite or self._accept
            number = self.ask()
        self.wait(number, timeout_s)
        assert self._result is not None
        return self._result

    def _look(self, asked: bool) -> float | None:
        """Pass if somebody asks, or the last pass failed; else nobody has asked for a while, and it is time to tidy up.

        A process that never has a quiet second keeps what was read before the pass of whoever asks.
        """
        if not asked and self.error is None:
            return self._tidy()
        if self._unsaved > UNSAVED_MAX:
            self._save()
        self._unsaved += 1
        self._pass()
        return IDLE_S if self._warm else 0.0

    def _pass(self) -> None:
        started = time.monotonic()
        if isinstance(self.error, LogNotWritable):
            self._probe()
        with self.changed:
            accept, self._accept = self._accept, None
        self._result = self._reconciler.run(accept)
        self._passed(self._result, time.monotonic() - started)

    def _tidy(self) -> float | None:
        """Read the tree ahead once after the start; afterwards keep what was read."""
        if self._warm:
            self._save()
            return None
        try:
            self._reconciler.warm()
            self._warm = True
        except PaiError as error:
            log.warning("reading the tree ahead failed: %s", error.message)
        except Exception:
            log.exception("reading the tree ahead failed")
            self._warm = True  # a bug would come again
        return IDLE_S if self._warm else None

    def _save(self) -> None:
        self._reconciler.save()
        self._unsaved = 0
