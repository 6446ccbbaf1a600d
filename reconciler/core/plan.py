"""What has to happen so that the state becomes what a revision wants.

Pure and level-based: it compares the wanted objects with the state, whatever came between, and gives the events of
that one revision. Object events come first, `revision.accepted` last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.core import events as ev
from reconciler.core.objects import Desired, Kind, Placed
from reconciler.core.state import Resource, State


def plan(state: State, desired: Desired, revision: str, actor: str) -> tuple[list[ev.Draft], list[ev.Moved], ev.Counts]:
    """Compare `desired` with `state` and give the object events, the objects that only moved, and the counts."""
    drafts: list[ev.Draft] = []
    moved: list[ev.Moved] = []
    created = changed = deleted = 0
    kinds: tuple[Kind, Kind] = ("model", "agent")
    for kind in kinds:
        wanted = {name: placed for (of, name), placed in desired.items() if of == kind}
        present = state.resources(kind)
        for name, placed in wanted.items():
            now = present.get(name)
            if now is None:
                created += 1
                drafts.append(ev.Draft(actor, f"{kind}/{name}", _created(kind, placed, revision)))
            elif fields := changed_fields(now, placed):
                changed += 1
                drafts.append(ev.Draft(actor, f"{kind}/{name}", _changed(kind, placed, revision, now, fields)))
            elif (now.file, now.line) != (placed.path, placed.manifest.line):
                moved.append(ev.Moved(kind, name, placed.path, placed.manifest.line))
        for name in sorted(present.keys() - wanted.keys()):
            deleted += 1
            drafts.append(ev.Draft(actor, f"{kind}/{name}", _deleted(kind, present[name], revision)))
    models = sum(1 for of, _ in desired if of == "model")
    counts = ev.Counts(models, len(desired) - models, created, changed, deleted, len(moved))
    return drafts, moved, counts


def changed_fields(now: Resource, placed: Placed) -> list[str]:
    """Name the fields that differ, sorted: dotted below `spec`, and `metadata.labels.K`, `metadata.annotations.K`."""
    manifest = placed.manifest
    if now.spec == manifest.spec and now.labels == manifest.labels and now.annotations == manifest.annotations:
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
        elif key not in old or key not in new or before != after:
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
        lines={field: line for field, line in m.lines.items() if now.spec.get(field) != m.spec[field]},
    )


def _deleted(kind: Kind, now: Resource, revision: str) -> ev.BindingDeleted | ev.AgentDeleted:
    make = ev.BindingDeleted if kind == "model" else ev.AgentDeleted
    return make(previous=now.spec, file=now.file, line=now.line, revision=revision)
