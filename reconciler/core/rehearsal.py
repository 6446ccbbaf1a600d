"""What a binding's real requests would have met under another daily limit.

Assumes that the same requests come at the same times and cost the same; that each asks for what it reserved then, so
that a request whose output limit the gateway might have lowered near the end of a day counts as one that does not fit;
and that an agent that is refused neither tries again nor goes elsewhere. A request that does not fit holds and uses
nothing. Limits of one request, other bindings and new agents are left out.

Pure: the ledger is the real one, and days are those that the reservations were stamped with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reconciler.core.budget import Ledger, Reservation


class Step(NamedTuple):
    """What happened: a reservation of `tokens` on a `day`, or, with day "", its outcome, which charged `tokens`."""

    time: str
    request: str
    tokens: int
    day: str = ""


class Day(NamedTuple):
    """One day under the other limit: requests, those that did not fit, since when ("" if all did), and tokens used."""

    day: str
    requests: int
    refused: int
    first: str
    used: int


class Rehearsal(NamedTuple):
    """The days of one binding under the limit `limit`, oldest first."""

    model: str
    limit: int
    days: tuple[Day, ...]

    @property
    def exhausted(self) -> tuple[Day, ...]:
        """Give the days on which a request did not fit."""
        return tuple(day for day in self.days if day.refused)


def rehearse(model: str, limit: int, days: Sequence[str], steps: Iterable[Step]) -> Rehearsal:
    """Replay `steps`, oldest first, against `limit`, and say how each of `days` went."""
    ledger = Ledger()
    found = {day: Day(day, 0, 0, "", 0) for day in days}
    for position, step in enumerate(steps):
        if not step.day:
            held = ledger.open.get(step.request)
            ledger.resolve(step.request, step.tokens)
            if held is not None and held.day in found:
                found[held.day] = found[held.day]._replace(used=found[held.day].used + step.tokens)
            continue
        account = ledger.account(model, step.day)
        fits = step.tokens <= account.left(limit)
        if fits:
            ledger.reserve(step.request, Reservation(model, "", step.day, step.tokens, position))
        if (day := found.get(step.day)) is not None:
            refused, first = (day.refused, day.first) if fits else (day.refused + 1, day.first or step.time)
            found[step.day] = day._replace(requests=day.requests + 1, refused=refused, first=first)
    return Rehearsal(model, limit, tuple(found.values()))
