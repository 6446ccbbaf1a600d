"""From stored events back to the state: the only way there is.

Replaying checks what it reads: positions without gaps, leaf hashes, known event types, and at the end the Merkle
frontier. A snapshot shortens the way; one that does not match its digest, is from another fold or lies beyond the log
is passed over. Nothing here writes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from reconciler.core.errors import LogDamaged, NotFound
from reconciler.core.events import Event, decode, decode_all
from reconciler.core.objects import AgentSpec, BindingSpec
from reconciler.core.state import FOLD_VERSION, State, from_rows, load
from reconciler.log import pruned
from reconciler.log.stamp import parse_time
from reconciler.log.store import Reader, Stored
from reconciler.tlog.merkle import Frontier, leaf_hash

Chunk = Sequence[tuple[int, bytes, bytes]]
"""Stored events: position, bytes, leaf hash."""

_HINT = "run `pai verify` to see all that is wrong, and restore the file from a backup"


class Restored(NamedTuple):
    """A state and the frontier at the same position; `snapshot` is the position it was continued from, 0 if none."""

    state: State
    frontier: Frontier
    snapshot: int


def restore(reader: Reader) -> Restored:
    """Give the state at the end of the log from the newest good snapshot and the events after it.

    Raises LogDamaged at the first position that is wrong, or if the log's head is not what the events give.
    """
    with reader.moment():
        head = reader.head()
        state, frontier = _start(reader, head.size)
        snapshot = state.position
        fold(state, frontier, reader.chunks(snapshot))
    if state.position != head.size:
        raise LogDamaged(f"the log ends at position {state.position}, its head says {head.size}", _HINT)
    if frontier.pack() != head.peaks:
        raise LogDamaged(f"the Merkle frontier of {head.size} events is not the one stored", _HINT)
    return Restored(state, frontier, snapshot)


def state_at(reader: Reader, position: int) -> State:
    """Give the state after the first `position` events. Raises NotFound beyond the log's ends, LogDamaged."""
    with reader.moment():
        state, frontier = _start(reader, position)
        fold(state, frontier, reader.chunks(state.position, position))
    if state.position != position:
        raise NotFound(f"the log has {state.position} events, there is no position {position}", "pai log shows them")
    return state


def projected(reader: Reader) -> State:
    """Give the state at the end of the log from the projection: milliseconds, without replay when it is up to date.

    Raises LogDamaged, also for rows that lack what every object of their kind has: no hash guards them.
    """
    with reader.moment():
        head = reader.head()
        if head.projected == head.size and head.fold == FOLD_VERSION:
            try:
                state = from_rows(reader.rows(), head.size)
                _check_objects(state)
                return state
            except ValueError as error:
                raise LogDamaged(f"the projection is damaged: {error}", _HINT) from error
    return restore(reader).state


def _check_objects(state: State) -> None:
    keys = {key.name: key for key in state.keys.values()}
    for name in (*state.models, *state.agents, *state.secrets, *keys, *state.ledger.accounts):
        if not name.isascii():
            raise ValueError(f"a row has the name {name!a}")
    for expires in {key.expires for key in keys.values()} - {""}:
        parse_time(expires)
    for day in {account.day for account in state.ledger.accounts.values()}:
        date.fromisoformat(day)
    for name, resource in (*state.models.items(), *state.agents.items()):
        if resource.name != name:
            raise ValueError(f"the row of {name} is about {resource.name}")
        try:
            (BindingSpec if state.models.get(name) is resource else AgentSpec).of(resource.spec)
        except LogDamaged as error:
            raise ValueError(f"the row of {name}: {error.message}") from None


def fold(state: State, frontier: Frontier, chunks: Iterable[Chunk]) -> None:
    """Fold events, which continue `state`, into it and into `frontier`, checking each. Raises LogDamaged."""
    apply = state.apply
    for chunk in chunks:
        for event in checked(chunk, state.position):
            apply(event)
        frontier.extend([leaf for _, _, leaf in chunk])


def checked(chunk: Chunk, first: int) -> Iterable[Event]:
    """Give the events of a chunk that begins at position `first`, many at a time. Raises LogDamaged as `read_event`."""
    sha256 = hashlib.sha256
    for position, (seq, body, leaf) in enumerate(chunk, first):
        if seq != position:
            raise LogDamaged(f"position {position} is missing, {seq} follows", _HINT)
        if sha256(b"\x00" + body).digest() != leaf:
            raise LogDamaged(f"the event at position {seq} does not match its hash", _HINT)
    with contextlib.suppress(ValueError):
        return decode_all([body for _, body, _ in chunk])
    return (read_event(Stored(*entry)) for entry in chunk)  # which names the position


def read_event(stored: Stored) -> Event:
    """Give one stored event, once its bytes match their hash. Raises LogDamaged, naming its position."""
    if leaf_hash(stored.body) != stored.leaf:
        raise LogDamaged(f"the event at position {stored.seq} does not match its hash", _HINT)
    try:
        return decode(stored.body)
    except ValueError as error:
        raise LogDamaged(f"the event at position {stored.seq} cannot be read: {error}", _HINT) from error


def event_at(reader: Reader, position: int) -> Event:
    """Give the event at one position. Raises LogDamaged, also if there is none, NotFound if it was dropped."""
    for stored in reader.read(position, position + 1):
        return read_event(stored)
    if 0 <= position < reader.first():
        raise pruned.dropped(reader, position)
    raise LogDamaged(f"position {position} is missing", _HINT)


def snapshot_before(reader: Reader, stop: int) -> State:
    """Give the state of the newest good snapshot at position `stop` or before; if none is, that of the log's beginning.

    Raises NotFound before that, LogDamaged.
    """
    return _start(reader, stop)[0]


def _start(reader: Reader, stop: int) -> tuple[State, Frontier]:
    for snapshot in reader.snapshots():
        if snapshot.position <= stop and snapshot.fold == FOLD_VERSION and snapshot.intact():
            try:
                state = load(snapshot.data)
                frontier = Frontier.unpack(snapshot.position, snapshot.peaks)
            except ValueError:
                continue
            if state.position == snapshot.position:
                return state, frontier
    if stop < reader.first():
        raise pruned.dropped(reader, stop, f"the state after {stop:,} events")
    return pruned.start(reader)
