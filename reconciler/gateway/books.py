"""The gateway's way to the ledger: reserve durably before a byte leaves, resolve durably before the last byte returns.

Every reservation made here is resolved here exactly once. An outcome that the log does not take is kept and tried again
until it does; if the process ends before, the next start forfeits the reservation. With alternatives a request has
several reservations, one after the other and each on another binding: an outcome names both, so that it is that of one
of them, however late it is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, count
from typing import TypeVar

from reconciler.core import reservations
from reconciler.core.budget import Ask, Grant
from reconciler.core.errors import LogNotWritable
from reconciler.core.events import Draft, Durations
from reconciler.core.standing import Standing, standing
from reconciler.core.state import State
from reconciler.gateway.auth import AgentCaller, check_still
from reconciler.gateway.bridge import Bridge
from reconciler.gateway.refusal import Refusal
from reconciler.recorder import Decided, Receipt, Recorder

log = logging.getLogger("pai.gateway")

T = TypeVar("T")
Outcome = Callable[[State], list[Draft]]
Draw = Callable[..., list[Draft]]
"""Drafts an outcome: `settle` with its usage, `void` or `forfeit` of core/reservations."""
Owed = tuple[str, str]
"""A request and the binding of its reservation, for which an outcome is owed."""

RETRY_S = 1.0
WAIT_S = 20.0
"""How long an answer waits for a log that does not take its outcome."""
NO_TIME = Durations(0, 0)
NOT_SENT = "not sent"
"""The reason noted when a reservation was made, and nobody waited for it or was told of it."""


class BindingReplaced(Exception):
    """The binding was changed between two looks at it: decide again."""


class Books:
    """Reserves and resolves, for one loop.

    `day` gives the trusted day; `observe` is told the seconds from each decision to its being durable. `node` is whose
    reservations these are. `under_way` counts the requests that the loop serves: one that is alone is recorded without
    a change of threads.
    """

    def __init__(
        self,
        recorder: Recorder,
        bridge: Bridge,
        day: Callable[[], str],
        observe: Callable[[float], None],
        node: str = "",
    ) -> None:
        self._recorder = recorder
        self._bridge = bridge
        self._day = day
        self._observe = observe
        self._node = node
        self._unsettled: dict[Owed, Outcome] = {}
        self._retrying: asyncio.Task[None] | None = None
        self.under_way = 0

    def read(self, fn: Callable[[State], T]) -> T:
        """Look at the live state. Raises Refusal if there is none that can be trusted, and what `fn` raises."""
        try:
            return self._recorder.read(fn)
        except LogNotWritable as error:
            raise unwritable(error) from None

    def standing(self, model: str) -> Standing:
        """Say how a binding's budget stands today. Raises Refusal like `read`."""
        day = self._day()
        return self.read(lambda state: standing(state, model, day))

    async def grant(
        self, caller: AgentCaller, surface: str, request: str, model: str, position: int, ask: Ask, *, lower: bool
    ) -> Grant:
        """Reserve what the ask needs, durably; `position` is that of the binding that it was made for.

        Raises Denied, BindingReplaced if the binding is another one now, Refusal if the log cannot be written, or what
        the request came with is no more: its key, or the binding in the agent's list. It may have waited for minutes.
        """
        day = self._day()

        def decide(state: State) -> Decided[Grant]:
            binding = state.models.get(model)
            if binding is None or binding.position != position:
                raise BindingReplaced
            check_still(state, caller, model)
            made = reservations.reserve(
                state,
                model,
                ask,
                lower=lower,
                day=day,
                request=request,
                agent=caller.agent,
                key=caller.key,
                surface=surface,
                node=self._node,
            )
            return Decided([made.draft], made.grant)

        began = time.monotonic()
        try:
            granted = await self._submitted(decide)
        except (LogNotWritable, asyncio.CancelledError) as error:
            # Nobody hears of it, and it may be on the log all the same.
            self.void_now(request, model, 0, NOT_SENT)
            if isinstance(error, LogNotWritable):
                raise unwritable(error) from None
            raise
        self._observe(time.monotonic() - began)
        return granted.result

    def _submitted(self, decide: Callable[[State], Decided[T]]) -> asyncio.Future[Receipt[T]]:
        """Submit a reservation. Raises Refusal if nothing is decided, so that there is nothing to take back."""
        try:
            return self._bridge.outcome(self._recorder.submit(decide, alone=self.under_way <= 1))
        except LogNotWritable as error:
            raise unwritable(error) from None

    def weigh(self, model: str, position: int, ask: Ask) -> None:
        """See whether an ask would be granted now if its output limit is lowered. Raises like `grant`."""
        day = self._day()

        def look(state: State) -> None:
            binding = state.models.get(model)
            if binding is None or binding.position != position:
                raise BindingReplaced
            reservations.weigh(state, model, ask, lower=True, day=day)

        self.read(look)

    def beside(self, request: str) -> str:
        """Give a name for what a request counts: one that no reservation holds, nor an outcome that is owed."""
        owed, first = {name for name, _ in self._unsettled}, f"{request}-count"
        names = chain((first,), (f"{first}-{number}" for number in count(2)))
        return next(name for name in names if name not in owed)

    def require_log(self) -> None:
        """Raise Refusal while an operator has to decide whether the log is the right one."""
        status = self._recorder.status()
        if status.held:
            raise Refusal("log", f"nothing is forwarded unrecorded, and {status.reason}")

    async def resolve(
        self, request: str, model: str, draw: Draw, status: int, durations: Durations, reason: str = ""
    ) -> None:
        """Record what became of a reservation. Raises Refusal if the log does not take it in time (it is tried on)."""
        owed = request, model
        decide = self._unsettled[owed] = _of(owed, draw, status, durations, reason)  # whatever becomes of this task
        try:
            await self._bridge.outcome(self._recorder.submit(decide, alone=self.under_way <= 1))
        except LogNotWritable as error:
            self._retry()
            deadline = asyncio.get_running_loop().time() + WAIT_S
            while owed in self._unsettled:
                if asyncio.get_running_loop().time() > deadline:
                    raise unwritable(error) from None
                await asyncio.sleep(RETRY_S / 4)
        except asyncio.CancelledError:
            self._retry()
            raise
        except BaseException:
            self._paid(owed, decide)  # a bug in this outcome; the caller has another one
            raise
        else:
            self._paid(owed, decide)

    def forfeit_now(self, request: str, model: str, reason: str) -> None:
        """Record without waiting that nobody knows what was charged; nothing happens if it is resolved already."""
        if (request, model) not in self._unsettled:
            self._later((request, model), reservations.forfeit, 0, reason)

    def void_now(self, request: str, model: str, status: int, reason: str) -> None:
        """Record without waiting that nothing was charged."""
        self._later((request, model), reservations.void, status, reason)

    async def close(self) -> None:
        """Try once more what the log has not taken; the loop goes on meanwhile, for `WAIT_S` at most."""
        if self._retrying is not None:
            self._retrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retrying
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                for owed, outcome in list(self._unsettled.items()):
                    with contextlib.suppress(LogNotWritable):
                        await self._bridge.outcome(self._recorder.submit(outcome))
                        self._paid(owed, outcome)

    def _paid(self, owed: Owed, outcome: Outcome) -> None:
        """Forget an outcome that is on the log: whoever tries all again may have done so, or a later one be owed."""
        if self._unsettled.get(owed) is outcome:
            del self._unsettled[owed]

    def _later(self, owed: Owed, draw: Draw, status: int, reason: str) -> None:
        decide = self._unsettled[owed] = _of(owed, draw, status, NO_TIME, reason)
        try:
            outcome = self._bridge.outcome(self._recorder.submit(decide))
        except LogNotWritable:
            self._retry()
            return
        outcome.add_done_callback(partial(self._recorded, owed, decide))

    def _recorded(self, owed: Owed, decide: Outcome, outcome: asyncio.Future[Receipt[None]]) -> None:
        error = outcome.exception()
        if error is None:
            self._paid(owed, decide)
        elif isinstance(error, LogNotWritable):
            self._retry()
        else:
            raise error

    def _retry(self) -> None:
        if self._retrying is None or self._retrying.done():
            log.warning("the log does not take the outcome of a request; trying again")
            self._retrying = asyncio.create_task(self._try_again())

    async def _try_again(self) -> None:
        """Record outcomes again until none is left. One that was recorded after all decides to do nothing."""
        while self._unsettled:
            await asyncio.sleep(RETRY_S)
            for owed, outcome in list(self._unsettled.items()):
                try:
                    await self._bridge.outcome(self._recorder.submit(outcome))
                except LogNotWritable:
                    break
                self._paid(owed, outcome)


def _of(owed: Owed, draw: Draw, status: int, durations: Durations, reason: str) -> Outcome:
    """Decide on an outcome while the reservation is open that it is that of, and on nothing for any other."""
    request, model = owed

    def decide(state: State) -> list[Draft]:
        held = state.ledger.open.get(request)
        if held is None or held.model != model:
            return []
        return draw(state, request, status=status, durations=durations, reason=reason)

    return decide


def unwritable(error: LogNotWritable) -> Refusal:
    """Word a log that cannot be written for a client. Raises the error itself if it tells of a bug.

    Why it cannot be written names files of this machine: readiness tells that to the operator.
    """
    if error.internal:
        raise error
    return Refusal("log", "nothing is forwarded unrecorded, and the log cannot be written now; try again later")
