"""The lines about readiness in the daemon's log: one for every change that anybody could see, with the reason.

Whoever finds out how things stand tells it here, from any thread: a probe that was answered 503 has its line, however
short that was. What has not been ready since the start is told when the start has had its time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from reconciler.core.diagnostics import printable
from reconciler.core.health import Health
from reconciler.operations.health import in_words

log = logging.getLogger("pai.daemon")


class ReadinessLines:
    """Remembers what was told last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: tuple[bool, list[str]] | None = None
        self._last = ""

    def begin(self, health: Health) -> None:
        """Tell how things stand once the start is over, and from then on every change."""
        with self._lock:
            if self._told is None:
                self._told = True, []
        self.see(health)

    def see(self, health: Health) -> None:
        """Take note of how things stand, and write a line if that is not what was told last."""
        now = health.ready, [] if health.ready else _kinds(health.reasons)
        with self._lock:
            if self._told is None or now == self._told:
                return
            self._told, before, self._last = now, self._last, in_words(health)
        if health.ready:
            log.info("%s; now: ready", printable(before))
        else:
            log.warning("%s", in_words(health))


def _kinds(reasons: Sequence[str]) -> list[str]:
    """Give what is told once: times and counts in brackets behind a reason change with every try."""
    return [reason.partition(" (")[0] for reason in reasons]
