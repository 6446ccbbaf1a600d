"""The one writer: decides on the live state, puts what was decided on the log, folds it, answers when it is durable.

Decisions need a turn, in which nobody else appends. A log that is ours alone is one turn from its opening to its
closing: `submit` makes the decision at once, under the lock, on the live state, which already holds everything decided
before it, durable or not yet. On a log that other recorders append to as well (`Store.shared`), decisions wait in the
pending batch until the writer thread has a turn; what others appended is folded first.

What was decided is stamped, encoded, folded and put into the pending batch. A writer thread commits batch after batch;
batches form by themselves while the former commit runs, and while others wait, for a moment after it: callers that were
just answered mostly come again. When the commit is done, its callers are answered, those that are threads one after the
other. A caller who has nobody else to serve may commit by itself, while nothing else is to be committed and the disk is
quick: that spares two changes of threads.

Invariants
- What is folded is what decoding the stored bytes gives, so replaying the log gives the live state.
- The events of one decision are committed together or not at all.
- Nobody is answered before everything that the decision could see is durable: no refusal, no "nothing to do".
- A failed commit has an unknown outcome: its callers and those who built on it get LogNotWritable, unless their events
  are found on disk, or OutcomeUnknown if nobody can look; the state is made anew from the disk before anybody decides
  again.
- While the log is held (`hold`) nothing is recorded but what ends that (`resume`); reading goes on.
- What is prepared and very large is a batch of its own: it holds up no more than what came after it.
- What is derived may be behind the log, also for a while after an answer; it catches up between commits.
- The store is touched by the writer thread while a batch is in flight (`_writing`), and otherwise only under the lock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, overload

from reconciler.core.errors import LogNotWritable, PaiError
from reconciler.core.state import State
from reconciler.log.index import BLOCK_EVENTS
from reconciler.log.stamp import Clock, Random, Stamper, wall_clock
from reconciler.log.store import Backend, Store, Stored
from reconciler.recorder.batches import Batch, Cut, cut_of, hint, message, not_recorded
from reconciler.recorder.deciding import NOTHING, Decide, Decided, Drafts, made
from reconciler.recorder.following import folded, state_of
from reconciler.recorder.housekeeper import Housekeeper
from reconciler.recorder.tickets import Receipt, Ticket

T = TypeVar("T")

_LARGE_ROWS = 512
"""Rows of the projection from which on what was prepared is a batch of its own."""
_LARGE_BYTES = 256 * 1024
"""Of its events, likewise: few of them may say much."""
_GATHER_S = 0.0003
"""How long the writer waits for the next of the callers it has just answered, if others wait for the commit."""
_GATHER_S_MAX = 0.002
"""How long it does so at most, however many come."""


class Status(NamedTuple):
    """Whether the log takes events, and if not, why; `held` if an operator has to decide (`Recorder.hold`)."""

    writable: bool
    reason: str
    held: bool = False


class Recorder:
    """Owns the state and the only way to change it. Safe to use from any number of threads."""

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Clock = wall_clock,
        random: Random = os.urandom,
        snapshot_every: int = 10_000,
        block_events: int = BLOCK_EVENTS,
        retry_s: float = 1.0,
        quick_s: float = 0.001,
        housekeeping: bool = True,
    ) -> None:
        """Open the log behind `backend` (which `close` releases) and bring the state up to its end.

        `snapshot_every`: events between snapshots. `block_events`: of a block of the index. `retry_s`: the pause before
        a log that failed is tried again. `quick_s`: a lone caller commits by itself only after a commit that
        took less: a slow disk holds up nobody's loop. `housekeeping`: of the recorders of one log, only one keeps what
        is derived. Raises LogDamaged, LogNotWritable; the backend is released then.
        """
        self._backend = backend
        self._stamper = Stamper(clock, random)
        self._retry_s = retry_s
        self._quick_s = quick_s
        self._keep = partial(Housekeeper, snapshot_every=snapshot_every, block_events=block_events)
        self._housekeeping = housekeeping
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._store: Store | None = None
        self._state: State | None = None
        self._housekeeper: Housekeeper | None = None
        self._pending = Batch(0)
        self._closed: deque[Cut] = deque()  # batches that go before the pending one
        self._expected = 1
        self._reason = self._hint = ""
        self._retry_at = 0.0
        self._spoiled = False
        self._closing = False
        self._held = ""
        self.gathered: bool | None = None  # once it is closed, whether the log's file alone holds everything, if known
        self._writing = False
        self._took_s = 0.0
        self._committed: Callable[[int], object] = int  # told the log's size after each commit
        try:
            self._open()
        except BaseException:
            self._shut_store()
            backend.release()
            raise
        self._writer = threading.Thread(target=self._run, name="pai-recorder", daemon=True)
        self._writer.start()

    @overload
    def record(self, decide: Callable[[State], Decided[T]]) -> Receipt[T]: ...
    @overload
    def record(self, decide: Callable[[State], Drafts]) -> Receipt[None]: ...
    def record(self, decide: Decide[Any]) -> Receipt[Any]:
        """Decide, and wait until it is durable. Raises what `decide` raises, LogNotWritable."""
        return self._submit(decide).wait()

    @overload
    def submit(self, decide: Callable[[State], Decided[T]], *, alone: bool = False) -> Ticket[T]: ...
    @overload
    def submit(self, decide: Callable[[State], Drafts], *, alone: bool = False) -> Ticket[None]: ...
    def submit(self, decide: Decide[Any], *, alone: bool = False) -> Ticket[Any]:
        """Let a decision be made, and give a ticket that tells when it is durable, or what the decision raised.

        `alone`: the caller has nobody else to serve, so that the commit may be made before this returns; the ticket is
        done then. A draft that cannot be stored is a ValueError of the ticket. Raises LogNotWritable.
        """
        return self._submit(decide, alone)

    def on_commit(self, callback: Callable[[int], object]) -> None:
        """Tell `callback` the log's size after each commit, from now on; it is quick, and calls nothing here."""
        self._committed = callback

    def hold(self, reason: str) -> None:
        """Record nothing from now on; whoever tries gets LogNotWritable with `reason`."""
        with self._lock:
            self._held = reason

    def resume(self, decide: Callable[[State], Drafts]) -> Receipt[None]:
        """End the hold with a decision that says why, and wait until it is durable; else it goes on.

        Raises what `record` raises.
        """
        held = self._held
        receipt: Receipt[None] = self._submit(decide, although_held=True).wait()
        with self._lock:
            if self._held == held:  # else there is another reason by now
                self._held = ""
        return receipt

    def read(self, fn: Callable[[State], T]) -> T:
        """Give what `fn` makes of the live state, under the lock; same rules as for `decide`.

        Raises LogNotWritable while the state cannot be trusted.
        """
        with self._lock:
            if self._state is None:
                raise LogNotWritable(self._reason, self._hint)
            return fn(self._state)

    def status(self) -> Status:
        """Tell whether the log takes events, as far as known; `probe` finds out."""
        reason = self._held or self._reason
        return Status(not reason, reason, bool(self._held))

    def is_replaced(self) -> bool:
        """Tell whether another program writes the log by now; this one has to end then."""
        return self._backend.is_lost()

    def probe(self) -> None:
        """When the log is not writable and the pause is over, open it again and prove that a write works.

        Raises LogNotWritable if it still is not.
        """
        with self._lock:
            self._writable_state()

    def look(self) -> None:
        """Notice what another program did to the log, also while nothing is recorded; for whoever has a clock."""
        with self._lock:
            if self._store is not None and not (self._writing or self._reason):
                try:
                    self._store.look()
                    if self._store.shared and self._state is not None:
                        self._follow(list(self._store.read(self._state.position)))
                except PaiError as error:
                    self._recover(None, error)

    def close(self) -> None:
        """Commit what is pending, take a snapshot if it spares a start much, let go of the log. Safe to call twice."""
        with self._lock:
            self._closing = True
            self._wake.notify_all()
        self._writer.join()
        with self._lock:
            if self._store is not None and self._state is not None and not self._reason:
                with contextlib.suppress(PaiError), self._store.turn(self._state.position) as tail:
                    self._follow(tail)
                    if self._housekeeper is not None:
                        self._housekeeper.close(self._state)  # the log is whole without it
                with contextlib.suppress(PaiError):
                    self.gathered = self._store.gather()
                self._reason = "the log is closed"
            self._state = None
            self._shut_store()
            self._backend.release()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Deciding: under the lock. On a log that is ours alone in the caller's thread, else in the writer's.

    def _submit(self, decide: Decide[T], alone: bool = False, although_held: bool = False) -> Ticket[T]:
        ticket: Ticket[T] = Ticket()  # `Ticket[T]()` takes seven times as long
        with self._lock:
            state = self._state
            if state is None or self._reason or self._closing or self._held:
                state = self._writable_state(although_held)
            if self._store is not None and self._store.shared:
                self._pending.add(ticket)
                self._pending.undecided.append((decide, ticket))
                self._wake.notify()
                return ticket
            try:
                waiting = self._decide(state, decide, ticket)
            except BaseException:  # also KeyboardInterrupt: the state may be half-changed
                self._spoil()
                raise
            if alone and waiting == 1 and self._free():
                self._commit_here()
            elif waiting in (1, self._expected) or self._closed:
                self._wake.notify()
        return ticket

    def _decide(self, state: State, decide: Decide[T], ticket: Ticket[T]) -> int:
        """Put what is decided, and its caller, into the pending batch; give how many wait there, 0 if nobody has to."""
        found = made(decide, state, self._stamper, ticket)
        if found is NOTHING and not (self._writing or self._closed or self._pending.tickets):
            ticket.resolve(None)  # all that it saw is durable
            return 0
        # Only what is prepared has keys.
        large = len(found.keys) >= _LARGE_ROWS or (found.keys and sum(map(len, found.bodies)) >= _LARGE_BYTES)
        if large and self._pending.tickets:  # neither those who wait already nor those who come wait in it
            self._closed.append(self._cut())
        self._pending.add(ticket)
        self._pending.put(found)
        for event in found.events:
            state.apply(event)
        if large:
            self._pending.keys = found.keys
            self._closed.append(self._cut())
        return len(self._pending.tickets)

    def _writable_state(self, although_held: bool = False) -> State:
        if self._closing:
            raise LogNotWritable("the log is being closed")
        if self._held and not although_held:
            raise LogNotWritable(self._held, "an operator decides: pai verify, then pai verify --accept")
        if self._reason:
            if self._spoiled or time.monotonic() < self._retry_at:
                raise LogNotWritable(self._reason, self._hint)
            self._reopen()
            if self._reason:
                raise LogNotWritable(self._reason, self._hint)
        assert self._state is not None
        return self._state

    def _free(self) -> bool:
        """Tell whether the pending batch may be committed at once, by the caller: nothing else is due."""
        if self._writing or self._closed or self._took_s >= self._quick_s:
            return False
        assert self._state is not None
        return not (self._housekeeper is not None and self._housekeeper.is_due(self._state.position))

    def _commit_here(self) -> None:
        """Commit the pending batch in the caller's thread, under the lock."""
        try:
            cut = self._cut()
        except Exception as bug:
            self._recover(None, bug)
            return
        batch, error = self._commit(cut)
        if error is not None:
            self._recover(batch, error)
            if not isinstance(error, Exception):
                raise error
        elif self._behind():
            self._wake.notify()

    def _spoil(self) -> None:
        """Give up a state that a failed fold may have left half-changed; the writer thread makes it anew."""
        self._state = None
        self._spoiled = True
        self._reason = "the state is being made anew after an internal error"
        self._hint = "try again in a moment"
        self._wake.notify()

    # Committing: the writer thread.

    def _run(self) -> None:
        while True:
            with self._lock:
                self._writing = False
                while not (self._due() or self._closing or self._spoiled):
                    self._wake.wait()
                if not self._closed:
                    self._gather()
                if self._spoiled:
                    self._recover(None, LogNotWritable("an event could not be folded"))
                    continue
                if not self._due():
                    return
                try:
                    work = self._next()
                except Exception as error:  # a bug must not leave callers waiting for ever
                    self._recover(None, error)
                    continue
                self._writing = True
            failed, problem = self._take_turn(work) if isinstance(work, Batch) else self._commit(work)
            if problem is None:
                problem = self._catch_up()
            if problem is not None:
                with self._lock:
                    self._recover(failed, problem)

    def _due(self) -> bool:
        return bool(self._closed or self._pending.tickets or self._behind())

    def _behind(self) -> bool:
        return self._housekeeper is not None and self._housekeeper.behind

    def _next(self) -> Cut | Batch | None:
        """Take what is committed next, or the decisions that need a turn first; None if only housekeeping is due."""
        if self._closed:
            return self._closed.popleft()
        if not self._pending.undecided:
            return self._cut() if self._pending.tickets else None
        batch, self._pending = self._pending, Batch(0)
        return batch

    def _gather(self) -> None:
        """Wait a moment for the callers that were just answered, if others wait already: one commit for all of them."""
        until = time.monotonic() + _GATHER_S_MAX
        came = 0
        while came < (here := len(self._pending.tickets)) < self._expected and time.monotonic() < until:
            if self._closing or self._spoiled:
                return
            came = here
            self._wake.wait(_GATHER_S)

    def _cut(self) -> Cut:
        """Close the pending batch. The state is exactly the one after its last event."""
        assert self._state is not None
        cut = cut_of(self._pending, self._state, self._housekeeper)
        self._pending = Batch(self._state.position)
        return cut

    def _take_turn(self, batch: Batch) -> tuple[Batch | None, BaseException | None]:
        """Make the decisions of a batch on the log's end, where nobody else appends, and commit it. Gives as `_commit`.

        A failure before the commit leaves nothing on the log: the batch is not found there then.
        """
        store, state = self._store, self._state
        assert store is not None
        assert state is not None
        failed: Batch | None = batch
        try:
            with store.turn(state.position) as tail:
                with self._lock:
                    self._follow(tail)
                    batch.first = state.position
                    for decide, ticket in batch.undecided:
                        found = made(decide, state, self._stamper, ticket)
                        batch.put(found)
                        for event in found.events:
                            state.apply(event)
                    cut = cut_of(batch, state, self._housekeeper)
                failed, problem = self._commit(cut)
        except BaseException as error:  # where the turn could not be left, the batch may have been answered
            return failed, error
        return failed, problem

    def _commit(self, cut: Cut | None) -> tuple[Batch | None, BaseException | None]:
        """Put a batch on the disk, answer its callers, do what is due then.

        Gives what failed: the batch, None if its callers were answered; and why, None if nothing did.
        """
        if cut is None:
            return None, None
        batch, began = cut.batch, time.monotonic()
        try:
            assert self._store is not None
            cut.append_to(self._store)
        except BaseException as error:
            return batch, error
        if batch.bodies:
            self._took_s = time.monotonic() - began
        self._expected = len(batch.tickets) + len(self._pending.tickets)
        batch.answer(None)
        self._committed(batch.first + len(batch.bodies))
        try:
            if self._housekeeper is not None:
                self._housekeeper.add(batch.events, cut.due)
        except BaseException as error:
            return None, error
        return None, None

    def _catch_up(self) -> BaseException | None:
        """Do one of the things that are due after a commit. Gives what failed."""
        try:
            if self._housekeeper is not None and self._housekeeper.behind:
                self._housekeeper.step()
        except BaseException as error:
            return error
        return None

    def _follow(self, tail: Sequence[Stored]) -> None:
        """Fold what other recorders appended. Raises LogDamaged."""
        assert self._state is not None
        events = folded(self._state, tail, self._stamper)
        if events and self._housekeeper is not None:
            self._housekeeper.add(events, self._housekeeper.take(self._state))

    # Opening, and opening again after a failure: under the lock, nothing in flight.

    def _open(self) -> None:
        """Open the store and make the state from what is in it. The state is set once it can be trusted."""
        self._store, self._housekeeper = self._backend.open(), None
        with self._store.turn(self._store.size()):
            state, snapshot = state_of(self._store, self._stamper)
            if self._housekeeping:
                self._housekeeper = self._keep(self._store, state, snapshot)
        self._state = state
        self._pending = Batch(state.position)

    def _reopen(self) -> None:
        """Close and open the store; `_reason` is empty afterwards if the log takes events again."""
        self._shut_store()
        self._state = None
        try:
            self._open()
            assert self._store is not None
            self._store.settle()
        except Exception as error:  # whatever it is, the recorder must stay able to answer
            self._reason = f"the log is not writable: {message(error)}"
            self._hint = hint(error)
            self._retry_at = time.monotonic() + self._retry_s
        else:
            self._reason = ""

    def _recover(self, failed: Batch | None, error: BaseException) -> None:
        """After a failure of unknown outcome: read what is on disk, answer those who waited, go on from there."""
        orphans, pending = [cut.batch for cut in self._closed], self._pending
        self._closed.clear()
        self._pending = Batch(0)
        self._spoiled = False
        self._reopen()
        if pending.undecided and not self._reason:
            self._pending = pending  # nobody has decided yet: they get the next turn
        else:
            orphans.append(pending)
        if failed is not None:
            failed.answer(failed.outcome(None if self._reason else self._store, error))
        problem = not_recorded(error)
        for batch in orphans:
            batch.answer(problem)

    def _shut_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(PaiError):  # closing only tidies up
                store.close()
