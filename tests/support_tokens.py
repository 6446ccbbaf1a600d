"""Requests on a workspace's log without a gateway: reserved, settled, voided, forfeited, refused.

The drafts are those of SPEC section 6.1; `record` writes them as the one writer, so no daemon may run meanwhile. A
daemon that starts later may resolve what is still open.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from reconciler.core import events as ev
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder
from tests.support import Site

KEY = "key-7tq2m4xw9a2b"
AGENT = "my-agent"


_TODAY = datetime.now(UTC).date() + timedelta(days=1)
"""The day after the tests began. A ledger's latest day is its today, so a test may run across midnight."""


def day(ago: int = 0) -> str:
    """Give the day that is today once anything was counted on it, or a day before."""
    return (_TODAY - timedelta(days=ago)).isoformat()


def record(site: Site, *drafts: ev.Draft) -> int:
    """Put events on the log and give the position of the first."""
    with Recorder(SqliteBackend(site.database, wait_s=10)) as recorder:
        return recorder.record(lambda _: drafts).first


def reserved(request: str, model: str = "flash", *, on: str = "", agent: str = AGENT, **fields: int) -> ev.Draft:
    """Hold tokens: `input` and `output` are bounds, `binding` is the position of the spec that decided."""
    figures = {"input": 300, "output": 1000, "binding": 1, **fields}
    payload = ev.TokensReserved(
        request=request,
        agent=agent,
        key=KEY,
        surface="openai",
        day=on or day(),
        tokens=figures["input"] + figures["output"],
        **figures,
    )
    return ev.Draft(agent, f"model/{model}", payload)


def settled(request: str, model: str = "flash", *, on: str = "", agent: str = AGENT, **fields: int) -> ev.Draft:
    """Say what the provider used; `charged` is input and output unless it is given."""
    figures = {"input": 40, "cached": 0, "cache_write": 0, "output": 180, "reasoning": 0, **fields}
    figures.setdefault("charged", figures["input"] + figures["output"])
    payload = ev.TokensSettled(
        request=request,
        agent=agent,
        day=on or day(),
        status=200,
        durations=ev.Durations(412, 1630),
        reason="",
        **figures,
    )
    return ev.Draft(agent, f"model/{model}", payload)


def voided(request: str, model: str = "flash", *, tokens: int = 1300, on: str = "", status: int = 503) -> ev.Draft:
    """Say that the provider certainly charged nothing."""
    durations = ev.Durations(12, 12)
    payload = ev.TokensVoided(
        request=request,
        agent=AGENT,
        day=on or day(),
        status=status,
        durations=durations,
        reason="upstream",
        tokens=tokens,
    )
    return ev.Draft(AGENT, f"model/{model}", payload)


def forfeited(request: str, model: str = "flash", *, tokens: int = 1300, on: str = "", agent: str = AGENT) -> ev.Draft:
    """Say that nobody knows what the provider charged."""
    durations = ev.Durations(0, 0)
    payload = ev.TokensForfeited(
        request=request, agent=agent, day=on or day(), status=0, durations=durations, reason="restart", tokens=tokens
    )
    return ev.Draft("pai", f"model/{model}", payload)


def refused(
    request: str,
    model: str = "flash",
    *,
    reason: str = "day-budget",
    needed: int = 1300,
    remaining: int = 12,
    others: tuple[str, ...] = (),
) -> ev.Draft:
    """Say that requests were not forwarded."""
    payload = ev.RequestRefused(
        request=request,
        agent=AGENT,
        surface="openai",
        reason=reason,
        needed=needed,
        remaining=remaining,
        count=1 + len(others),
        others=[*others],
    )
    return ev.Draft(AGENT, f"model/{model}", payload)
