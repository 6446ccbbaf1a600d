"""How a binding stands on a day, put together in one place."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.budget import Account, Ledger
from reconciler.core.standing import Standing, standing
from reconciler.core.state import Resource, State

DAY = "2026-11-23"
ROOT = Path(__file__).parents[2] / "reconciler"


def state_of(limit: int | None, account: Account | None = None) -> State:
    """Give a state with one binding."""
    spec: dict[str, object] = {"provider": "gemini", "model": "m"}
    spec |= {} if limit is None else {"maxTokensPerDay": limit}
    accounts = {} if account is None else {"a": account}
    return State(models={"a": Resource("a", spec, "a.yaml", 1, "", 1)}, ledger=Ledger(accounts=accounts))


@pytest.mark.parametrize(
    ("limit", "used", "reserved", "left", "exhausted"),
    [
        (100, 0, 0, 100, False),
        (100, 60, 40, 0, False),
        (100, 100, 0, 0, True),
        (100, 250, 10, 0, True),
        (None, 250, 10, None, False),
    ],
)
def test_left_is_what_may_still_be_reserved(
    limit: int | None, used: int, reserved: int, left: int | None, exhausted: bool
) -> None:
    """Open reservations are not left, and do not make a budget exhausted; it is never less than nothing."""
    found = standing(state_of(limit, Account(DAY, used, reserved)), "a", DAY)
    assert found == Standing(limit, Account(DAY, used, reserved))
    assert (found.left, found.exhausted) == (left, exhausted)


def test_day_is_the_ledgers_if_that_is_later() -> None:
    """A clock that was set back opens no day again; a later day begins with nothing used."""
    counted = state_of(100, Account(DAY, 60))
    assert standing(counted, "a", "2026-11-20").account == Account(DAY, 60)
    assert standing(counted, "a", "2026-11-24").account == Account("2026-11-24")
    assert standing(counted, "gone", DAY) == Standing(None, Account(DAY))


@given(st.dates(max_value=date(9999, 12, 30)))
def test_day_ends_when_the_next_begins(day: date) -> None:
    """The reset is the next midnight of UTC, over the ends of months and years and in leap years."""
    assert Standing(1, Account(day.isoformat())).resets == f"{day + timedelta(days=1)}T00:00:00Z"


def test_nobody_else_looks_into_a_binding_s_account() -> None:
    """Whoever has a state asks here how a binding stands."""
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if ".ledger.account(" in path.read_text()}
    assert found == {"core/standing.py"}
