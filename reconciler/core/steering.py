"""What an operator may order of the reconciling: pin a revision, go on, suspend, resume.

Pure. A pin puts an earlier accepted revision in force as object events of its own, and undoing it brings back the last
accepted one in the same way, so nothing that reads the state has to know of either. While either order stands,
`standing_orders` says so in the words that people read everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from reconciler.core import events as ev
from reconciler.core.errors import Refused
from reconciler.core.objects import KINDS, Desired, Kind, Manifest, Placed
from reconciler.core.plan import plan
from reconciler.core.state import Head, Order, Resource, State


def pin(state: State, then: State, commit: str, position: int, actor: str, reason: str) -> list[ev.Draft]:
    """Give the events that put `commit` in force: `then` has its objects, `position` is the event that accepted it.

    Gives none if it is pinned already.
    """
    if state.pin is not None and state.pin.commit == commit:
        return []
    drafts, moved, counts = _back(state, then, commit, actor)
    payload = ev.RevisionPinned(commit=commit, position=position, reason=reason, counts=counts, moved=moved)
    return [*drafts, ev.Draft(actor, f"revision/{commit}", payload)]


def unpin(state: State, then: State, revision: str, actor: str, reason: str) -> list[ev.Draft]:
    """Give the events that put `revision`, the last accepted one, in force again: `then` has its objects.

    Raises Refused if nothing is pinned.
    """
    if state.pin is None:
        raise Refused("no revision is pinned", "pai status says what is in force")
    commit = state.pin.commit
    drafts, moved, counts = _back(state, then, revision, actor)
    payload = ev.RevisionUnpinned(
        commit=commit, revision=revision, position=state.accepted, reason=reason, counts=counts, moved=moved
    )
    return [*drafts, ev.Draft(actor, f"revision/{commit}", payload)]


def suspend(state: State, branch: str, actor: str, reason: str) -> list[ev.Draft]:
    """Give the event that stops the reconciling of a branch; none if it is stopped already."""
    if state.suspension is not None:
        return []
    return [ev.Draft(actor, f"branch/{branch}", ev.ReconcilingSuspended(reason=reason))]


def resume(state: State, branch: str, actor: str, reason: str) -> list[ev.Draft]:
    """Give the event that lets the reconciling go on. Raises Refused if it is not suspended."""
    if state.suspension is None:
        raise Refused("the reconciling is not suspended", "pai status says what is in force")
    return [ev.Draft(actor, f"branch/{branch}", ev.ReconcilingResumed(reason=reason))]


class SteeredState(Protocol):
    """What tells how a branch stands: a State, and what readings answer."""

    revision: str
    head: Head | None
    pin: Order | None
    suspension: Order | None


def standing_orders(state: SteeredState) -> list[str]:
    """Say what keeps the state from following the branch, each with its way out; nothing if it follows."""
    told = []
    if state.pin is not None:
        told.append(f"revision {state.pin.commit[:7]} is pinned {_signed(state.pin)}: pai unpin")
    if state.suspension is not None:
        told.append(f"the reconciling is suspended {_signed(state.suspension)}: pai resume")
    return told


def _signed(order: Order) -> str:
    reason = " ".join(order.reason.split())
    return f"since {order.time[:19]}Z by {order.actor}" + (f" ({reason})" if reason else "")


def _back(state: State, then: State, revision: str, actor: str) -> tuple[list[ev.Draft], list[ev.Moved], ev.Counts]:
    """Plan from the state to the objects of `then`; each keeps the commit that gave it its content."""
    drafts, moved, counts = plan(state, _desired(then), revision, actor)
    return [_dated(draft, {kind: then.resources(kind) for kind in KINDS}) for draft in drafts], moved, counts


def _dated(draft: ev.Draft, then: Mapping[Kind, Mapping[str, Resource]]) -> ev.Draft:
    payload = draft.payload
    if not isinstance(payload, ev.BindingCreated | ev.BindingChanged | ev.AgentCreated | ev.AgentChanged):
        return draft
    kind: Kind = "model" if draft.subject.startswith("model/") else "agent"
    resource = then[kind][draft.subject.partition("/")[2]]
    return draft._replace(payload=msgspec.structs.replace(payload, revision=resource.revision))


def _desired(state: State) -> Desired:
    """Give the objects of a state as a revision would want them."""
    return {
        (kind, name): Placed(r.file, Manifest(kind, name, r.spec, r.labels, r.annotations, r.line, r.line, 1))
        for kind in KINDS
        for name, r in state.resources(kind).items()
    }
