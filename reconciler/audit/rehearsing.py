"""The last days of a binding, replayed from the log against a limit that somebody proposes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from reconciler.audit.query import search
from reconciler.audit.terms import Query, Term
from reconciler.core.events import TokensReserved
from reconciler.core.rehearsal import Rehearsal, Step, rehearse
from reconciler.log.replay import event_at
from reconciler.log.store import Reader

DAYS = 7
"""Days that are replayed: today, as far as it has come, and the six before."""


def rehearsal(log: Reader, model: str, limit: int, now: datetime) -> Rehearsal | None:
    """Replay the last DAYS of a binding against a daily limit in tokens; None if it had no request.

    Of a pruned log the days are those that it has all of. Raises LogDamaged.
    """
    days = [f"{now - timedelta(days=back):%Y-%m-%d}" for back in reversed(range(DAYS))]
    if first := log.first():
        begins = event_at(log, first).time[:10]
        days = [day for day in days if day > begins]
    # A day is the one of the reservation, which the clock may be ahead of: the day before is read with it.
    since = f"{now - timedelta(days=DAYS):%Y-%m-%d}T00:00:00.000000Z"
    query = Query((Term("type", "tokens."), Term("model", model)), since)
    with log.moment():
        found = rehearse(model, limit, days, _steps(log, query))
    return found if any(day.requests for day in found.days) else None


def _steps(log: Reader, query: Query) -> Iterator[Step]:
    for row in search(log, query, oldest_first=True):
        data = row.data
        if row.type == TokensReserved.type:
            yield Step(row.time, data["request"], data["tokens"], data["day"])
        else:
            yield Step(row.time, data["request"], row.charged())
