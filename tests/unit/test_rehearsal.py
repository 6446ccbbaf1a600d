"""What real requests would have met under another limit: the ledger's own arithmetic over what happened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.rehearsal import Day, Step, rehearse

DAYS = ["2026-11-20", "2026-11-21"]


def reserved(request: str, tokens: int, at: str = "2026-11-20T14:20", day: str = "") -> Step:
    return Step(at, request, tokens, day or at[:10])


def outcome(request: str, tokens: int, at: str = "2026-11-20T14:20") -> Step:
    return Step(at, request, tokens)


@pytest.mark.parametrize(
    ("limit", "refused", "first", "used"),
    [
        (1000, 0, "", 700),
        (900, 0, "", 700),
        (899, 1, "2026-11-20T15:00", 100),
        (300, 1, "2026-11-20T15:00", 100),
        (299, 2, "2026-11-20T14:20", 0),
    ],
)
def test_a_request_fits_or_not_by_what_is_used_and_held_then(limit: int, refused: int, first: str, used: int) -> None:
    """The first request holds 300 and uses 100; the second holds 800, which fits from 900 on."""
    steps = [
        reserved("a", 300),
        outcome("a", 100),
        reserved("b", 800, "2026-11-20T15:00"),
        outcome("b", 600, "2026-11-20T15:01"),
    ]
    found = rehearse("m", limit, DAYS, steps)
    assert found.days[0] == Day("2026-11-20", 2, refused, first, used)
    assert len(found.exhausted) == (refused > 0)


def test_open_reservations_count_until_their_outcome() -> None:
    """Two at a time need room for both; what was voided leaves it again."""
    both = [reserved("a", 300), reserved("b", 300), outcome("a", 0), reserved("c", 300)]
    assert rehearse("m", 599, DAYS, both).days[0].refused == 1
    assert rehearse("m", 600, DAYS, both).days[0].refused == 0


def test_what_did_not_fit_uses_nothing() -> None:
    """Its outcome is none, and a smaller one after it still fits."""
    steps = [reserved("a", 500), outcome("a", 500), reserved("b", 100), outcome("b", 90)]
    assert rehearse("m", 200, DAYS, steps).days[0] == Day("2026-11-20", 2, 1, "2026-11-20T14:20", 90)


def test_outcome_counts_to_the_day_of_its_reservation() -> None:
    """A request across midnight takes nothing from the new day."""
    steps = [
        reserved("a", 500, "2026-11-20T23:59"),
        reserved("b", 600, "2026-11-21T00:01"),
        outcome("a", 500, "2026-11-21T00:02"),
        reserved("c", 400, "2026-11-21T00:03"),
    ]
    found = rehearse("m", 1000, DAYS, steps)
    assert [(day.requests, day.refused, day.used) for day in found.days] == [(1, 0, 500), (2, 0, 0)]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50), st.booleans()), max_size=30), st.integers(1, 200))
def test_no_day_ever_passes_the_limit_by_more_than_providers_charge(
    asked: list[tuple[int, int, bool]], limit: int
) -> None:
    """While nothing is charged above its reservation, used stays within the limit, as it does for real."""
    steps = []
    for number, (tokens, charged, later) in enumerate(asked):
        steps.append(reserved(str(number), tokens))
        if not later:
            steps.append(outcome(str(number), min(tokens, charged)))
    steps += [outcome(str(n), min(tokens, charged)) for n, (tokens, charged, later) in enumerate(asked) if later]
    found = rehearse("m", limit, DAYS, steps).days[0]
    assert found.used <= limit
    assert found.requests == len(asked)


def test_rehearsal_says_of_what() -> None:
    """The model and the limit that it was asked for, and a day without requests as such."""
    found = rehearse("m", 7, DAYS, [])
    assert (found.model, found.limit) == ("m", 7)
    assert found.days == tuple(Day(day, 0, 0, "", 0) for day in DAYS)
