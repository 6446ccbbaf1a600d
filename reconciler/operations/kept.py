"""Which events before a cut stay: those that what is in force there is based on.

Of every model and agent in force, and of every model that tokens are reserved on, all versions since its creation stay,
with the events of their commits, so that `history`, `blame` and `why` lack nothing later. So do the last judged and the
last accepted revision, what was pinned and unpinned, keys and secrets in force, open reservations, and all that the log
says about itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.audit.query import search
from reconciler.audit.terms import EventRow, Query, Term
from reconciler.audit.versions import versions
from reconciler.core import events as ev
from reconciler.core.objects import Kind
from reconciler.core.state import State
from reconciler.log.pruned import path_in_tile
from reconciler.log.store import Kept, Reader
from reconciler.tlog.merkle import TILE_WIDTH


def kept_events(log: Reader, state: State) -> list[Kept]:
    """Give the events before `state.position` that stay, oldest first. Raises LogDamaged."""
    cut = state.position
    wanted = sorted({seq for seq in _positions(log, state) if seq < cut})
    kept_before = {each.seq: each for each in log.kept(0, cut)}
    made: list[Kept] = []
    tile, leaves = -1, list[bytes]()
    for seq in wanted:
        if seq in kept_before:
            made.append(kept_before[seq])
            continue
        if seq // TILE_WIDTH != tile:
            tile = seq // TILE_WIDTH
            leaves = log.hashes(0, tile * TILE_WIDTH, (tile + 1) * TILE_WIDTH)
        made += [Kept(*stored, path_in_tile(leaves, seq % TILE_WIDTH)) for stored in log.read(seq, seq + 1)]
    return made


def _positions(log: Reader, state: State) -> Iterator[int]:
    cut = state.position
    yield 0
    for told in ("log.", ev.RevisionPinned.type, ev.RevisionUnpinned.type):
        yield from (row.seq for row in search(log, Query((Term("type", told),)), before=cut))
    yield from (key.position for key in state.issued())
    yield from _secrets(log, state)
    since: dict[tuple[Kind, str], int] = {("model", name): cut for name in state.models}
    since |= {("agent", name): cut for name in state.agents}
    for reservation in state.ledger.open.values():
        yield reservation.position
        binding = _binding_of(log, reservation.position)
        key: tuple[Kind, str] = ("model", reservation.model)
        since[key] = min(since.get(key, cut), binding)
    commits: set[str] = set()
    for (kind, name), position in since.items():
        for row in _life(log, kind, name, cut, position):
            yield row.seq
            commits.add(row.data["revision"])
    if state.head is not None:
        yield state.head.position
    for commit in commits | ({state.revision} - {""}):
        yield from _accepted(log, commit, cut)


def _life(log: Reader, kind: Kind, name: str, cut: int, position: int) -> Iterator[EventRow]:
    """Give the versions of an object back to the creation of the one that was in force at a position."""
    for row in versions(log, kind, name, cut):
        yield row
        if row.type.endswith(".created.v1") and row.seq <= position:
            return


def _accepted(log: Reader, commit: str, cut: int) -> Iterator[int]:
    query = Query((Term("revision", commit), Term("type", ev.RevisionAccepted.type)))
    yield from (row.seq for row in search(log, query, before=cut))


def _secrets(log: Reader, state: State) -> Iterator[int]:
    """Give where the secrets in force were stored, since each was deleted for the last time."""
    left = set(state.secrets)
    for row in search(log, Query((Term("type", "secret."),)), before=state.position):
        name = row.subject.partition("/")[2]
        if name in left and row.type == ev.SecretDeleted.type:
            left.discard(name)
        elif name in left:
            yield row.seq


def _binding_of(log: Reader, position: int) -> int:
    """Give the position of the binding's version that a reservation was decided on."""
    query = Query((Term("type", ev.TokensReserved.type),))
    return next((int(row.data["binding"]) for row in search(log, query, before=position + 1, start=position)), position)
