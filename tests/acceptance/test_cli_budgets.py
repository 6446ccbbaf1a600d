"""What today's tokens look like in status, get and describe. The same with and without a running daemon."""

from __future__ import annotations

import pytest

from tests.support import Site, agent, binding, maybe_daemon
from tests.support_tokens import day, forfeited, record, reserved, settled, voided

DAEMON = pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])


@DAEMON
def test_status_counts_settled_and_forfeited_tokens_of_today(team: Site, daemon: bool) -> None:
    """Word for word as the contract has it; yesterday's tokens and voided ones do not count."""
    record(
        team,
        *(reserved("a", on=day(1)), settled("a", on=day(1), charged=700_000)),
        *(reserved("b"), settled("b", charged=44_000)),
        *(reserved("c"), forfeited("c", tokens=1_230)),
        *(reserved("d"), voided("d")),
        *(reserved("e", "sonnet"), settled("e", "sonnet", charged=1_204)),
    )
    with maybe_daemon(team, daemon):
        out = team.pai("status", "my-agent").out

    assert out == (
        "Models:\n"
        "- flash (gemini / gemini-2.0-flash) — 45,230 / 1,000,000 tokens today\n"
        "- sonnet (anthropic / claude-sonnet-4-6) — 1,204 tokens today\n"
    )


def test_status_shows_open_reservations(team: Site) -> None:
    """What is held for requests that have no outcome yet follows the figure."""
    record(team, reserved("a"), settled("a", charged=45_230), reserved("b", input=200, output=1_000))

    assert "— 45,230 / 1,000,000 tokens today (+1,200 reserved)\n" in team.pai("status", "my-agent").out


@DAEMON
def test_spent_budget_is_exhausted_until_midnight(team: Site, daemon: bool) -> None:
    """A day that has used its limit, exactly or by a limit that was lowered later, says until when."""
    record(team, reserved("a"), settled("a", charged=999_999))
    with maybe_daemon(team, daemon):
        assert "exhausted" not in team.pai("status", "my-agent").out
        team.pai("apply", "-f", "-", stdin=binding("flash", 999_999))
        line = "- flash (gemini / gemini-2.0-flash) — 999,999 / 999,999 tokens today — exhausted until 00:00 UTC\n"
        assert line in team.pai("status", "my-agent").out
        team.pai("apply", "-f", "-", stdin=binding("flash", 5_000))
        assert "— 999,999 / 5,000 tokens today — exhausted until 00:00 UTC\n" in team.pai("status").out
        status = team.pai("get", "model", "flash", "-o", "json").json["status"]
        assert (status["usedTokensToday"], status["remainingTokens"]) == (999_999, 0)


def test_exhausted_binding_without_its_secret_says_both(team: Site) -> None:
    """The parts of the line keep their order: reserved, exhausted, not ready."""
    team.pai("apply", "-f", "-", stdin=binding("flash", 1_000))
    team.pai("delete", "secret", "gemini-key")
    record(team, reserved("a"), settled("a", charged=1_000), reserved("b", input=1, output=1))

    assert team.pai("status", "my-agent").out.splitlines()[1] == (
        "- flash (gemini / gemini-2.0-flash) — 1,000 / 1,000 tokens today (+2 reserved)"
        " — exhausted until 00:00 UTC — not ready: secret gemini-key does not exist"
    )


def test_get_and_describe_show_todays_tokens(team: Site) -> None:
    """The table's column, and used, reserved, remaining and the reset in JSON and text."""
    record(team, reserved("a"), settled("a", charged=45_230), reserved("b", input=200, output=1_000))
    record(team, reserved("c", "sonnet"), settled("c", "sonnet", charged=77))
    midnight = f"{day(-1)}T00:00:00Z"

    rows = [line.split() for line in team.pai("get", "models").out.splitlines()[1:]]
    assert [(row[0], row[3], row[4]) for row in rows] == [("flash", "45,230", "1,000,000"), ("sonnet", "77", "-")]
    status = team.pai("get", "model", "flash", "-o", "json").json["status"]
    assert status["usedTokensToday"] == 45_230
    assert status["reservedTokens"] == 1_200
    assert status["remainingTokens"] == 953_570
    assert status["resetsAt"] == midnight
    described = team.pai("describe", "model", "flash").out
    assert f"45,230 used, 1,200 reserved, 953,570 left; resets {midnight}" in described
    assert f"77 used, 0 reserved; resets {midnight}" in team.pai("describe", "model", "sonnet").out


def test_last_changes_of_a_model_are_not_its_requests(team: Site) -> None:
    """However many requests name a binding, describe still says who changed it."""
    record(team, *(draft for n in range(20) for draft in (reserved(f"r{n}"), settled(f"r{n}"))))

    changes = team.pai("describe", "model", "flash", "-o", "json").json["changes"]

    assert [row["type"] for row in changes] == ["binding.created.v1"]


def test_usage_belongs_to_the_name(team: Site) -> None:
    """Deleting a binding and adding it again does not reset its day."""
    record(team, reserved("a", "sonnet"), settled("a", "sonnet", charged=50))
    team.pai("apply", "-f", "-", stdin=agent("my-agent", "flash"))
    team.pai("delete", "model", "sonnet")
    assert "sonnet" not in team.pai("status").out
    team.pai("add", "model", "sonnet", "--provider", "anthropic", "--api-key", "gemini-key", "--max-tokens-day", "60")

    assert "— 50 / 60 tokens today\n" in team.pai("status").out
