"""The attesting thread: signs a checkpoint at least every minute and every 1,000 events, and publishes it.

It never blocks the recorder: a commit only counts events, and wakes it. What cannot be signed or published is told in
`problem` and tried again after a growing pause. If the config repository turns out to vouch for another log, the log is
held. The last checkpoint, at a clean stop, is for whoever closes the parts.
"""

from __future__ import annotations

import logging

from reconciler.core.errors import CouldNotRun, LogNotWritable, PaiError
from reconciler.daemon.worker import Pauses, Worker
from reconciler.operations.parts import Parts

EVERY_S = 60.0
EVERY_EVENTS = 1000
PAUSES = Pauses(first_s=1.0, max_s=30.0)


class Attester(Worker):
    """Vouches for the log of open parts until it is stopped. Begins with what nobody has vouched for yet."""

    def __init__(self, parts: Parts, every_s: float = EVERY_S, every_events: int = EVERY_EVENTS) -> None:
        self._parts = parts
        self._every_s = every_s
        self._every_events = every_events
        self._asked_size = 0
        super().__init__(
            "pai-evidence",
            "signing checkpoints",
            self._attest,
            PAUSES,
            logging.getLogger("pai.evidence"),
            said=lambda error: error.message,
            patient=True,
        )

    def start(self) -> None:
        """Begin with what is not vouched for yet, and go on with what is committed."""
        self._parts.recorder.on_commit(self._committed)
        super().start()

    def _committed(self, size: int) -> None:
        """Ask for a checkpoint once for every so many events, also while one is being made."""
        if size - max(self._parts.notary.size, self._asked_size) >= self._every_events:
            self._asked_size = size
            self.wake()

    def _attest(self, asked: bool) -> float:
        del asked
        where = ""
        try:
            self._parts.attest()
            where = " on the remote"
            self._parts.send_checkpoints()
        except LogNotWritable:
            pass  # readiness tells that by itself, and nothing is new meanwhile
        except PaiError as error:
            raise CouldNotRun(f"no checkpoint{where}: {error.message}", error.hint) from error
        return self._every_s
