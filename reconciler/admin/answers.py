"""What the HTTP API answers, where no struct of `audit/` says it; the OpenAPI document is made from all of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from reconciler.audit.terms import EventRow
from reconciler.core.state import Order

Position = Annotated[int, Meta(ge=1)]
Figure = Annotated[int, Meta(ge=0)]


class Error(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What went wrong, and the way out; `start` and `length` say which characters of `q` cannot be read."""

    error: str
    hint: str
    start: int | UnsetType = UNSET
    length: int | UnsetType = UNSET


class FromLog(TypedDict):
    """`prunedBefore` is the position that a pruned log begins at: what was before is not in the answer."""

    prunedBefore: NotRequired[Position]


class ToQuery(FromLog):
    """`warnings` are the names in the query that the log does not know."""

    warnings: NotRequired[Annotated[list[str], Meta(min_length=1)]]


class Page(ToQuery):
    """Events, newest first; `next` is the `before` of the page that follows, null at the end."""

    events: list[EventRow]
    next: Position | None


class UsageGroup(TypedDict):
    """What a group was asked by, and its tokens: `cached` is a part of `input`, `reasoning` of `output`."""

    day: NotRequired[str]
    model: NotRequired[str]
    agent: NotRequired[str]
    requests: Figure
    input: Figure
    cached: Figure
    output: Figure
    reasoning: Figure
    charged: Figure


class UsageGroups(ToQuery):
    """Tokens by group."""

    usage: list[UsageGroup]


class Metadata(TypedDict):
    """What an object is called."""

    name: str


class ObjectStatus(TypedDict):
    """The commit that changed an object last, where it is written, and whether it can serve; a model's tokens too."""

    revision: str
    source: dict[str, Any]
    conditions: list[dict[str, str]]


class ObjectInForce(TypedDict):
    """An object in force as its manifest says it, with its status."""

    apiVersion: Literal["pai.io/v1"]
    kind: Literal["ModelBinding", "AgentWorkload"]
    metadata: Metadata
    spec: dict[str, Any]
    status: ObjectStatus


class Objects(TypedDict):
    """All objects of a kind."""

    apiVersion: Literal["v1"]
    kind: Literal["List"]
    items: list[ObjectInForce]


class NamedThing(TypedDict):
    """A secret or a key, which shows nothing that opens anything."""

    kind: Literal["Secret", "Key"]
    metadata: Metadata


class WholeState(TypedDict):
    """Everything in force at a position."""

    position: Position
    time: str
    revision: str | None
    head: str | None
    pin: Order | None
    suspension: Order | None
    models: list[ObjectInForce]
    agents: list[ObjectInForce]
    secrets: list[NamedThing]
    keys: list[NamedThing]
