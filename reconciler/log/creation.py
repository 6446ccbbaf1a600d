"""Making a log: its first event, and the rows of a whole state.

An existing log is never made anew.
"""

from __future__ import annotations

import os

from reconciler.core.events import Event, LogCreated, encode
from reconciler.core.state import FOLD_VERSION, RowKey, State, row, row_keys
from reconciler.log.stamp import Clock, Random, Stamper, wall_clock
from reconciler.log.store import Log, Stored
from reconciler.tlog.merkle import leaf_hash


def create_log(log: Log, *, origin: str, vkey: str, clock: Clock = wall_clock, random: Random = os.urandom) -> Event:
    """Make a log with `log.created.v1` at position 0: after a crash there is either none or a whole one.

    Raises LogDamaged if a log is there already, LogBusy, LogNotWritable.
    """
    stamper = Stamper(clock, random)
    now = stamper.now()
    event = Event("pai", LogCreated(origin=origin, vkey=vkey), stamper.next_id(), f"log/{origin}", now)
    body = encode(event)
    state = State()
    state.apply(event)
    log.create([Stored(0, body, leaf_hash(body))], projection_rows(state), FOLD_VERSION)
    return event


def projection_rows(state: State) -> dict[RowKey, bytes]:
    """Give every row of a state's projection."""
    made = {key: row(state, key) for key in row_keys(state)}
    return {key: body for key, body in made.items() if body is not None}
