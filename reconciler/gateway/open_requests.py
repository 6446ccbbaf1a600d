"""How many requests each agent has open: none takes all connections that there are, so that others still get one.

A request counts from its key on until it is answered, and until its answer is settled if its client has left.
"""

from __future__ import annotations

from collections import Counter

from reconciler.gateway.refusal import Refusal

MANY = 128
"""Of one agent: beyond that no more than a little of each is kept in the daemon's memory."""


class OpenRequests:
    """The open requests of all agents. `most`: how many one agent may have at once."""

    __slots__ = ("_open", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: Counter[str] = Counter()

    def enter(self, agent: str) -> None:
        """Count a request of an agent, until `leave`. Raises Refusal if it has too many."""
        if self._open[agent] >= self.most:
            raise Refusal("busy", f"agent {agent} has {self.most:,} requests open, and no agent may have more at once")
        self._open[agent] += 1

    def many(self, agent: str) -> bool:
        """Tell whether an agent has many requests open."""
        return self._open[agent] > MANY

    def leave(self, agent: str) -> None:
        """Count a request no more."""
        self._open[agent] -= 1
        if not self._open[agent]:
            del self._open[agent]
