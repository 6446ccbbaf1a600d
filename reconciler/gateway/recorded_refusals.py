"""Refused requests on the log: the first of a kind at once, what repeats within a minute as one event with a count.

So an agent that hammers a spent budget writes two events a minute, not thousands, and every refusal is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import NamedTuple

from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.errors import LogNotWritable
from reconciler.core.events import Draft, RequestRefused
from reconciler.gateway.refusal import RECORDED, Refusal
from reconciler.recorder import Recorder, Ticket

log = logging.getLogger("pai.gateway")

WINDOW_S = 60.0
OTHERS_MAX = 100


class _Kind(NamedTuple):
    agent: str
    binding: str
    reason: str
    surface: str


class _Noted(NamedTuple):
    """What is kept of a refusal for a while; the refusal itself would keep the request's body."""

    request: str
    needed: int
    left: int


class Refusals:
    """Counts refusals and records them, without keeping anybody waiting. For one loop."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._repeated: dict[_Kind, list[_Noted]] = {}
        self._counts: dict[_Kind, int] = {}
        self._timers: dict[_Kind, asyncio.TimerHandle] = {}

    def note(self, agent: str, binding: str, surface: str, request: str, refusal: Refusal) -> None:
        """Take note of a refusal that a known agent got for a binding that exists."""
        if refusal.reason not in RECORDED:
            return
        kind = _Kind(agent, binding, refusal.reason, surface)
        noted = _Noted(request, refusal.needed, refusal.left)
        repeated = self._repeated.get(kind)
        if repeated is not None:
            self._counts[kind] += 1
            if len(repeated) <= OTHERS_MAX:
                repeated.append(noted)
            else:
                repeated[-1] = noted._replace(request=repeated[-1].request)  # the figures told are the last ones
            return
        self._repeated[kind], self._counts[kind] = [], 0
        self._timers[kind] = asyncio.get_running_loop().call_later(WINDOW_S, self._close, kind)
        self._record(kind, [noted], 1)

    def flush(self) -> None:
        """Record what is counted and not recorded yet."""
        for kind in list(self._repeated):
            self._close(kind)

    def _close(self, kind: _Kind) -> None:
        self._timers.pop(kind).cancel()
        repeated, count = self._repeated.pop(kind), self._counts.pop(kind)
        if repeated:
            self._record(kind, repeated, count)

    def _record(self, kind: _Kind, requests: list[_Noted], count: int) -> None:
        last = requests[-1]
        payload = RequestRefused(
            request=requests[0].request,
            agent=kind.agent,
            surface=kind.surface,
            reason=kind.reason,
            needed=min(MAX_SAFE_INTEGER, last.needed),  # absurd limits add up to more than the log can hold
            remaining=last.left,
            count=count,
            others=[noted.request for noted in requests[1:]],
        )
        draft = Draft(kind.agent, f"model/{kind.binding}", payload)
        with contextlib.suppress(LogNotWritable):  # nothing was forwarded, and the client was told
            self._recorder.submit(lambda _: [draft]).add_done_callback(partial(_recorded, draft))


def _recorded(draft: Draft, ticket: Ticket[None]) -> None:
    """Tell the operator of a draft that no log takes: a bug, whose place is in the error. From any thread."""
    error = ticket.taken()
    if isinstance(error, Exception) and not isinstance(error, LogNotWritable):
        log.error("a refused request cannot be recorded: %s", draft, exc_info=error)
