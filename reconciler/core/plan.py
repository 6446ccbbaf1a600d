"""What has to happen so that the state becomes what a revision wants.

Pure and level-based: it compares the wanted objects with the state, whatever came between, and gives the events of
that one revision. Object events come first, `revision.accepted` last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from operator import is_not

from reconciler.core import events as ev
from reconciler.core.canonical import same_value
from reconciler.core.objects import Desired, Kind, Placed
from reconciler.core.state import Resource, State

_KINDS: tuple[Kind, Kind] = ("model", "agent")


def plan(
    state: State, desired: Desired, revision: str, actor: str, known: Desired | None = None
) -> tuple[list[ev.Draft], list[ev.Moved], ev.Counts]:
    """Compare `desired` with `state` and give the object events, the objects that only moved, and the counts.

    `known`, if given, is what the state was found to hold exactly: whatever `desired` takes over from it as the very
    same value is not compared again, which makes a one-file push into 10,000 ten times as fast.
    """
    drafts: list[ev.Draft] = []
    moved: list[ev.Moved] = []
    created = changed = deleted = 0
    totals: list[int] = []
    wanted, gone = _to_compare(state, desired, known)
    for kind in _KINDS:
        present = state.resources(kind)
        total = len(present)
        for name, placed in wanted[kind]:
            now = present.get(name)
            if now is None:
                created, total = created + 1, total + 1
                drafts.append(ev.Draft(actor, f"{kind}/{name}", _created(kind, placed, revision)))
            elif fields := changed_fields(now, placed):
                changed += 1
                drafts.append(ev.Draft(actor, f"{kind}/{name}", _changed(kind, placed, revision, now, fields)))
            elif (now.file, now.line) != (placed.path, placed.manifest.line):
                moved.append(ev.Moved(kind, name, placed.path, placed.manifest.line))
        for name in gone[kind]:
            deleted, total = deleted + 1, total - 1
            drafts.append(ev.Draft(actor, f"{kind}/{name}", _deleted(kind, present[name], revision)))
        totals.append(total)
    models, agents = totals
    return drafts, moved, ev.Counts(models, agents, created, changed, deleted, len(moved))


def _to_compare(
    state: State, desired: Desired, known: Desired | None
) -> tuple[dict[Kind, list[tuple[str, Placed]]], dict[Kind, list[str]]]:
    """Give by kind what may differ from the state, in the order of `desired`, and sorted what is no longer wanted."""
    items: Iterable[tuple[tuple[Kind, str], Placed]] = desired.items()
    if known is None:
        gone = {(kind, name) for kind in _KINDS for name in state.resources(kind) if (kind, name) not in desired}
    else:
        items = compress(items, map(is_not, desired.values(), map(known.get, desired)))
        gone = known.keys() - desired.keys()
    wanted: dict[Kind, list[tuple[str, Placed]]] = {kind: [] for kind in _KINDS}
    for (kind, name), placed in items:
        wanted[kind].append((name, placed))
    return wanted, {kind: sorted(name for of, name in gone if of == kind) for kind in _KINDS}


def changed_fields(now: Resource, placed: Placed) -> list[str]:
    """Name the fields that differ, sorted: dotted below `spec`, and `metadata.labels.K`, `metadata.annotations.K`."""
    manifest = placed.manifest
    if (
        same_value(now.spec, manifest.spec)
        and now.labels == manifest.labels
        and now.annotations == manifest.annotations
    ):
        return []
    fields = list(_differences(now.spec, manifest.spec, ""))
    fields += _differences(now.labels, manifest.labels, "metadata.labels.")
    fields += _differences(now.annotations, manifest.annotations, "metadata.annotations.")
    return sorted(fields)


def _differences(old: Mapping[str, object], new: Mapping[str, object], prefix: str) -> Iterator[str]:
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif key not in old or key not in new or not same_value(before, after):
            yield prefix + key


def _created(kind: Kind, placed: Placed, revision: str) -> ev.BindingCreated | ev.AgentCreated:
    m = placed.manifest
    make = ev.BindingCreated if kind == "model" else ev.AgentCreated
    return make(
        spec=m.spec,
        file=placed.path,
        line=m.line,
        revision=revision,
        labels=m.labels,
        annotations=m.annotations,
        previous=None,
        changed=[],
        lines=m.lines,
    )


def _changed(
    kind: Kind, placed: Placed, revision: str, now: Resource, fields: list[str]
) -> ev.BindingChanged | ev.AgentChanged:
    m = placed.manifest
    make = ev.BindingChanged if kind == "model" else ev.AgentChanged
    return make(
        spec=m.spec,
        file=placed.path,
        line=m.line,
        revision=revision,
        labels=m.labels,
        annotations=m.annotations,
        previous=now.spec,
        changed=fields,
        lines={
            field: line
            for field, line in m.lines.items()
            if field not in now.spec or not same_value(now.spec[field], m.spec[field])
        },
    )


def _deleted(kind: Kind, now: Resource, revision: str) -> ev.BindingDeleted | ev.AgentDeleted:
    make = ev.BindingDeleted if kind == "model" else ev.AgentDeleted
    return make(spec=None, previous=now.spec, changed=[], file=now.file, line=now.line, revision=revision)
