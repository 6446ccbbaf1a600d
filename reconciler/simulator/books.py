"""What the simulated providers remember: what they charged, and the last requests as they came.

Invariants: a charge is written before a byte of its answer is sent, whether or not anybody reads the answer; totals
only grow. Requests are kept up to a number and a size, the oldest go first. One thread writes; any may read.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from reconciler.simulator.shapes import Provider, Scope

REQUESTS_KEPT = 256
BODY_KEPT = 256 * 1024
"""Bytes of a request's body that are kept."""


class Charged(NamedTuple):
    """What one model cost one credential: requests that were answered, and their tokens."""

    requests: int = 0
    input: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output

    def plus(self, other: Charged) -> Charged:
        """Add two."""
        return Charged(self.requests + other.requests, self.input + other.input, self.output + other.output)


class SimulatedAccount(NamedTuple):
    """Who pays for what."""

    provider: Provider
    model: str
    credential: str


class SeenRequest(msgspec.Struct, kw_only=True):
    """A request as it came."""

    provider: Provider
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: str
    bytes: int
    """The size of the whole body."""
    status: int | None = None
    """The answer's status; None while there is none."""
    delivered: bool | None = None
    """Whether the whole answer went out while somebody listened; None while it is being sent."""


class Visit(msgspec.Struct):
    """A request being answered: cheap to make, and turned into a SeenRequest when somebody asks."""

    provider: Provider
    scope: Scope
    body: bytes
    size: int
    status: int | None = None
    delivered: bool | None = None

    def seen(self) -> SeenRequest:
        """Give it as text."""
        return SeenRequest(
            provider=self.provider,
            method=self.scope["method"],
            path=self.scope["path"],
            query=self.scope["query_string"].decode("latin-1"),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.scope["headers"]],
            body=self.body.decode("utf-8", "replace"),
            bytes=self.size,
            status=self.status,
            delivered=self.delivered,
        )


class SimulatedBooks:
    """Charges and requests of all providers of one simulator."""

    def __init__(self) -> None:
        self._accounts: dict[SimulatedAccount, Charged] = {}
        self._visits: deque[Visit] = deque(maxlen=REQUESTS_KEPT)

    def note(self, visit: Visit) -> None:
        """Remember a request."""
        self._visits.append(visit)

    def charge(self, account: SimulatedAccount, input_tokens: int, output_tokens: int) -> None:
        """Charge one request."""
        before = self._accounts.get(account, Charged())
        self._accounts[account] = before.plus(Charged(1, input_tokens, output_tokens))

    def charged(self) -> dict[SimulatedAccount, Charged]:
        """Give what each account was charged."""
        return dict(self._accounts)

    def requests(self) -> list[SeenRequest]:
        """Give the last requests, oldest first."""
        return [visit.seen() for visit in self._visits.copy()]
