"""Secrets for an event loop, which waits for no disk: a mounted folder may be on a network that does not answer.

What is in memory is given at once. Everything else is read by a thread, by one for each value however many ask for it;
a value that does not come in time is unavailable, and while it has not come nobody waits for it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, NamedTuple, Protocol

from reconciler.core.errors import SecretsUnavailable
from reconciler.secrets.secret_value import SecretValue

READ_S: Final = 5.0
"""How long a value may take to be read."""
THREADS_MAX: Final = 32
"""Values that are read at a time. Of these threads no daemon waits for when it ends."""


class Secrets(Protocol):
    """Where values are: `Backends`."""

    def at_hand(self, name: str, key: str) -> SecretValue | None:
        """Give a value that is in memory, else None."""
        ...

    def resolve(self, name: str, key: str) -> SecretValue:
        """Give a value, or raise SecretsUnavailable."""
        ...


class _Reading(NamedTuple):
    until: float
    value: asyncio.Future[SecretValue]


class SecretReader:
    """Reads secrets for one loop."""

    def __init__(self, secrets: Secrets, read_s: float = READ_S) -> None:
        """Read from `secrets`; a value may take `read_s` seconds."""
        self._secrets = secrets
        self._read_s = read_s
        self._readings: dict[tuple[str, str], _Reading] = {}
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = 0

    async def read(self, name: str, key: str) -> SecretValue:
        """Give the value in force. Raises SecretsUnavailable, which says why there is none."""
        value = self._secrets.at_hand(name, key)
        if value is not None:
            return value
        reading = self._readings.get((name, key)) or self._begin(name, key)
        try:
            async with asyncio.timeout_at(reading.until):
                return await asyncio.shield(reading.value)
        except TimeoutError:
            raise SecretsUnavailable(
                f"secret {name} key {key} was not read within {self._read_s:g} s: its folder does not answer"
            ) from None

    def _begin(self, name: str, key: str) -> _Reading:
        if len(self._readings) >= THREADS_MAX:
            raise SecretsUnavailable(f"{THREADS_MAX} secrets are being read, and none of them comes")
        loop = asyncio.get_running_loop()
        reading = _Reading(loop.time() + self._read_s, loop.create_future())
        self._readings[name, key] = reading

        def work() -> None:
            value, error = None, None
            try:
                value = self._secrets.resolve(name, key)
            except Exception as problem:  # whatever it is, somebody waits for it
                error = problem
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._end, name, key, value, error)

        if len(self._readings) > self._threads:
            self._threads += 1
            threading.Thread(target=self._run, name="pai-secrets", daemon=True).start()
        self._work.put(work)
        return reading

    def _run(self) -> None:
        while True:
            self._work.get()()

    def _end(self, name: str, key: str, value: SecretValue | None, error: Exception | None) -> None:
        future = self._readings.pop((name, key)).value
        if value is not None:
            future.set_result(value)
        elif error is not None:
            future.set_exception(error)
            future.exception()  # perhaps nobody waits any more
