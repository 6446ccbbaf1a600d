"""The gateway's way to the ledger: reserve durably before a byte leaves, resolve durably before the last byte returns.

Every reservation made here is resolved here exactly once. An outcome that the log does not take is kept and tried again
until it does; if the process ends before, the next start forfeits the reservation. With alternatives a request has
several reservations, one after the other: an outcome is that of one of them, however late it is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from reconciler.core import reservations
from reconciler.core.budget import Ask, Grant
from reconciler.core.errors import LogNotWritable
from reconciler.core.events import Draft, Durations
from reconciler.core.reservations import Usage
from reconciler.core.standing import Standing, standing
from reconciler.core.state import State
from reconciler.gateway.auth import AgentCaller, check_still
from reconciler.gateway.bridge import Bridge
from reconciler.gateway.refusal import Refusal
from reconciler.recorder import Recorder, Ticket

log = logging.getLogger("pai.gateway")

T = TypeVar("T")
Outcome = Callable[[State], list[Draft]]
Owed = tuple[str, int]
"""A request, and where on the log its reservation is for which an outcome is owed."""

RETRY_S = 1.0
WAIT_S = 20.0
"""How long an answer waits for a log that does not take its outcome."""
NO_TIME = Durations(0, 0)
NOT_SENT = "not sent"
"""The reason noted when a reservation was made, and nobody waited for it or was told of it."""


class Changed(Exception):
    """The binding was changed between two looks at it: decide again."""


class Books:
    """Reserves and resolves, for one loop.

    `day` gives the trusted day; `observe` is told the seconds from each decision to its being durable. `under_way`
    counts the requests that the loop serves: one that is alone is recorded without a change of threads.
    """

    def __init__(
        self, recorder: Recorder, bridge: Bridge, day: Callable[[], str], observe: Callable[[float], None]
    ) -> None:
        self._recorder = recorder
        self._bridge = bridge
        self._day = day
        self._observe = observe
        self._held: dict[str, int] = {}  # where the reservation is that a request has now
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

        Raises Denied, Changed if the binding is another one now, Refusal if the log cannot be written, or what the
        request came with is no more: its key, or the binding in the agent's list. It may have waited for minutes.
        """
        made: list[Grant] = []
        day = self._day()

        def decide(state: State) -> list[Draft]:
            binding = state.models.get(model)
            if binding is None or binding.position != position:
                raise Changed
            check_still(state, caller, model)
            reserved = reservations.reserve(
                state,
                model,
                ask,
                lower=lower,
                day=day,
                request=request,
                agent=caller.agent,
                key=caller.key,
                surface=surface,
            )
            made.append(reserved.grant)
            self._held[request] = state.position
            return [reserved.draft]

        await self._durable(request, decide)
        return made[0]

    def weigh(self, model: str, position: int, ask: Ask) -> None:
        """See whether an ask would be granted now if its output limit is lowered. Raises like `grant`."""
        day = self._day()

        def look(state: State) -> None:
            binding = state.models.get(model)
            if binding is None or binding.position != position:
                raise Changed
            reservations.weigh(state, model, ask, lower=True, day=day)

        self.read(look)

    def require_log(self) -> None:
        """Raise Refusal while an operator has to decide whether the log is the right one."""
        status = self._recorder.status()
        if status.held:
            raise Refusal("log", f"nothing is forwarded unrecorded, and {status.reason}")

    async def settle(self, request: str, usage: Usage, status: int, durations: Durations, reason: str = "") -> None:
        """Record what the provider says. Raises Refusal if the log does not take it in time (it is tried again)."""
        await self._resolve(
            request,
            lambda state: reservations.settle(state, request, usage, status=status, durations=durations, reason=reason),
        )

    async def void(self, request: str, status: int, durations: Durations, reason: str) -> None:
        """Record that the provider charged nothing. Raises Refusal like `settle`."""
        await self._resolve(
            request,
            lambda state: reservations.void(state, request, status=status, durations=durations, reason=reason),
        )

    async def forfeit(self, request: str, status: int, durations: Durations, reason: str) -> None:
        """Record that nobody knows what the provider charged. Raises Refusal like `settle`."""
        await self._resolve(
            request,
            lambda state: reservations.forfeit(state, request, status=status, durations=durations, reason=reason),
        )

    def forfeit_now(self, request: str, reason: str) -> None:
        """Do the same without waiting, for one who is being cancelled; nothing happens if it is resolved already."""
        if self._owed(request) in self._unsettled:
            return
        self._later(
            request,
            lambda state: reservations.forfeit(state, request, status=0, durations=NO_TIME, reason=reason),
        )

    def void_now(self, request: str, status: int, reason: str) -> None:
        """Record without waiting that nothing was charged."""
        self._later(
            request,
            lambda state: reservations.void(state, request, status=status, durations=NO_TIME, reason=reason),
        )

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
                        self._paid(owed)

    async def _durable(self, request: str, decide: Outcome) -> None:
        """Record a reservation. Where nobody hears of it, it may be on the log all the same: then it is voided."""
        began = time.monotonic()
        try:
            ticket = self._submit(decide)
        except LogNotWritable as error:
            raise unwritable(error) from None
        try:
            await self._bridge.outcome(ticket)
        except LogNotWritable as error:
            self.void_now(request, 0, NOT_SENT)
            raise unwritable(error) from None
        except asyncio.CancelledError:
            self.void_now(request, 0, NOT_SENT)
            raise
        self._observe(time.monotonic() - began)

    async def _resolve(self, request: str, outcome: Outcome) -> None:
        owed = self._owed(request)
        decide = _of(owed, outcome)
        self._unsettled[owed] = decide  # until it is durable, whatever becomes of this task
        try:
            await self._bridge.outcome(self._submit(decide))
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
            del self._unsettled[owed]  # a bug in this outcome; the caller has another one
            raise
        else:
            self._paid(owed)

    def _owed(self, request: str) -> Owed:
        """Give what is owed for the reservation that a request has now, or had."""
        return request, self._held.get(request, -1)

    def _paid(self, owed: Owed) -> None:
        """Forget what is on the log."""
        self._unsettled.pop(owed, None)
        request, position = owed
        if self._held.get(request) == position:
            del self._held[request]

    def _submit(self, decide: Outcome) -> Ticket:
        return self._recorder.submit(decide, alone=self.under_way <= 1)

    def _later(self, request: str, outcome: Outcome) -> None:
        owed = self._owed(request)
        decide = self._unsettled[owed] = _of(owed, outcome)
        try:
            ticket = self._recorder.submit(decide)
        except LogNotWritable:
            self._retry()
            return
        loop = asyncio.get_running_loop()

        def done(ticket: Ticket) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended; the next start forfeits
                loop.call_soon_threadsafe(self._recorded, owed, ticket)

        ticket.add_done_callback(done)

    def _recorded(self, owed: Owed, ticket: Ticket) -> None:
        try:
            ticket.wait(0)
        except LogNotWritable:
            self._retry()
        else:
            self._paid(owed)

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
                self._paid(owed)


def _of(owed: Owed, outcome: Outcome) -> Outcome:
    """Decide on an outcome while the reservation is open that it is that of, and on nothing for any other."""
    request, position = owed

    def decide(state: State) -> list[Draft]:
        held = state.ledger.open.get(request)
        return outcome(state) if held is not None and held.position == position else []

    return decide


def unwritable(error: LogNotWritable) -> Refusal:
    """Word a log that cannot be written for a client. Raises the error itself if it tells of a bug.

    Why it cannot be written names files of this machine: readiness tells that to the operator.
    """
    if error.internal:
        raise error
    return Refusal("log", "nothing is forwarded unrecorded, and the log cannot be written now; try again later")
