"""What the gateway itself says no to, before any surface gives it words.

A Refusal is raised by whoever finds the reason and shaped once, by the surface that the client speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Reason = Literal[
    "unauthenticated",
    "host",
    "forbidden",
    "no-binding",
    "no-path",
    "method",
    "websocket",
    "invalid",
    "unsupported",
    "unbounded",
    "too-large",
    "request-budget",
    "day-budget",
    "not-ready",
    "log",
    "internal",
    "upstream",
    "broken",
    "stopping",
    "busy",
]

_OF_STATUS: dict[int, tuple[Reason, ...]] = {
    400: ("invalid", "unsupported", "unbounded", "request-budget"),
    401: ("unauthenticated",),
    403: ("forbidden",),
    404: ("no-binding", "no-path"),
    405: ("method",),
    413: ("too-large",),
    421: ("host",),
    426: ("websocket",),
    429: ("day-budget",),
    500: ("internal",),
    502: ("upstream", "broken"),
    503: ("not-ready", "log", "stopping", "busy"),
}
STATUS: dict[Reason, int] = {reason: status for status, reasons in _OF_STATUS.items() for reason in reasons}

RECORDED: frozenset[Reason] = frozenset(
    ("forbidden", "unsupported", "unbounded", "request-budget", "day-budget", "not-ready")
)
"""Refusals of a known agent that concern a binding which exists; the others would let strangers write on the log."""

FORWARDED: frozenset[Reason] = frozenset(("upstream", "broken"))
"""Refusals of what was reserved and sent, or tried to be: its outcome on the log says what became of it."""

TRY_NEXT: frozenset[Reason] = frozenset(("request-budget", "day-budget", "not-ready", "upstream"))
"""Refusals after which the agent's alternatives are tried; an answer that began and broke is none of them."""


NAMES_SHOWN_MAX = 30
"""Of bindings, or whatever else a refusal lists: an agent may have thousands, and is told so with each refusal."""
NAME_SHOWN_MAX = 64


def listed(names: Sequence[str], count: int | None = None) -> str:
    """Name a few, and how many there are; `count` is how many there are at most, where not all were looked at."""
    shown = [name[:NAME_SHOWN_MAX] for name in names[:NAMES_SHOWN_MAX]]
    more = (len(names) if count is None else count) - len(shown)
    return ", ".join(shown) + (f" and {'' if count is None else 'up to '}{more:,} more" if more > 0 else "")


class Refusal(Exception):
    """The request is not forwarded, or what came of it cannot be answered. `message` is for the client."""

    def __init__(
        self, reason: Reason, message: str, *, headers: tuple[tuple[str, str], ...] = (), needed: int = 0, left: int = 0
    ) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message
        self.headers = headers
        self.needed = needed
        self.left = left

    def forget(self) -> None:
        """Let go of where this was raised: the frames there hold the request's body, and may hold this."""
        self.__traceback__ = self.__context__ = None

    @property
    def status(self) -> int:
        """The HTTP status that says it."""
        return STATUS[self.reason]
