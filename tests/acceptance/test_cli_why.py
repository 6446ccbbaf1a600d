"""`pai why`: one request's story. The same with and without a running daemon."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Site, binding, maybe_daemon
from tests.support_tokens import KEY, day, forfeited, record, refused, reserved, settled, voided

DAEMON = pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])


def version(site: Site, model: str = "flash") -> int:
    """Give the position of the event that gave a binding its spec."""
    return site.state().models[model].position


def halve(site: Site) -> str:
    """Have Carol halve the budget of flash, and give the commit."""
    author = {"GIT_AUTHOR_NAME": "Carol", "GIT_AUTHOR_EMAIL": "carol@example.com"}
    site.pai(
        "apply", "-f", "-", "-m", "Halve the budget\n\nIt was too much.", stdin=binding("flash", 500_000), env=author
    )
    return site.bare("rev-parse", "main")


def why(site: Site, request: str) -> list[dict[str, Any]]:
    """Give the decisions on a request."""
    found = site.pai("why", request, "-o", "json").json
    assert found["request"] == request
    decisions: list[dict[str, Any]] = found["decisions"]
    return decisions


@DAEMON
def test_story_of_a_settled_request(team: Site, daemon: bool) -> None:
    """Decision, budget as it was then, outcome, binding version, commit, author and the limit's own line."""
    commit = halve(team)
    at = version(team)
    first = record(
        team,
        *(reserved("old", on=day(1), binding=at), settled("old", on=day(1), charged=400_000)),
        *(reserved("a", binding=at), settled("a", charged=45_230)),
        *(reserved("b", binding=at), voided("b"), reserved("c", binding=at), forfeited("c", tokens=1_300)),
        *(reserved("held", binding=at), reserved("x", "sonnet"), settled("x", "sonnet", charged=99)),
        *(reserved("req_1", binding=at, input=306, output=1_024), settled("held", charged=7)),
        settled("req_1", input=41, cached=10, output=187, reasoning=60),
    )
    record(team, reserved("late"), settled("late", charged=100_000))
    team.pai("apply", "-f", "-", stdin=binding("flash", 9))
    with maybe_daemon(team, daemon):
        done = team.pai("why", "req_1")
        (decision,) = why(team, "req_1")

    position = first + 11
    times = {row["seq"]: row["time"][:19].replace("T", " ") for row in team.rows("request:req_1")}
    assert done.out == (
        "request req_1\n"
        "\n"
        "flash: settled, 228 tokens charged\n"
        f"  decision  reserved for agent my-agent with key {KEY} (openai)  #{position} {times[position]}\n"
        f"            input bound 306 + output limit 1,024 = 1,330 tokens of {day()}\n"
        "  budget    46,530 used + 1,300 reserved by others + 1,330 = 49,160 of 500,000\n"
        "  outcome   settled, 228 charged: 41 input (10 cached) + 187 output (60 reasoning);"
        f" status 200 after 1,630 ms  #{position + 2} {times[position + 2]}\n"
        f"  binding   gemini / gemini-2.0-flash, 500,000 tokens a day  #{at}\n"
        "  limit     maxTokensPerDay 1,000,000 -> 500,000\n"
        f"  commit    {commit[:7]} Halve the budget\n"
        "  author    Carol <carol@example.com>\n"
        "  place     models/flash.yaml:8\n"
    )
    assert (decision["decision"], decision["position"], decision["model"]) == ("reserved", position, "flash")
    assert decision["budget"] == {
        "day": day(),
        "used": 46_530,
        "reserved": 1_300,
        "limit": 500_000,
        "remaining": 452_170,
    }
    assert (decision["outcome"]["state"], decision["outcome"]["charged"]) == ("settled", 228)
    assert decision["binding"]["spec"]["maxTokensPerDay"] == 500_000
    origin = {"position": at, "commit": commit, "author": "Carol <carol@example.com>", "message": "Halve the budget"}
    place = {"file": "models/flash.yaml", "line": 8}
    limit = {"field": "maxTokensPerDay", "value": 500_000, "previous": 1_000_000, "origin": {**origin, **place}}
    assert decision["binding"]["limit"] == limit


def test_limit_is_of_whoever_set_it_not_of_the_last_change(team: Site) -> None:
    """A version that changed something else still names the commit, author and line of its limit."""
    commit = halve(team)
    changed = binding("flash", 500_000).replace("api-key\n", "other\n")
    team.pai("apply", "-f", "-", "-m", "Another key", stdin=changed)
    record(team, reserved("req_1", binding=version(team)))

    out = team.pai("why", "req_1").out
    (decision,) = why(team, "req_1")

    last = team.bare("rev-parse", "main")
    assert decision["binding"]["origin"]["message"] == "Another key"
    assert decision["binding"]["limit"]["origin"]["commit"] == commit
    assert f"in the version of {last[:7]} by Alice <alice@example.com>\n" in out
    assert f"  commit    {commit[:7]} Halve the budget\n  author    Carol <carol@example.com>\n" in out


def test_binding_without_a_budget_tells_its_own_commit(team: Site) -> None:
    """Where nothing limits the day, the story ends at the binding's document."""
    record(team, reserved("req_1", "sonnet", binding=version(team, "sonnet")), settled("req_1", "sonnet"))

    out = team.pai("why", "req_1").out

    assert "  budget    0 used + 0 reserved by others; no limit a day\n" in out
    assert "limit  " not in out
    assert "  place     models/sonnet.yaml:1\n" in out
    assert why(team, "req_1")[0]["binding"]["limit"] is None


def test_outcomes_other_than_settled(team: Site) -> None:
    """Voided costs nothing, forfeited costs all, and what has no outcome is in flight."""
    at = version(team)
    record(team, *(reserved(name, binding=at) for name in ("v", "f", "o")), voided("v"), forfeited("f"))

    assert "voided, nothing charged: upstream, status 503 after 12 ms" in team.pai("why", "v").out
    assert "forfeited, all 1,300 charged: restart, no answer" in team.pai("why", "f").out
    assert "flash: in flight\n" in team.pai("why", "o").out
    assert why(team, "o")[0]["outcome"] == {"state": "open"}


@DAEMON
def test_fallback_is_told_decision_by_decision(team: Site, daemon: bool) -> None:
    """A request that was refused on one binding, failed on the next and went through on a third has three decisions."""
    sonnet = version(team, "sonnet")
    record(
        team,
        refused("req_1", "nobody", reason="forbidden", needed=0, remaining=0),
        *(reserved("req_1", binding=version(team)), voided("req_1")),
        *(reserved("req_1", "sonnet", binding=sonnet), settled("req_1", "sonnet")),
    )
    with maybe_daemon(team, daemon):
        decisions = why(team, "req_1")
        out = team.pai("why", "req_1").out

    assert [(each["model"], each["decision"]) for each in decisions] == [
        ("nobody", "refused"),
        ("flash", "reserved"),
        ("sonnet", "reserved"),
    ]
    assert [each["outcome"] and each["outcome"]["state"] for each in decisions] == [None, "voided", "settled"]
    assert decisions[0]["binding"] is None
    headlines = [
        "nobody: refused (forbidden)",
        "flash: voided, 0 tokens charged",
        "sonnet: settled, 220 tokens charged",
    ]
    assert [line for line in out.splitlines()[1:] if line and line[0] != " "] == headlines
    assert "  binding   none of this name was in force\n" in out


def test_same_binding_twice_keeps_its_outcomes_apart(team: Site) -> None:
    """A second try on the same binding has its own outcome, and the first is no longer reserved."""
    at = version(team)
    record(team, reserved("r", binding=at), voided("r"), reserved("r", binding=at), settled("r"))

    assert [each["outcome"]["state"] for each in why(team, "r")] == ["voided", "settled"]
    assert [each["budget"]["reserved"] for each in why(team, "r")] == [0, 0]


def test_refused_request_names_the_limit_that_refused_it(team: Site) -> None:
    """Reason, needed and remaining, and the binding as of that position; also for one of several counted together."""
    before = team.bare("rev-parse", "main")
    record(team, refused("req_1"), refused("req_2", needed=2_000, remaining=1_500, others=("req_3", "req_4")))
    halve(team)

    out = team.pai("why", "req_1").out
    assert "flash: refused (day-budget)\n" in out
    assert "  budget    1,300 needed, 12 remaining of 1,000,000 (maxTokensPerDay)\n" in out
    assert f"  commit    {before[:7]} The team's bindings\n" in out
    out = team.pai("why", "req_3").out
    assert "one of 3 alike within a minute; the figures are those of the last" in out
    assert "2,000 needed, 1,500 remaining" in out


def test_refusal_by_the_requests_own_limit_points_at_that_limit(team: Site) -> None:
    """What was over maxTokensPerRequest is told with that field's value and line."""
    text = binding("flash", 1_000_000).replace("  apiKey", "  maxTokensPerRequest: 1000\n  apiKey")
    team.pai("apply", "-f", "-", "-m", "Small requests", stdin=text)
    record(team, refused("req_1", reason="request-budget", needed=5_000, remaining=1_000))

    out = team.pai("why", "req_1").out

    assert "  budget    5,000 needed, 1,000 remaining of 1,000 (maxTokensPerRequest)\n" in out
    assert "  limit     maxTokensPerRequest 1,000\n" in out
    (place,) = [line.split()[1] for line in out.splitlines() if line.startswith("  place")]
    number = int(place.removeprefix("models/flash.yaml:"))
    assert "maxTokensPerRequest" in team.bare("show", "main:models/flash.yaml").splitlines()[number - 1]


def test_deleted_binding_was_not_in_force(team: Site) -> None:
    """A refusal after the binding was deleted does not tell of the version before."""
    team.pai("delete", "agent", "my-agent")
    team.pai("delete", "model", "flash")
    record(team, refused("req_1", reason="forbidden", needed=0, remaining=0))

    assert "none of this name was in force" in team.pai("why", "req_1").out


@DAEMON
def test_unknown_request_is_not_found(team: Site, daemon: bool) -> None:
    """Exit 1, nothing on stdout; a part of an id is not the id."""
    record(team, reserved("req_12"), settled("req_12"))
    with maybe_daemon(team, daemon):
        for request in ("req_1", "req_123", "flash", 'req"\\', "req_\u00e9"):
            done = team.pai("why", request, code=1)
            assert done.out == ""
            assert done.err.startswith("error: there is no request")
        team.pai("why", "", code=2)
