"""A decision: what a caller asks of the recorder, and what becomes of it before it is committed.

A decision looks at a state and gives drafts of events, or raises Refused. It is pure: it changes nothing, keeps nothing
and may run more than once, on a newer state each time, before its events are on the log. What its caller wants to know
is read from the receipt: the events, their positions, and the `result` of a `Decided`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from reconciler.core.events import Draft, Event, decode, encode
from reconciler.core.state import RowKey, State
from reconciler.log.stamp import Stamper
from reconciler.recorder.prepared import Prepared
from reconciler.recorder.tickets import Receipt, Ticket

T = TypeVar("T")

Drafts = Sequence[Draft] | Prepared
"""What shall happen. What may be very many events is `Prepared` before."""


class Decided(msgspec.Struct, Generic[T], frozen=True):
    """What shall happen, and what the caller is told of it once it is durable."""

    drafts: Drafts
    result: T


Decide = Callable[[State], Drafts | Decided[T]]
"""Runs under the recorder's lock: it must be quick, do no I/O and not call the recorder."""


class Made(NamedTuple):
    """The events of one decision and their bytes; of prepared ones also the rows of the projection that they change."""

    events: Sequence[Event] = ()
    bodies: Sequence[bytes] = ()
    keys: Sequence[RowKey] = ()


NOTHING: Final = Made()


def made(decide: Decide[T], state: State, stamper: Stamper, ticket: Ticket[T]) -> Made:
    """Let a decision be made, and give its events, not folded yet; what it gives or raises is noted on its ticket."""
    try:
        decided = decide(state)
        drafts, result = (decided.drafts, decided.result) if isinstance(decided, Decided) else (decided, None)
        if isinstance(drafts, Prepared):
            found = Made(*drafts.stamped(stamper), drafts.keys)
        else:
            found = _stamped(drafts, stamper)
    except Exception as error:
        ticket.decided(error)
        return NOTHING
    ticket.decided(Receipt(state.position, tuple(found.events), result))  # type: ignore[arg-type] # None is T then
    return found


def _stamped(drafts: Sequence[Draft], stamper: Stamper) -> Made:
    """Make events of drafts; decoding each again proves that a replay can read it, and gives what to fold.

    Raises ValueError if a draft cannot be stored.
    """
    if not drafts:
        return NOTHING
    now, next_id = stamper.now(), stamper.next_id
    bodies = [encode(Event(actor, payload, next_id(), subject, now)) for actor, subject, payload in drafts]
    return Made(tuple(map(decode, bodies)), bodies)
