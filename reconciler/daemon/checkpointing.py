"""The attesting thread: signs a checkpoint at least every minute and every 1,000 events, and publishes it.

It never blocks the recorder: a commit only counts events, and wakes it. What cannot be signed or published is told in
`problem` and tried again after a growing pause. If the config repository turns out to vouch for another log, the log is
held. The last checkpoint, at a clean stop, is for whoever closes the parts.
"""

from __future__ import annotations

import logging
import threading
import time

from reconciler.core.errors import CouldNotRun, LogNotWritable, PaiError
from reconciler.operations.parts import Parts

log = logging.getLogger("pai.evidence")

EVERY_S = 60.0
EVERY_EVENTS = 1000
PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 30.0
STOP_S = 30.0


class Attester:
    """Vouches for the log of open parts until it is stopped. Begins with what nobody has vouched for yet."""

    def __init__(self, parts: Parts, every_s: float = EVERY_S, every_events: int = EVERY_EVENTS) -> None:
        self._parts = parts
        self._every_s = every_s
        self._every_events = every_events
        self._wake = threading.Event()
        self._stopping = False
        self._size = 0
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="pai-evidence", daemon=True)

    @property
    def problem(self) -> str:
        """Say what keeps checkpoints from being signed or published, "" if nothing does."""
        return self._problem

    def start(self) -> None:
        """Begin."""
        self._parts.recorder.on_commit(self._committed)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the checkpoint that is being made."""
        self._stopping = True
        self._wake.set()
        self._thread.join(STOP_S)

    def _committed(self, size: int) -> None:
        self._size = size
        if self._due() and not self._problem:
            self._wake.set()

    def _due(self) -> bool:
        return self._size - self._parts.notary.size >= self._every_events

    def _run(self) -> None:
        pause_s = PAUSE_FIRST_S
        while not self._stopping:
            self._attest()
            if not self._problem:
                pause_s = PAUSE_FIRST_S
                self._wait(self._every_s)
            else:
                self._wait(pause_s)
                pause_s = min(PAUSE_MAX_S, pause_s * 2)

    def _wait(self, seconds: float) -> None:
        """Wait for enough events, the end or the time; what came while a checkpoint was made may wake for nothing."""
        until = time.monotonic() + seconds
        while self._wake.wait(max(0.0, until - time.monotonic())):
            self._wake.clear()
            if self._stopping or self._due():
                return

    def _attest(self) -> None:
        problem = where = ""
        try:
            self._parts.attest()
            where = " on the remote"
            self._parts.send_checkpoints()
        except LogNotWritable:
            pass  # readiness tells that by itself, and nothing is new meanwhile
        except PaiError as error:
            problem = f"no checkpoint{where}: {error.message}"
        except Exception as bug:
            problem = f"no checkpoint{where}: {CouldNotRun(f'internal error: {bug!r}').message}"
            if problem != self._problem:
                log.exception("a checkpoint failed")
        if problem and problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem
