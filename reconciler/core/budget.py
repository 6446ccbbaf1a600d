"""The ledger: what each binding's day has used, what is reserved, and whether one more request fits.

A request is a reservation (an upper bound of its tokens, recorded before a byte leaves) that is resolved exactly once:

    reserved ──▶ settled     what the provider says it used, to the day of the reservation
             ├─▶ voided      nothing: the provider certainly charged nothing
             └─▶ forfeited   all of it: nobody knows what the provider charged

Invariant: `used + reserved` of a binding's day never passes its limit by a reservation being granted, since `grant`
looks at the ledger that holds everything decided before it. A limit that is lowered later stops further grants and
takes nothing back. There is no reset: a day is a key, and the ledger's day never goes back. Usage belongs to the
binding's name, whatever becomes of the binding.

Pure: no clock, no I/O. What is folded was decided already and is never refused.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from reconciler.core.canonical import MAX_SAFE_INTEGER

OUTPUT_MIN: Final = 1
"""The smallest output limit per choice that is worth sending."""


class Account(msgspec.Struct, frozen=True, gc=False):
    """One binding's tokens on one day (`YYYY-MM-DD`, UTC): `used` are settled and forfeited ones."""

    day: str
    used: int = 0
    reserved: int = 0

    def left(self, limit: int) -> int:
        """Give what may still be reserved under a limit."""
        return max(0, limit - self.used - self.reserved)


class Reservation(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens held for a request that has no outcome yet, served by `node`. `position`: of the event that says so."""

    model: str
    agent: str
    day: str
    tokens: int
    position: int
    node: str = ""


class Ledger(msgspec.Struct):
    """The accounts of the latest day seen, by binding, and the open reservations of any day, by request."""

    day: str = ""
    accounts: dict[str, Account] = msgspec.field(default_factory=dict)
    open: dict[str, Reservation] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.day:
            self.day = max((account.day for account in self.accounts.values()), default="")

    def today(self, day: str) -> str:
        """Give the day that a request of `day` counts to: days never go back."""
        return max(self.day, day)

    def account(self, model: str, day: str) -> Account:
        """Give a binding's account of a day, which is empty if nothing was counted then or a later day has begun."""
        account = self.accounts.get(model)
        return account if account is not None and account.day == day else Account(day)

    def reserve(self, request: str, reservation: Reservation) -> None:
        """Fold a reservation."""
        model, day, tokens = reservation.model, reservation.day, reservation.tokens
        if day > self.day:
            self.day = day
        before = self.accounts.get(model)
        if before is None or before.day < day:
            self.accounts[model] = Account(day, 0, tokens)
        elif before.day == day:
            self.accounts[model] = Account(day, before.used, before.reserved + tokens)
        self.open[request] = reservation

    def resolve(self, request: str, charged: int) -> None:
        """Fold the outcome of a reservation: its tokens are no longer held, and `charged` are used."""
        reservation = self.open.pop(request, None)
        if reservation is None:
            return
        now = self.accounts.get(reservation.model)
        if now is not None and now.day == reservation.day:
            held = now.reserved - reservation.tokens
            used = min(MAX_SAFE_INTEGER, now.used + charged)  # without a limit, nonsense may add up
            self.accounts[reservation.model] = Account(now.day, used, held)

    def freeze(self) -> Ledger:
        """Give a copy that later events do not change."""
        return Ledger(self.day, dict(self.accounts), dict(self.open))


class Limits(NamedTuple):
    """A binding's limits in tokens; None is none."""

    per_day: int | None = None
    per_request: int | None = None


class Ask(NamedTuple):
    """What a request may cost at most, in tokens.

    `input` is an upper bound of its input. `counted` is the best figure for the same (a provider's count, an estimate),
    by which the limit of one request is judged. `output` is the output limit of each of `choices` answers, `least` the
    lowest that the provider takes.
    """

    input: int
    counted: int
    output: int
    choices: int = 1
    least: int = OUTPUT_MIN


class Grant(NamedTuple):
    """The request may go with this output limit for each choice; `tokens` are to be reserved."""

    output: int
    tokens: int


class Denial(NamedTuple):
    """The request does not fit: `needed` is the least that would do, `remaining` what there is."""

    reason: Literal["day", "request"]
    needed: int
    remaining: int


def grant(limits: Limits, account: Account, ask: Ask, *, lower: bool) -> Grant | Denial:
    """Decide whether a request fits into what its day and its own limit leave.

    `lower`: whether the output limit may be lowered to what is left; without it a request that would have to be is
    denied, so that its input can be counted better first.
    """
    asked = ask.output if not lower else min(ask.output, ask.least)
    room = ask.output
    if limits.per_request is not None:
        left = limits.per_request - ask.counted
        if left < asked * ask.choices:
            return Denial("request", ask.counted + asked * ask.choices, limits.per_request)
        room = min(room, left // ask.choices) if ask.choices else room
    if limits.per_day is not None:
        remaining = account.left(limits.per_day)
        left = remaining - ask.input
        if left < asked * ask.choices:
            return Denial("day", ask.input + asked * ask.choices, remaining)
        room = min(room, left // ask.choices) if ask.choices else room
    return Grant(room, ask.input + room * ask.choices)
