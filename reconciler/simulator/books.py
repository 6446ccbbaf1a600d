"""What the simulated providers share and remember: what they charged, and the last requests as they came.

Invariants: a charge is written before a byte of its answer is sent, whether or not anybody reads the answer; totals
only grow. Requests are kept up to a number and a size, the oldest go first. One thread writes; any may read.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import NamedTuple

import msgspec

from reconciler.simulator.faults import Faults
from reconciler.simulator.planning import PromptCache
from reconciler.simulator.shapes import Provider, Scope, SimulatorSettings

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


def seen(provider: Provider, scope: Scope, body: bytes) -> SeenRequest:
    """Give a request as it comes, before it is answered."""
    return SeenRequest(
        provider=provider,
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        body=body[:BODY_KEPT].decode("utf-8", "replace"),
        bytes=len(body),
    )


class SimulatorState:
    """What the providers of one simulator share."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.charged: dict[SimulatedAccount, Charged] = {}
        self.seen: deque[SeenRequest] = deque(maxlen=REQUESTS_KEPT)
        self.faults = Faults()
        self.cache = PromptCache()
        self.numbers = count(1)

    def charge(self, account: SimulatedAccount, input_tokens: int, output_tokens: int) -> None:
        """Charge one request."""
        before = self.charged.get(account, Charged())
        self.charged[account] = before.plus(Charged(1, input_tokens, output_tokens))
