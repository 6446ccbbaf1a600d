"""Faults on demand: a queue of what shall go wrong with the next requests.

It decides which request gets which fault; what a fault does is done where answers are sent.

Invariants: the first fault in the queue that fits a request is the one it gets; each fault is given out `times` times
and then gone. Any thread may queue.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import msgspec

from reconciler.simulator.shapes import Provider, UsageTold


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What goes wrong with one request. Members can be combined; `chunks` are the pieces of a stream's text.

    A reply that does not stream has two chunks, its halves.
    """

    provider: Provider | None = None
    """Only requests to this provider."""
    model: str | None = None
    """Only requests for this model."""
    path: str | None = None
    """Only requests whose path holds this."""
    times: int = 1
    """For how many requests."""

    refuse: bool = False
    """Close the connection without an answer; nothing is charged."""
    wait_s: float = 0.0
    """Say nothing for so long; then go on."""
    status: int | None = None
    """Refuse with this status and the provider's error body; nothing is charged."""
    message: str | None = None
    """The message of that error body."""
    retry_after: float | str | None = None
    """The header of that refusal; Gemini says it in the body."""
    headers: dict[str, str] = {}
    """Headers besides the usual ones; the same name replaces."""

    stall_after: int = 0
    """Where to stall: 0 is after the headers, n after the nth chunk."""
    stall_s: float = 0.0
    """How long to stall there."""
    delay_s: float = 0.0
    """Wait so long before each chunk."""
    cut_after: int | None = None
    """Close the connection after so many chunks (0: after the headers)."""
    error_after: int | None = None
    """End the stream with the provider's error after so many chunks; only those are charged."""
    usage: UsageTold = "once"
    """`none`: no usage is told; `twice`: one that says less comes before the true one."""
    garbage: bool = False
    """Send bytes that are neither JSON nor events."""
    length: int = 0
    """Content-Length is wrong by so many bytes (positive: it promises more than comes)."""
    gzip: bool = False
    """Compress the answer, asked or not."""
    pad: int = 0
    """Add so many blanks to each chunk."""

    def fits(self, provider: Provider, model: str, path: str) -> bool:
        """Tell whether a request is one that this fault is meant for."""
        return (
            self.provider in (None, provider)
            and self.model in (None, model)
            and (self.path is None or self.path in path)
        )


class Faults:
    """The queue."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, faults: Iterable[Fault]) -> None:
        """Queue faults for the next requests."""
        with self._lock:
            self._queue += [fault for fault in faults if fault.times > 0]

    def clear(self) -> None:
        """Forget what is queued."""
        with self._lock:
            self._queue.clear()

    def waiting(self) -> list[Fault]:
        """Give what is queued."""
        with self._lock:
            return list(self._queue)

    def take(self, provider: Provider, model: str, path: str) -> Fault | None:
        """Give the fault for a request, if there is one."""
        if not self._queue:
            return None
        with self._lock:
            for place, fault in enumerate(self._queue):
                if fault.fits(provider, model, path):
                    left = fault.times - 1
                    self._queue[place : place + 1] = [msgspec.structs.replace(fault, times=left)] if left else []
                    return fault
        return None
