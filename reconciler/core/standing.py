"""How a binding stands: what its budget is, what of it is used and reserved today, what is left, when it resets.

No other module puts these figures together: decisions and displays both ask here. Pure: the day is an argument.

Invariants
- A day counts as the ledger counts it: never an earlier one than the latest that a reservation was made on.
- What is left is what could still be reserved, so open reservations are taken off.
"""

from __future__ import annotations

from calendar import monthrange
from typing import NamedTuple

from reconciler.core.budget import Account
from reconciler.core.state import State


class Standing(NamedTuple):
    """A binding's account of a day, and its limit in tokens, None where there is none."""

    limit: int | None
    account: Account

    @property
    def left(self) -> int | None:
        """Give the tokens that may still be reserved; None if there is no limit."""
        return None if self.limit is None else self.account.left(self.limit)

    @property
    def exhausted(self) -> bool:
        """Tell whether the whole limit is used, whatever becomes of open reservations."""
        return self.limit is not None and self.account.used >= self.limit

    @property
    def resets(self) -> str:
        """Give the moment when the day ends, as RFC 3339 has it."""
        return f"{_next(self.account.day)}T00:00:00Z"


def standing(state: State, name: str, day: str) -> Standing:
    """Say how a binding stands on a day, or on the ledger's own if that is later; one that is gone has no limit."""
    found = state.models.get(name)
    limit = found.binding.max_tokens_per_day if found is not None else None
    return Standing(limit, state.ledger.account(name, state.ledger.today(day)))


def _next(day: str) -> str:
    """Give the day after a day."""
    year, month, number = map(int, day.split("-"))
    if number < monthrange(year, month)[1]:
        return f"{year:04}-{month:02}-{number + 1:02}"
    return f"{year:04}-{month + 1:02}-01" if month < 12 else f"{year + 1:04}-01-01"
