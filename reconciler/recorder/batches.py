"""Decisions that are committed together, and the words for a commit that failed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from reconciler.core.errors import LogDamaged, LogNotWritable, OutcomeUnknown, PaiError
from reconciler.core.events import Event
from reconciler.core.state import RowKey, State, encode_row, row_value, rows_touched
from reconciler.log.store import FREE, Reader, Store, Stored
from reconciler.recorder.deciding import Decide, Made
from reconciler.recorder.housekeeper import NOTHING_DUE, Due, Housekeeper
from reconciler.recorder.tickets import Ticket
from reconciler.tlog.merkle import leaf_hash

AnyTicket = Ticket[Any]

_LOG_ROW: RowKey = ("log", "")
log = logging.getLogger(__name__)


class Batch:
    """Decisions that are committed together; those in `undecided` wait for a turn to be made in."""

    __slots__ = ("bodies", "events", "first", "gate", "keys", "tickets", "tried", "undecided")

    def __init__(self, first: int) -> None:
        self.first = first
        self.bodies: list[bytes] = []
        self.events: list[Event] = []
        self.keys: Sequence[RowKey] | None = None  # of the rows that the events change, if it is known
        self.tickets: list[AnyTicket] = []
        self.undecided: list[tuple[Decide[Any], AnyTicket]] = []
        self.tried = False  # whether its events were given to the store
        self.gate = threading.Lock()
        self.gate.acquire()

    def add(self, ticket: AnyTicket) -> None:
        """Let a ticket wait for the outcome of this batch."""
        ticket.gate = self.gate
        self.tickets.append(ticket)

    def put(self, made: Made) -> None:
        """Take the events of one decision."""
        self.events += made.events
        self.bodies += made.bodies

    def answer(self, error: LogNotWritable | None) -> None:
        """Tell everybody who waits how it ended."""
        for ticket in self.tickets:
            ticket.resolve(error)
        self.gate.release()

    def outcome(self, log: Reader | None, error: BaseException) -> LogNotWritable | None:
        """Tell what to answer after an error: None if a log, as it is on disk, has the events (their bytes carry ids).

        `log` is None if it cannot be written and read again so far: an event that an fsync left out may be there later.
        """
        if not self.tried:
            return not_recorded(error)
        try:
            found = None if log is None else [s.body for s in log.read(self.first, self.first + len(self.bodies))]
        except PaiError:
            found = None
        if found is None:
            return _worded(OutcomeUnknown.because(message(error), hint(error)), error)
        return None if found and found == self.bodies else not_recorded(error)


class Cut(NamedTuple):
    """A batch with what has to be taken from the state at the moment it is closed."""

    batch: Batch
    rows: dict[RowKey, object]
    """Values, which are encoded when they are written (`encode_row`)."""
    due: Due

    def append_to(self, store: Store) -> None:
        """Put events and rows on the disk, if there are any and not only answers that waited. Raises LogNotWritable."""
        batch = self.batch
        if batch.bodies:
            batch.tried = True
            stored = [Stored(seq, body, leaf_hash(body)) for seq, body in enumerate(batch.bodies, batch.first)]
            store.append(stored, {key: encode_row(value) for key, value in self.rows.items()})


def cut_of(batch: Batch, state: State, housekeeper: Housekeeper | None) -> Cut:
    """Close a batch, after whose last event the state is."""
    keys = batch.keys
    if keys is None:
        keys = sorted(set[RowKey]().union(*map(rows_touched, batch.events)))  # as their table is: quick to write
    rows = {key: row_value(state, key) for key in (_LOG_ROW, *keys)}
    return Cut(batch, rows, NOTHING_DUE if housekeeper is None else housekeeper.take(state))


def not_recorded(error: BaseException) -> LogNotWritable:
    """Word a failed commit for callers, and log it with where it is if a bug is the cause."""
    return _worded(LogNotWritable(f"the event was not recorded: {message(error)}", hint(error)), error)


def _worded(problem: LogNotWritable, error: BaseException) -> LogNotWritable:
    if not isinstance(error, PaiError | OSError):
        problem.internal = True
        log.error("the recorder failed by a bug", exc_info=error)
    return problem


def message(error: BaseException) -> str:
    """Word an error of whatever kind for callers: of a bug its name alone."""
    if isinstance(error, PaiError):
        return error.message
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, OSError) else f"an internal error, {name}"


def hint(error: BaseException) -> str:
    """Give the way out of an error for callers: what is wrong with the file itself says more than the disk's."""
    return error.hint if isinstance(error, LogDamaged) and error.hint else FREE
