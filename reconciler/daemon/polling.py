"""Following a remote branch: a thread that fetches when the interval is over or somebody says "look again".

It owns the waiting and the retries, and nothing else waits for it but who asks it to: a remote that hangs or is dead
costs this thread alone. A failure is tried again after a growing, jittered pause; a wake-up cuts any pause short, and
many wake-ups while a fetch runs are one further fetch. Nothing raises out of the thread.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from reconciler.core.errors import PaiError, SourceUnavailable
from reconciler.core.health import Following
from reconciler.daemon.worker import Asking

REST_S = 0.5
"""Between two fetches, however often somebody asks for one: a forge counts them."""
PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 60.0
STOP_S = 10.0


class Fetches(Protocol):
    """What is followed."""

    def fetch(self) -> None:
        """Look at the remote once. Raises a PaiError."""
        ...

    def fetched(self) -> str:
        """Give the time of the last good look as RFC 3339, "" if there was none."""
        ...

    def cancel(self) -> None:
        """End a look that is under way, and let none begin any more."""
        ...


class Poll:
    """Fetches on a thread of its own. `wake` is called after every good fetch, `observe` after every one."""

    def __init__(
        self,
        mirror: Fetches,
        shown: str,
        interval_s: float,
        wake: Callable[[], None],
        clock: Callable[[float], str],
        observe: Callable[[float, PaiError | None], None] = lambda _seconds, _error: None,
    ) -> None:
        """`clock` gives the time so many seconds from now as RFC 3339."""
        self._mirror = mirror
        self._shown = shown
        self._interval_s = interval_s
        self._wake_up = wake
        self._clock = clock
        self._observe = observe
        self._asking = Asking("fetching the remote")
        self._error: PaiError | None = None
        self._since = ""
        self._next = ""
        self._fetched = mirror.fetched()
        self._thread = threading.Thread(target=self._run, name="pai-fetch", daemon=True)

    @property
    def error(self) -> PaiError | None:
        """What the last fetch met, None if it went well."""
        return self._error

    @property
    def read(self) -> bool:
        """Tell whether the remote has ever been fetched."""
        return bool(self._fetched)

    def status(self) -> Following:
        """Say how things stand now."""
        error = self._error
        return Following(self._shown, error.message if error else "", self._since, self._fetched, self._next)

    def start(self) -> None:
        """Begin with a first fetch."""
        self._thread.start()

    def stop(self) -> None:
        """End the fetch that runs, and the thread."""
        self._asking.stop()
        self._mirror.cancel()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def wake(self) -> None:
        """Say that the remote may have changed: it is fetched at once, however long the pause would still be."""
        self._asking.ask()

    def request(self, timeout_s: float = 90.0) -> None:
        """Wait for a fetch that begins after this call. Raises what it raises, CouldNotRun after the timeout."""
        self._asking.wait(self._asking.ask(), timeout_s)
        if (error := self._error) is not None:
            raise error

    def _run(self) -> None:
        pause_s = PAUSE_FIRST_S
        while (asked := self._asking.begin()) is not None:
            self._fetch(asked)
            self._asking.rest(REST_S)
            if self._error is None:
                pause_s = PAUSE_FIRST_S
                self._wait(self._interval_s * _jitter())
            else:
                self._wait(pause_s * _jitter())
                pause_s = min(max(PAUSE_MAX_S, self._interval_s), pause_s * 2)

    def _fetch(self, asked: int) -> None:
        started = time.monotonic()
        error: PaiError | None = None
        try:
            self._mirror.fetch()
            self._wake_up()
        except PaiError as caught:
            error = caught
        except Exception as bug:
            error = SourceUnavailable(f"internal error while fetching: {bug!r}", "see the daemon's log")
        self._observe(time.monotonic() - started, error)
        if error is None:
            self._since, self._fetched = "", self._mirror.fetched()
        elif self._error is None:
            self._since = self._clock(0)
        self._error = error
        self._asking.answer(asked)

    def _wait(self, seconds: float) -> None:
        self._next = self._clock(seconds)
        self._asking.next(seconds)


def _jitter() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 (many daemons must not ask at the same moment; no secret)
