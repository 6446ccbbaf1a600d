"""Refusals in the daemon's log: a line for each, what repeats within a minute as one line with a count.

A line has the request's id, the agent, the binding, the reason and the status: nothing of what was sent, and no key. Of
requests that nobody is known for there is one line a minute and reason, whatever they name, so that neither strangers
nor an agent can fill the disk.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from reconciler.gateway.refusal import FORWARDED, RECORDED, Refusal

log = logging.getLogger("pai.gateway")

WINDOW_S: Final = 60.0
_NAME_CHARACTERS: Final = 63


class _Kind(NamedTuple):
    agent: str
    binding: str
    """One that exists, else ""."""
    reason: str
    status: int


class _Repeated:
    """What came after the line of its kind."""

    def __init__(self, closing: asyncio.TimerHandle) -> None:
        self.count = 0
        self.request = ""
        self.closing = closing


class RefusalLines:
    """Counts refusals and writes the lines. For one loop, whose time it hardly takes."""

    def __init__(self) -> None:
        self._open: dict[_Kind, _Repeated] = {}

    def note(self, request: str, agent: str, binding: str, refusal: Refusal) -> None:
        """Take note of a refusal that a client is told; `agent` is "" where nobody is known."""
        known = agent and refusal.reason in RECORDED | FORWARDED
        kind = _Kind(agent, binding if known else "", refusal.reason, refusal.status)
        repeated = self._open.get(kind)
        if repeated is not None:
            repeated.count += 1
            repeated.request = request
            return
        self._open[kind] = _Repeated(asyncio.get_running_loop().call_later(WINDOW_S, self._close, kind))
        shown = ascii(binding[:_NAME_CHARACTERS])[1:-1] if agent else ""
        log.info("refused: request %s agent %s binding %s reason %s status %d", request, *_words(kind, shown))

    def flush(self) -> None:
        """Write what is counted."""
        for kind in list(self._open):
            self._close(kind)

    def _close(self, kind: _Kind) -> None:
        repeated = self._open.pop(kind)
        repeated.closing.cancel()
        if repeated.count:
            line = "refused: %d more within a minute, last request %s agent %s binding %s reason %s status %d"
            log.info(line, repeated.count, repeated.request, *_words(kind, kind.binding))


def _words(kind: _Kind, binding: str) -> tuple[str, str, str, int]:
    return kind.agent or "-", binding or "-", kind.reason, kind.status
