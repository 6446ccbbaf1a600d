"""What has to happen so that the state becomes what a revision wants.

Pure and level-based: it compares the wanted objects with the state, whatever came between, and gives the events of
that one revision. Object events come first, `revision.accepted` last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import NamedTuple, Protocol

from reconciler.core import events as ev
from reconciler.core.canonical import same_value
from reconciler.core.objects import KINDS, Desired, Kind, Placed, Spec
from reconciler.core.state import Resource, State


class Difference(NamedTuple):
    """One field that differs. None also stands for a field that is not there."""

    field: str
    old: object
    new: object


def plan(
    state: State, desired: Desired, revision: str, actor: str, known: Desired | None = None
) -> tuple[list[ev.Draft], list[ev.Moved], ev.Counts]:
    """Compare `desired` with `state` and give the object events, the objects that only moved, and the counts.

    `known`, if given, is an earlier `desired` that the state holds exactly. What is the very same Python object
    in both is not compared again, which makes a one-file push into 10,000 ten times as fast.
    """
    drafts: list[ev.Draft] = []
    moved: list[ev.Moved] = []
    created = changed = deleted = 0
    totals: list[int] = []
    wanted, gone = _to_compare(state, desired, known)
    for kind in KINDS:
        present = state.resources(kind)
        total = len(present)
        for name, placed in wanted[kind]:
            now = present.get(name)
            if now is None:
                created, total = created + 1, total + 1
                drafts.append(ev.Draft(actor, f"{kind}/{name}", _created(kind, placed, revision)))
            elif fields := changed_fields(now, placed.manifest):
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
    """Give by kind the objects that may differ, in the order of `desired`, and the sorted names of those to delete."""
    items: Iterable[tuple[tuple[Kind, str], Placed]] = desired.items()
    if known is None:
        gone = {(kind, name) for kind in KINDS for name in state.resources(kind) if (kind, name) not in desired}
    else:
        items = compress(items, map(is_not, desired.values(), map(known.get, desired)))
        gone = known.keys() - desired.keys()
    wanted: dict[Kind, list[tuple[str, Placed]]] = {kind: [] for kind in KINDS}
    for (kind, name), placed in items:
        wanted[kind].append((name, placed))
    return wanted, {kind: sorted(name for of, name in gone if of == kind) for kind in KINDS}


class Content(Protocol):
    """What an object says, whether it is in force or wanted."""

    @property
    def spec(self) -> Spec: ...  # noqa: D102
    @property
    def labels(self) -> dict[str, str]: ...  # noqa: D102
    @property
    def annotations(self) -> dict[str, str]: ...  # noqa: D102


def changed_fields(now: Content, wanted: Content) -> list[str]:
    """Name the fields that differ, sorted: dotted below `spec`, and `metadata.labels.K`, `metadata.annotations.K`."""
    return [field for field, _, _ in differences(now, wanted)]


def differences(now: Content | None, wanted: Content | None) -> list[Difference]:
    """Give the fields that differ with both values, sorted by name; None is an object that is not there."""
    if now is not None and wanted is not None and _same(now, wanted):
        return []
    parts = (("spec", ""), ("labels", "metadata.labels."), ("annotations", "metadata.annotations."))
    found: list[Difference] = []
    for part, prefix in parts:
        old, new = ({} if it is None else getattr(it, part) for it in (now, wanted))
        found += _differences(old, new, prefix)
    return sorted(found, key=lambda difference: difference.field)


def _same(now: Content, wanted: Content) -> bool:
    return same_value(now.spec, wanted.spec) and now.labels == wanted.labels and now.annotations == wanted.annotations


def _differences(old: Mapping[str, object], new: Mapping[str, object], prefix: str) -> Iterator[Difference]:
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif key not in old or key not in new or not same_value(before, after):
            yield Difference(prefix + key, before, after)


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
