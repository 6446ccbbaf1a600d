"""The objects that a revision put in force, read back from the log: what works when the repository is away.

Folds only the events of objects and revisions, which the log's index finds, so that the tokens of months between cost
nothing.
"""

from __future__ import annotations

from typing import Final

from reconciler.audit.query import candidates
from reconciler.audit.terms import Query, Term
from reconciler.core import events as ev
from reconciler.core.state import State
from reconciler.log import pruned
from reconciler.log.replay import event_at, read_event
from reconciler.log.store import Reader

_OTHERS: Final = ("tokens.", "request.", "daemon.", "secret.", "key.", "log.")
_FOLDED: Final = (ev.ObjectWritten, ev.ObjectDeleted, ev.RevisionAccepted, ev.Returned)


def objects_at(log: Reader, position: int) -> State:
    """Give the models and agents after the first `position` events; of the rest only what revisions say.

    Raises NotFound for a position before the beginning of a pruned log, unless it is that of the revision which is in
    force there.
    """
    state, _ = pruned.start(log)
    if position < state.position:
        if position == state.accepted + 1 and state.pin is None:
            return state
        raise pruned.dropped(log, position - 1)
    query = Query(tuple(Term("type", prefix, excluded=True) for prefix in _OTHERS))
    with log.moment():
        for stored in candidates(log, query, True, position, state.position):
            event = read_event(stored)
            if isinstance(event.payload, _FOLDED):
                state.position = stored.seq
                state.apply(event)
    state.position = position
    return state


def accepted_state(log: Reader, state: State) -> State:
    """Give the objects of the last accepted revision: those of `state`, unless another revision is pinned there."""
    return state if state.pin is None else objects_at(log, state.accepted + 1)


def accepted_commit(log: Reader, state: State) -> str:
    """Give the last accepted revision, "" for none."""
    if state.accepted < 0:
        return ""
    payload = event_at(log, state.accepted).payload
    return payload.commit if isinstance(payload, ev.RevisionAccepted) else ""
