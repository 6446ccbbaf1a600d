"""The versions of one model or agent, read off the log: what each commit changed, and which commit set each field.

The log keeps what the repository's history may lose: versions stay after a force-push, a deletion or a rename of files.
Values are compared, so a field's origin is the version that gave it the value it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any, Final

import msgspec

from reconciler.audit.query import search
from reconciler.audit.terms import EventRow, Query, Term
from reconciler.core import events as ev
from reconciler.core.canonical import same_value
from reconciler.core.errors import LogDamaged, UsageError
from reconciler.core.objects import Kind
from reconciler.log.store import Reader

FAMILIES: Final[dict[Kind, str]] = {"model": "binding.", "agent": "agent."}
"""How the types of the events begin that a kind's versions are told by."""

_VERBS: Final = {ev.RevisionPinned.type: "Pin", ev.RevisionUnpinned.type: "Unpin"}
_HINT: Final = "run `pai verify` to see all that is wrong"
_LARGE: Final = "read the events of the object part by part, or ask pai history in the workspace"

NEAR: Final = 1024
"""Events among which what put an object in force is looked for first."""


class Origin(msgspec.Struct, frozen=True):
    """Who wrote what was in force: the event, the commit and its author as git claims it, and the place.

    `message` is the first line of the commit's, "" if the commit's own event is not found.
    """

    position: int
    commit: str
    author: str
    message: str
    file: str
    line: int


class FieldChange(msgspec.Struct, frozen=True):
    """A dotted field of the spec (or `metadata.labels.K`) before and after (null: none), and where it stands."""

    field: str
    old: Any
    new: Any
    line: int


class Version(msgspec.Struct, frozen=True):
    """What one commit made of the object: `change` is created, changed or deleted; the rest as in Origin."""

    position: int
    time: str
    change: str
    commit: str
    author: str
    message: str
    file: str
    line: int
    changes: list[FieldChange]


class Blame(msgspec.Struct, frozen=True):
    """A field of the spec in force, and who gave it its value; `line` is the field's own, the rest as in Origin."""

    field: str
    value: Any
    position: int
    time: str
    commit: str
    author: str
    message: str
    file: str
    line: int


class History(msgspec.Struct, frozen=True):
    """Every version of an object, newest first."""

    kind: Kind
    name: str
    versions: list[Version]


class Origins(msgspec.Struct, frozen=True):
    """Who gave each field of an object in force its value."""

    kind: Kind
    name: str
    fields: list[Blame]


def versions(log: Reader, kind: Kind, name: str, before: int | None = None) -> Iterator[EventRow]:
    """Give the events that changed an object, those below position `before` only, newest first."""
    return search(log, versions_of(kind, name), before=before)


def versions_of(kind: Kind, name: str) -> Query:
    """Ask for the events that changed an object."""
    return Query((Term(kind, name), Term("type", FAMILIES[kind])))


def was_there(log: Reader, kind: Kind, name: str) -> bool:
    """Tell whether the log knows any version of an object."""
    return next(versions(log, kind, name), None) is not None


def history(log: Reader, kind: Kind, name: str, bytes_max: int = 0) -> list[Version]:
    """Give every version of an object, newest first; none if the log knows no such object.

    Raises UsageError if they take more than `bytes_max`, if that is given.
    """
    found: list[Version] = []
    taken = 0
    with log.moment():
        for row, older in pairwise(chain(versions(log, kind, name), [None])):
            assert row is not None
            found.append(_version(log, row, older))
            if bytes_max:
                taken += len(msgspec.json.encode(found[-1]))
                if taken > bytes_max:
                    raise UsageError(f"the versions of {kind} {name} take more than {bytes_max:,} bytes", _LARGE)
    return found


def blame(log: Reader, kind: Kind, name: str) -> list[Blame]:
    """Give the fields of the spec in force, by name, with who set them; none if the object is not in force."""
    with log.moment():
        rows = versions(log, kind, name)
        row = next(rows, None)
        fields = flat(row.data["spec"] or {}) if row is not None else {}
        found: dict[str, Blame] = {}
        while row is not None and len(found) < len(fields):
            before = flat(row.data["previous"] or {})
            set_here = [
                f for f in fields if f not in found and (f not in before or not same_value(before[f], fields[f]))
            ]
            if set_here:
                o = origin(log, row)
                for f in set_here:
                    who = (row.seq, row.time, o.commit, o.author, o.message, o.file, line_of(row, f))
                    found[f] = Blame(f, fields[f], *who)
            row = next(rows, None)
        return [found[field] for field in fields if field in found]


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give the values of a spec by dotted field; lists and empty mappings are values."""
    fields: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            fields |= flat(item, f"{prefix}{key}.")
        else:
            fields[prefix + key] = item
    return fields


def line_of(row: EventRow, field: str) -> int:
    """Give the line of a field that a version wrote; nested ones count as the field of the spec that they are in."""
    lines: dict[str, int] = row.data.get("lines", {})
    named = [key for key in lines if field == key or field.startswith(f"{key}.")]
    return lines[max(named, key=len)] if named else int(row.data["line"])


def origin(log: Reader, row: EventRow) -> Origin:
    """Find out who wrote a version."""
    commit = row.data["revision"]
    author, message = row.actor, ""
    each = _put_in_force_by(log, row.seq)
    if each is not None:
        if each.type == ev.RevisionAccepted.type:
            person = each.data["author"]
            author = f"{person['name']} <{person['email']}>"
            message = each.data["message"].strip().partition("\n")[0]
        elif each.type in _VERBS:
            message = f"{_VERBS[each.type]} {each.data['commit'][:7]}"
            message += f": {each.data['reason']}" if each.data["reason"] else ""
        else:
            raise LogDamaged(f"the index leads to position {each.seq}, which puts nothing in force", _HINT)
    return Origin(row.seq, commit, author, message, row.data["file"], row.data["line"])


def _put_in_force_by(log: Reader, position: int) -> EventRow | None:
    """Find the event of what put an object in force; it follows the object's in the same transaction, mostly nearby."""
    query, near, size = Query((Term("type", "revision."),)), NEAR, log.size()
    while True:
        for found in search(log, query, 1, oldest_first=True, before=min(position + near, size), start=position):
            return found
        if position + near >= size:
            return None
        near *= 16


def _version(log: Reader, row: EventRow, older: EventRow | None) -> Version:
    change = row.type.removesuffix(".v1").partition(".")[2]
    previous = older if older is not None and row.data["previous"] is not None else None
    old = _written(row.data["previous"], previous)
    new = _written(row.data["spec"], row)
    fields = [f for f in new if f not in old or not same_value(old[f], new[f])] + [f for f in old if f not in new]
    changes = [FieldChange(f, old.get(f), new.get(f), line_of(row, f)) for f in fields]
    o = origin(log, row)
    return Version(row.seq, row.time, change, o.commit, o.author, o.message, o.file, o.line, changes)


def _written(spec: dict[str, Any] | None, row: EventRow | None) -> dict[str, Any]:
    """Give a spec with the labels and annotations that an event has, by dotted field."""
    fields = flat(spec or {})
    for part in ("labels", "annotations"):
        written = row.data.get(part, {}) if row is not None and spec is not None else {}
        fields |= {f"metadata.{part}.{key}": value for key, value in written.items()}
    return fields
