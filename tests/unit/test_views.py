"""What people see of the state, made from states in memory."""

import difflib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from reconciler.audit.views import View, not_found
from reconciler.cli.status import line
from reconciler.core.budget import Account, Ledger
from reconciler.core.state import Key, Resource, State
from reconciler.core.text import COMPARED_MAX
from reconciler.manifests.schema import closest

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SPEC: dict[str, object] = {"provider": "gemini", "model": "gemini-2.0-flash", "maxTokensPerDay": 1_000}


def view(now: datetime = NOON, **accounts: Account) -> View:
    """Show two models with these accounts."""
    models = {name: Resource(name, SPEC, "a.yaml", 1, "a" * 40, 1) for name in ("a", "b")}
    return View(
        State(models=models, ledger=Ledger(accounts=accounts)), lambda *_: "", now.astimezone(UTC).date().isoformat()
    )


def status(seen: View, name: str) -> dict[str, object]:
    """Give a model's status."""
    found = seen.object("model", name)["status"]
    assert isinstance(found, dict)
    return found


def test_usage_is_that_of_the_utc_day() -> None:
    """An account of an earlier day is over; the day is UTC's, whatever zone the time came in."""
    late = datetime.fromisoformat("2026-11-24T01:00:00+02:00")
    for now in (NOON, late):
        seen = view(now, a=Account("2026-11-23", 700, 200), b=Account("2026-11-22", 1_000, 0))
        assert status(seen, "a") | {"conditions": []} == {
            "usedTokensToday": 700,
            "reservedTokens": 200,
            "remainingTokens": 100,
            "resetsAt": "2026-11-24T00:00:00Z",
            "revision": "a" * 40,
            "source": {"path": "a.yaml", "line": 1},
            "conditions": [],
        }
        assert status(seen, "b")["usedTokensToday"] == 0


def test_day_does_not_go_back() -> None:
    """Once a later day was counted, that one is shown, with its own reset: budgets are decided by it."""
    seen = view(NOON, a=Account("2026-12-31", 1_000), b=Account("2026-11-23", 5))

    assert "— 1,000 / 1,000 tokens today — exhausted until 00:00 UTC" in line(seen.object("model", "a"))
    assert status(seen, "a")["resetsAt"] == "2027-01-01T00:00:00Z"
    assert status(seen, "b")["usedTokensToday"] == 0


def test_remaining_tokens_are_never_negative() -> None:
    """A limit that was lowered below what is used leaves nothing."""
    assert status(view(a=Account("2026-11-23", 5_000, 1)), "a")["remainingTokens"] == 0


def test_keys_are_listed_by_agent_oldest_first() -> None:
    """Names of keys are random, so an agent's keys stand in the order they were made."""
    order = (("key-a", "x", 3), ("key-b", "x", 1), ("key-c", "w", 2))
    keys = {name: Key(name, agent, name, "", [], position) for name, agent, position in order}

    listed = [item["metadata"] for item in View(State(keys=keys), lambda *_: "", "2026-11-23").objects("key")]

    assert listed == [{"name": "key-c"}, {"name": "key-b"}, {"name": "key-a"}]


@pytest.mark.parametrize("nearest", [closest, lambda name, known: not_found("model", name, known)])
def test_name_is_compared_with_few_of_many(
    nearest: Callable[[str, list[str]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing one with 5,000 that are alike took half a second, for each of twenty hints of each commit."""
    compared: list[int] = []
    look = difflib.get_close_matches

    def counted(word: str, known: list[str], n: int = 3, cutoff: float = 0.6) -> list[str]:
        compared.append(len(known))
        return look(word, known, n, cutoff)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    many = [f"model-{n}-of-the-team" for n in range(5000)]
    nearest("model-x-of-the-team", many)
    assert 0 < compared[0] <= COMPARED_MAX


def test_name_that_may_be_meant_is_found_among_many() -> None:
    """It begins or ends in the same way."""
    known = [*(f"{n}-other" for n in range(5000)), "flash-lite", "pro-25"]
    assert not_found("model", "flsh-lite", known).hint == "did you mean flash-lite?"
    assert closest("pro-2", known) == "pro-25"
