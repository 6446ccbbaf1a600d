"""What may be asked of a log, wherever it lies: the one interface behind the verbs that read and the HTTP API.

Questions and answers are values that msgspec writes as JSON. Nothing here names a folder, a store or the state, so that
a server's API or an export can answer as well as a workspace does. Whoever prints takes the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from reconciler.core.objects import Kind
from reconciler.core.state import Head, Order

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.audit.spending import Key, Spending
    from reconciler.audit.story import Story
    from reconciler.audit.tail import Tail
    from reconciler.audit.terms import EventRow, Query
    from reconciler.audit.versions import History, Origins
    from reconciler.core.rehearsal import Rehearsal

Object = dict[str, Any]
"""A model, agent, secret or key as JSON has it."""

KINDS = ("model", "agent", "secret", "key")


class Wanted(NamedTuple):
    """An object by its kind and name; without a name all of the kind, or the models that `agent` may use."""

    kind: str
    name: str = ""
    agent: str = ""


class InForce(msgspec.Struct):
    """What was asked for of the objects in force after `position` events, and how the branch stood.

    `revision` is the commit in force, "" for none, and `head` the last that was judged.
    """

    position: int
    time: str
    revision: str
    head: Head | None
    pin: Order | None
    suspension: Order | None
    models: list[Object] = []
    agents: list[Object] = []
    secrets: list[Object] = []
    keys: list[Object] = []

    def of(self, kind: str) -> list[Object]:
        """Give what was found of a kind, in the order asked for; all of a kind by name, keys by agent and age."""
        found: list[Object] = getattr(self, f"{kind}s")
        return found


class LogStart(msgspec.Struct, frozen=True):
    """Where a pruned log begins: position and time of its first event, the time of the cut and where the rest is."""

    position: int
    time: str
    pruned: str
    export: str


class Reading(Protocol):
    """Answers questions to one log. Everything raises LogDamaged, and what else keeps the log from being read."""

    def objects(self, wanted: Sequence[Wanted], at: str | None = None) -> InForce:
        """Give objects as they are, or were at the moment WHEN that `at` names.

        Raises NotFound for a name that is not there, Missing if it never was, and what finding the moment raises.
        """

    def search(
        self, query: Query, limit: int | None = None, *, oldest_first: bool = False, before: int | None = None
    ) -> Iterator[EventRow]:
        """Give the events that match, below position `before` if it is given; `limit` counts matches."""

    def unknown(self, query: Query, *, found: int) -> list[str]:
        """Say which names of a query, that found so many, the log does not know."""

    def versions(self, kind: Kind, name: str, bytes_max: int = 0) -> History:
        """Tell an object's versions. Raises NotFound, CouldNotRun if their changes take more than `bytes_max`."""

    def origins(self, kind: Kind, name: str) -> Origins:
        """Tell where the fields of an object in force come from. Raises NotFound, Missing if it never was in force."""

    def story(self, request: str) -> Story:
        """Tell what was decided on a request. Raises NotFound, UsageError for ""."""

    def spending(self, query: Query, by: Sequence[Key]) -> list[Spending]:
        """Add up the tokens spent in what the query finds, in groups."""

    def rehearse(self, model: str, limit: int, now: datetime) -> Rehearsal | None:
        """Replay the last days of a binding against a daily limit in tokens; None if it had no request."""

    def follow(self, query: Query) -> Tail:
        """Give what looks for the matching events that come, from the end as it is now; it outlives the reading."""

    def beginning(self, query: Query | None = None) -> LogStart | None:
        """Say where the log begins if an answer may lack what was pruned. Raises NotFound if it would lack all."""

    def close(self) -> None:
        """Let go of the log; safe to call twice."""
