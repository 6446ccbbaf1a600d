"""Objects in force, as whoever asks a log gets them, and where the log begins: values that msgspec writes as JSON.

Nothing here names a folder, a store or the state. Whoever prints takes these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from reconciler.core.state import Head, Order

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
