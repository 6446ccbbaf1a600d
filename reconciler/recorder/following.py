"""The state of a log's end, from what is stored: at an opening, and after what other recorders appended."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.errors import LogDamaged
from reconciler.core.events import Event
from reconciler.core.state import State
from reconciler.log.replay import checked, event_at, restore
from reconciler.log.stamp import Stamper
from reconciler.log.store import Reader, Stored


def state_of(log: Reader, stamper: Stamper) -> tuple[State, int]:
    """Give the state at a log's end, and the position of the snapshot that it was made from, 0 if there was none.

    `stamper` then stays behind neither the time nor the id of the last event. Raises LogDamaged.
    """
    state, _, snapshot = restore(log)
    if state.position:
        last = event_at(log, state.position - 1)
        try:
            stamper.see(last.time, last.id)
        except ValueError as error:
            raise LogDamaged(f"the event at position {state.position - 1} is no event of Pai: {error}") from error
    return state, snapshot


def folded(state: State, tail: Sequence[Stored], stamper: Stamper) -> list[Event]:
    """Fold events that others appended where the state ends, and give them. Raises LogDamaged."""
    events = list(checked(tail, state.position))
    for event in events:
        state.apply(event)
    if events:
        stamper.see(events[-1].time, events[-1].id)
    return events
