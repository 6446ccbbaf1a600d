"""The stories of one object and of one request as verbs and the HTTP API tell them, and what is said if there is none.

The fields of each answer are those of its JSON.
"""

from __future__ import annotations

import msgspec

from reconciler.audit.story import Decision, story
from reconciler.audit.versions import Blame, Version, blame, history, versions
from reconciler.audit.views import not_found
from reconciler.core.errors import NotFound
from reconciler.core.objects import Kind
from reconciler.log.replay import projected
from reconciler.log.store import Reader


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


class Story(msgspec.Struct, frozen=True):
    """The decisions on a request, oldest first."""

    request: str
    decisions: list[Decision]


def history_of(log: Reader, kind: Kind, name: str, bytes_max: int = 0) -> History:
    """Tell an object's versions. Raises NotFound if the log knows no such object, and what `history` raises."""
    found = history(log, kind, name, bytes_max)
    if not found:
        raise _never(log, kind, name)
    return History(kind, name, found)


def origins_of(log: Reader, kind: Kind, name: str) -> Origins:
    """Tell where an object's fields come from. Raises NotFound if it is not in force."""
    found = blame(log, kind, name)
    if found:
        return Origins(kind, name, found)
    if next(versions(log, kind, name), None):
        raise NotFound(f"{kind} {name} is not in force any more", f"pai history {kind} {name} shows what it was")
    raise _never(log, kind, name)


def story_of(log: Reader, request: str) -> Story:
    """Tell what was decided on a request. Raises NotFound if the log does not know it, UsageError for ""."""
    found = story(log, request)
    if not found:
        hint = "the id is in the answer's x-pai-request-id; refusals that repeat are on the log within a minute"
        raise NotFound(f"there is no request {request} on the log", hint)
    return Story(request, found)


def _never(log: Reader, kind: Kind, name: str) -> NotFound:
    return not_found(kind, name, projected(log).resources(kind))
