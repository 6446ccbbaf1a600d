"""Following a remote branch: a thread that fetches when the interval is over or somebody says "look again".

Nothing waits for it but who asks it to: a remote that hangs or is dead costs this thread alone. A failure is tried
again after a growing pause, which a wake-up cuts short.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from reconciler.core.errors import PaiError
from reconciler.core.health import Following
from reconciler.daemon.worker import Pauses, Worker
from reconciler.source.mirror import Mirror

log = logging.getLogger("pai.daemon")

REST_S = 0.5
"""Between two fetches, however often somebody asks for one: a forge counts them."""
PAUSES = Pauses(first_s=1.0, max_s=60.0, spread=0.2)
"""After a failure; the longest pause is the interval if that is longer."""
STOP_S = 10.0


class Poll(Worker):
    """Fetches on a thread of its own. `wake` is called after every good fetch, `observe` after every one."""

    def __init__(
        self,
        mirror: Mirror,
        shown: str,
        interval_s: float,
        wake: Callable[[], None],
        clock: Callable[[float], str],
        observe: Callable[[float, PaiError | None], None],
    ) -> None:
        """`clock` gives the time so many seconds from now as RFC 3339."""
        self._mirror = mirror
        self._shown = shown
        self._interval_s = interval_s
        self._wake_up = wake
        self._clock = clock
        self._told_of = observe
        self._since = ""
        self._fetched = mirror.fetched()
        super().__init__(
            "pai-fetch",
            "fetching the remote",
            self._fetch,
            PAUSES._replace(max_s=max(PAUSES.max_s, interval_s)),
            log,
            observe=self._ended,
            rest_s=REST_S,
            stop_s=STOP_S,
            hasten=mirror.cancel,
        )

    @property
    def read(self) -> bool:
        """Tell whether the remote has ever been fetched."""
        return bool(self._fetched)

    def status(self) -> Following:
        """Say how things stand now."""
        due = self.due
        coming = "" if due is None else self._clock(due - time.monotonic())
        return Following(self._shown, self.problem, self._since, self._fetched, coming)

    def request(self, timeout_s: float = 90.0) -> None:
        """Wait for a fetch that begins after this call. Raises what it raises, CouldNotRun after the timeout."""
        self.wait(self.ask(), timeout_s)

    def _fetch(self, asked: bool) -> float:
        del asked
        self._mirror.fetch()
        self._wake_up()
        return self._interval_s * random.uniform(0.8, 1.2)  # noqa: S311 (many daemons must not ask at once; no secret)

    def _ended(self, seconds: float, error: PaiError | None) -> None:
        self._told_of(seconds, error)
        if error is None:
            self._since, self._fetched = "", self._mirror.fetched()
        elif not self._since:
            self._since = self._clock(0)
