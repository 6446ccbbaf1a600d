"""The one writer: decides on the live state, puts what was decided on the log, folds it, answers when it is durable.

The way of a call: `decide` runs under the lock on the live state, which already holds everything decided before it,
durable or not yet. What it decided is stamped, encoded, folded and put into the pending batch. A writer thread commits
batch after batch; batches form by themselves while the former commit runs, and while others wait, for a moment after
it: callers that were just answered mostly come again. When the commit is done, its callers are answered, those that
are threads one after the other. A caller who has nobody else to serve may commit by itself, while nothing else is to be
committed and the disk is quick: that spares two changes of threads.

Invariants
- What is folded is what decoding the stored bytes gives, so replaying the log gives the live state.
- The events of one decision are committed together or not at all.
- Nobody is answered before everything that the decision could see is durable, not even "nothing to do".
- A failed commit has an unknown outcome: its callers and those who built on it get LogNotWritable, unless their events
  are found on disk; the state is made anew from the disk before anybody decides again.
- While the log is held (`hold`) nothing is recorded but what ends that (`resume`); reading goes on.
- What is prepared and very large is a batch of its own: it holds up no more than what came after it.
- The index may be behind the log, also for a while after an answer; it catches up between commits, in small steps.
- The store is touched by the writer thread while a batch is in flight (`_writing`), and otherwise only under the lock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, TypeVar

from reconciler.core.errors import LogDamaged, LogNotWritable, PaiError
from reconciler.core.events import Draft, Event, decode, encode
from reconciler.core.state import RowKey, State, dump, encode_row, row_value, rows_touched
from reconciler.log.creation import projection_rows
from reconciler.log.index import BLOCK_EVENTS
from reconciler.log.replay import FOLD_VERSION, event_at, restore
from reconciler.log.stamp import Clock, Random, Stamper, wall_clock
from reconciler.log.store import Backend, Snapshot, Store, Stored
from reconciler.recorder.indexer import Indexer
from reconciler.recorder.prepared import Prepared
from reconciler.recorder.tickets import Batch, Cut, Receipt, Ticket, hint, message, report
from reconciler.tlog.merkle import leaf_hash

T = TypeVar("T")

Decide = Callable[[State], Sequence[Draft] | Prepared]
"""Looks at the live state (without changing or keeping it) and gives what shall happen, or raises Refused.

Runs under the recorder's lock: it must be quick, do no I/O and not call the recorder. What may be very many events is
`Prepared` before.
"""

_LOG_ROW: RowKey = ("log", "")
_LARGE_ROWS = 512
"""Rows of the projection from which on what was prepared is a batch of its own."""
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
    ) -> None:
        """Open the log behind `backend` (which `close` releases) and bring the state up to its end.

        `snapshot_every`: events between snapshots. `block_events`: of a block of the index. `retry_s`: the pause before
        a log that failed is tried again. `quick_s`: a lone caller commits by itself only after a commit that
        took less: a slow disk holds up nobody's loop. Raises LogDamaged, LogNotWritable; the backend is released then.
        """
        self._backend = backend
        self._stamper = Stamper(clock, random)
        self._snapshot_every = snapshot_every
        self._retry_s = retry_s
        self._quick_s = quick_s
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._store: Store | None = None
        self._state: State | None = None
        self._frozen_at = 0
        self._frozen: tuple[State, bytes] | None = None  # a snapshot to be saved, with its frontier
        self._block_events = block_events
        self._indexer: Indexer
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
        self.on_commit: Callable[[int], object] = (
            int  # told the log's size after each commit; quick, calls nothing here
        )
        try:
            self._open()
        except BaseException:
            self._shut_store()
            backend.release()
            raise
        self._writer = threading.Thread(target=self._run, name="pai-recorder", daemon=True)
        self._writer.start()

    def record(self, decide: Decide) -> Receipt:
        """Decide, and wait until it is durable. Raises what `decide` raises, LogNotWritable."""
        return self.submit(decide).wait()

    def submit(self, decide: Decide, *, alone: bool = False) -> Ticket:
        """Decide now, and give a ticket that tells when it is durable.

        `alone`: the caller has nobody else to serve, so that the commit may be made before this returns; the ticket is
        done then. Raises what `decide` raises, ValueError if a draft cannot be stored (nothing is recorded in both
        cases), and LogNotWritable.
        """
        with self._lock:
            return self._submit(decide, alone)

    def hold(self, reason: str) -> None:
        """Record nothing from now on; whoever tries gets LogNotWritable with `reason`."""
        with self._lock:
            self._held = reason

    def resume(self, decide: Decide) -> Receipt:
        """End the hold with a decision that says why, and wait until it is durable. Raises what `record` raises."""
        with self._lock:
            held, self._held = self._held, ""
            try:
                ticket = self._submit(decide)
            except BaseException:
                self._held = held
                raise
        return ticket.wait()

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
                if self._state.position - self._frozen_at >= max(1, self._snapshot_every // 10):
                    with contextlib.suppress(PaiError):  # the log is whole without it
                        self._save_snapshot(self._state, self._peaks(self._state))
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

    # Deciding: under the lock, in the caller's thread.

    def _submit(self, decide: Decide, alone: bool = False) -> Ticket:
        state = self._state
        if state is None or self._reason or self._closing or self._held:
            state = self._writable_state()
        decided, first = decide(state), state.position
        if isinstance(decided, Prepared):
            if len(decided.keys) >= _LARGE_ROWS:
                return self._submit_large(state, decided)
            events, bodies = decided.stamped(self._stamper)
        else:
            events, bodies = self._stamp(decided)
        ticket = Ticket(Receipt(first, events), self._pending.gate)
        try:
            self._enqueue(state, events, bodies, ticket)
        except BaseException:  # also KeyboardInterrupt: the state may be half-changed
            self._spoil()
            raise
        waiting = len(self._pending.tickets)
        if alone and waiting == 1 and self._free():
            self._commit_here()
        elif waiting in (1, self._expected):
            self._wake.notify()
        return ticket

    def _submit_large(self, state: State, decided: Prepared) -> Ticket:
        """Make a batch of what is very much: neither those who wait already nor those who come wait in it."""
        try:
            if self._pending.tickets:
                self._closed.append(self._cut())
            events, bodies = decided.stamped(self._stamper)
            ticket = Ticket(Receipt(state.position, events), self._pending.gate)
            self._pending.keys = decided.keys
            self._enqueue(state, events, bodies, ticket)
            self._closed.append(self._cut())
        except BaseException:
            self._spoil()
            raise
        self._wake.notify()
        return ticket

    def _writable_state(self) -> State:
        if self._closing:
            raise LogNotWritable("the log is being closed")
        if self._held:
            raise LogNotWritable(self._held, "an operator decides: pai verify, then pai verify --accept")
        if self._reason:
            if self._spoiled or time.monotonic() < self._retry_at:
                raise LogNotWritable(self._reason, self._hint)
            self._reopen()
            if self._reason:
                raise LogNotWritable(self._reason, self._hint)
        assert self._state is not None
        return self._state

    def _stamp(self, drafts: Sequence[Draft]) -> tuple[tuple[Event, ...], list[bytes]]:
        """Make events of drafts; decoding each again proves that a replay can read it, and gives what to fold."""
        if not drafts:
            return (), []
        now, next_id = self._stamper.now(), self._stamper.next_id
        bodies = [encode(Event(actor, payload, next_id(), subject, now)) for actor, subject, payload in drafts]
        return tuple(map(decode, bodies)), bodies

    def _enqueue(self, state: State, events: tuple[Event, ...], bodies: list[bytes], ticket: Ticket) -> None:
        batch = self._pending
        for event in events:
            state.apply(event)
        batch.events += events
        batch.bodies += bodies
        batch.tickets.append(ticket)

    def _free(self) -> bool:
        """Tell whether the pending batch may be committed at once, by the caller: nothing else is due."""
        if self._writing or self._took_s >= self._quick_s or self._snapshot_due():
            return False
        assert self._state is not None
        return not (self._closed or self._behind() or self._indexer.due(self._state.position))

    def _snapshot_due(self) -> bool:
        assert self._state is not None
        return self._state.position - self._frozen_at >= self._snapshot_every

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
                    cut = self._next()
                except Exception as error:  # a bug must not leave callers waiting for ever
                    self._recover(None, error)
                    continue
                self._writing = True
            failed, problem = (None, None) if cut is None else self._commit(cut)
            if problem is None:
                problem = self._catch_up()
            if problem is not None:
                with self._lock:
                    self._recover(failed, problem)

    def _due(self) -> bool:
        return bool(self._closed or self._pending.tickets or self._behind())

    def _next(self) -> Cut | None:
        """Take the batch that is committed next; None if there is only the index to go on with."""
        if self._closed:
            return self._closed.popleft()
        return self._cut() if self._pending.tickets else None

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
        state, batch = self._state, self._pending
        keys = batch.keys
        if keys is None:
            keys = sorted(set[RowKey]().union(*map(rows_touched, batch.events)))  # as their table is: quick to write
        rows = {key: row_value(state, key) for key in (_LOG_ROW, *keys)}
        accounts = None
        if self._indexer.due(state.position):
            self._indexer.end(state.position)
            accounts = dict(state.ledger.accounts)
        frozen = None
        if self._snapshot_due():
            frozen, self._frozen_at = state.freeze(), state.position
        cut = Cut(batch, rows, frozen, accounts)
        self._pending = Batch(state.position)
        return cut

    def _commit(self, cut: Cut) -> tuple[Batch | None, BaseException | None]:
        """Put a batch on the disk, answer its callers, do what is due then.

        Gives what failed: the batch, None if its callers were answered; and why, None if nothing did.
        """
        batch, began = cut.batch, time.monotonic()
        try:
            self._append(batch, cut.rows)
        except BaseException as error:
            return batch, error
        self._took_s = time.monotonic() - began
        self._expected = len(batch.tickets) + len(self._pending.tickets)
        batch.answer(None)
        self.on_commit(batch.first + len(batch.bodies))
        try:
            self._indexer.add(batch.events, cut.accounts)
            if cut.frozen is not None:
                self._frozen = (cut.frozen, self._peaks(cut.frozen))
        except BaseException as error:
            return None, error
        return None, None

    def _append(self, batch: Batch, rows: dict[RowKey, object]) -> None:
        if not batch.bodies:
            return  # only answers that waited for the batch before
        assert self._store is not None
        stored = [Stored(seq, body, leaf_hash(body)) for seq, body in enumerate(batch.bodies, batch.first)]
        self._store.append(stored, {key: encode_row(value) for key, value in rows.items()})

    def _behind(self) -> bool:
        return self._store is not None and (self._indexer.behind or self._frozen is not None)

    def _catch_up(self) -> BaseException | None:
        """Do one of the things that are due after a commit: the next does not wait longer. Gives what failed."""
        try:
            if self._frozen is not None:
                self._save_snapshot(*self._frozen)
            elif self._behind():
                self._indexer.step()
        except BaseException as error:
            return error
        return None

    def _peaks(self, state: State) -> bytes:
        """Give the frontier of the log, whose last event `state` must be the state after."""
        assert self._store is not None
        head = self._store.head()
        assert head.size == state.position
        return head.peaks

    def _save_snapshot(self, state: State, peaks: bytes) -> None:
        assert self._store is not None
        self._frozen = None
        self._store.save_snapshot(Snapshot.of(state.position, FOLD_VERSION, peaks, dump(state)))

    # Opening, and opening again after a failure: under the lock, nothing in flight.

    def _open(self) -> None:
        """Open the store and make the state from what is in it. The state is set once it can be trusted."""
        self._store, self._frozen = self._backend.open(), None
        state, _, self._frozen_at = restore(self._store)
        if state.position:
            last = event_at(self._store, state.position - 1)
            try:
                self._stamper.see(last.time, last.id)
            except ValueError as error:
                raise LogDamaged(f"the event at position {state.position - 1} is no event of Pai: {error}") from error
        self._indexer = Indexer(self._store, self._block_events, state.ledger.accounts)
        self._state = state
        self._pending = Batch(state.position)
        head = self._store.head()
        if head.projected != head.size or head.fold != FOLD_VERSION:
            self._store.project(projection_rows(state), FOLD_VERSION)
        self._store.plant()

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
        orphans = [*(cut.batch for cut in self._closed), self._pending]
        self._closed.clear()
        self._pending = Batch(0)
        self._spoiled = False
        self._reopen()
        problem = LogNotWritable(f"the event was not recorded: {message(error)}", hint(error))
        if not isinstance(error, PaiError | OSError):
            problem.internal = True
            report("the recorder failed by a bug", error)
        survived = failed is not None and self._store is not None and not self._reason and failed.is_in(self._store)
        if failed is not None:
            failed.answer(None if survived else problem)
        for batch in orphans:
            batch.answer(problem)

    def _shut_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(PaiError):  # closing only tidies up
                store.close()
