"""Who has a port's connections, and who gives one up when all are taken and somebody new comes.

It is a stranger, the one who came first: whoever has a key shows it soon. An eighth of all is the strangers' all the
same, since each newcomer is one: where they have no more, whoever has most of the others gives way.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

STRANGER: Final = ""
"""The owner of a connection whose last request showed no key."""
STRANGERS_PART: Final = 8
LOOKED_MAX: Final = 512
"""Of one owner's connections, until one is found that may be closed; where all are busy, the next ones are looked at
the next time."""


class Guest(Protocol):
    """A connection."""

    def gives_way(self) -> bool:
        """Tell whether it may be closed for another one."""

    def abort(self) -> None:
        """Close it."""


class Places:
    """The connections of a port by their owners, those first that were busy the longest time ago, or came first."""

    def __init__(self) -> None:
        self._held: dict[str, OrderedDict[Guest, None]] = {}

    def enter(self, guest: Guest, owner: str) -> None:
        """Count a connection as this owner's."""
        self._held.setdefault(owner, OrderedDict())[guest] = None

    def leave(self, guest: Guest, owner: str) -> None:
        """Count it no more; safe to call twice."""
        held = self._held.get(owner)
        if held is not None:
            held.pop(guest, None)
            if not held:
                del self._held[owner]

    def giving_way(self, places: int) -> Guest | None:
        """Find who gives way where so many places are all taken, None if nobody may."""
        strangers = self._held.get(STRANGER, OrderedDict())
        rows = sorted((held for owner, held in self._held.items() if owner != STRANGER), key=len, reverse=True)
        rows.insert(1 if len(strangers) <= places // STRANGERS_PART else 0, strangers)
        return next((guest for guest in map(_idle, rows) if guest is not None), None)


def _idle(held: OrderedDict[Guest, None]) -> Guest | None:
    for _ in range(min(len(held), LOOKED_MAX)):
        guest = next(iter(held))
        if guest.gives_way():
            return guest
        held.move_to_end(guest)
    return None
