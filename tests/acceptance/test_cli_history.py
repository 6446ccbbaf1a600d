"""`pai history`, `pai blame`, and `--at WHEN`: what was in force, since when, and by whom."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support import BAD, Site, agent, binding
from tests.support_tokens import record, reserved, settled

CAROL = {"GIT_AUTHOR_NAME": "Carol", "GIT_AUTHOR_EMAIL": "carol@example.com"}


def halve(site: Site, budget: int = 500_000) -> str:
    """Have Carol change the budget of flash, and give the commit."""
    site.pai("apply", "-f", "-", "-m", f"Budget {budget}", stdin=binding("flash", budget), env=CAROL)
    return site.bare("rev-parse", "main")


def models(site: Site, when: str) -> dict[str, Any]:
    """Give the budgets of the models that were in force."""
    items = site.pai("get", "models", "--at", when, "-o", "json").json["items"]
    return {item["metadata"]["name"]: item["spec"].get("maxTokensPerDay") for item in items}


def test_history_has_every_version_with_who_where_and_what(either: Site) -> None:
    """Newest first: commit, author, time, place of the field, old and new; also of a deleted one that came back."""
    first = either.bare("rev-parse", "main")
    second = halve(either)
    either.pai("delete", "agent", "my-agent")
    either.pai("delete", "model", "flash")
    either.pai("apply", "-f", "-", stdin=binding("flash", 7))

    found = either.pai("history", "model", "flash", "-o", "json").json
    assert (found["kind"], found["name"]) == ("model", "flash")
    versions = found["versions"]
    assert [version["change"] for version in versions] == ["created", "deleted", "changed", "created"]
    assert [versions[3]["commit"], versions[2]["commit"]] == [first, second]
    changed = versions[2]
    assert changed["author"] == "Carol <carol@example.com>"
    assert changed["message"] == "Budget 500000"
    assert changed["changes"] == [{"field": "maxTokensPerDay", "old": 1_000_000, "new": 500_000, "line": 8}]
    fields = ["apiKeySecretRef.key", "apiKeySecretRef.name", "maxTokensPerDay", "model", "provider"]
    assert [change["field"] for change in versions[0]["changes"]] == fields
    table = either.pai("history", "model", "flash").out
    assert re.search(
        rf"\n *\d+   2\S+ \S+   {second[:7]}   Carol <carol@example.com>   models/flash.yaml:8 +"
        r"maxTokensPerDay 1,000,000 -> 500,000\n",
        table,
    )


def test_history_tells_labels(team: Site) -> None:
    """A label is a field of a version, with its value before."""
    for text in ("a", "b"):
        labelled = binding("flash", 1_000_000).replace(
            "name: flash\n", f"name: flash\n  labels:\n    team: {text}\n", 1
        )
        team.pai("apply", "-f", "-", stdin=labelled)
    newest = team.pai("history", "model", "flash", "-o", "json").json["versions"][0]
    assert [(c["field"], c["old"], c["new"]) for c in newest["changes"]] == [("metadata.labels.team", "a", "b")]


def test_blame_names_the_commit_that_set_each_field(either: Site) -> None:
    """A field has the commit that gave it its value, also when others changed since; a change back is a change."""
    first = either.bare("rev-parse", "main")
    halve(either)
    back = halve(either, 1_000_000)
    last = halve(either, 4)
    either.pai("apply", "-f", "-", stdin=binding("flash", 4, model="gemini-2.5-pro"))
    newest = either.bare("rev-parse", "main")

    found = either.pai("blame", "model", "flash", "-o", "json").json["fields"]
    assert {each["field"]: each["commit"] for each in found} == {
        "provider": first,
        "model": newest,
        "maxTokensPerDay": last,
        "apiKeySecretRef.name": first,
        "apiKeySecretRef.key": first,
    }
    assert back != last
    assert {each["field"]: (each["file"], each["line"]) for each in found} == {
        "provider": ("models/flash.yaml", 6),
        "model": ("models/flash.yaml", 7),
        "maxTokensPerDay": ("models/flash.yaml", 8),
        "apiKeySecretRef.name": ("models/flash.yaml", 9),
        "apiKeySecretRef.key": ("models/flash.yaml", 9),
    }
    budget = next(each for each in found if each["field"] == "maxTokensPerDay")
    assert (budget["value"], budget["author"]) == (4, "Carol <carol@example.com>")
    lines = either.pai("blame", "model", "flash").out.splitlines()
    assert lines[0].split() == ["FIELD", "VALUE", "COMMIT", "AUTHOR", "TIME", "PLACE"]
    assert len(lines) == 6
    (only,) = either.pai("blame", "agent", "my-agent", "-o", "json").json["fields"]
    assert (only["field"], only["value"], only["line"]) == ("modelBindings", ["flash", "sonnet"], 6)


def test_nobody_has_no_history(team: Site) -> None:
    """Exit 1 with the nearest name; what is gone has a history, but nothing to blame."""
    for verb in ("history", "blame"):
        assert "did you mean flash?" in team.pai(verb, "model", "flsh", code=1).err
        assert "there is no agent x" in team.pai(verb, "agent", "x", code=1).err
    team.pai("delete", "agent", "my-agent")
    team.pai("history", "agent", "my-agent")
    assert "pai history agent my-agent" in team.pai("blame", "agent", "my-agent", code=1).err


def test_at_shows_what_was_in_force(either: Site) -> None:
    """Position, commit (whole or its beginning), time, and the default: now."""
    first = either.bare("rev-parse", "main")
    accepted = either.rows("type:revision.accepted")[-1]
    second = halve(either)
    changed = either.rows("type:binding.changed")[-1]
    halve(either, 7)

    old, new = {"flash": 1_000_000, "sonnet": None}, {"flash": 500_000, "sonnet": None}
    for when in (first, first[:7], first[:12].upper(), f"#{accepted['seq']}", accepted["time"]):
        assert models(either, when) == old, when
    just_before = datetime.fromisoformat(changed["time"]) - timedelta(microseconds=1)
    assert models(either, just_before.isoformat()) == old
    for when in (second[:7], f"#{changed['seq']}", changed["time"], f"#{changed['seq'] + 1}"):
        assert models(either, when) == new, when
    assert models(either, "0s")["flash"] == 7
    item = either.pai("get", "model", "flash", "--at", first, "-o", "json").json
    assert item["status"]["revision"] == first
    assert item["status"]["conditions"][0]["status"] == "True" or "gemini-key" in str(item)


def test_at_counts_the_tokens_of_that_day(team: Site) -> None:
    """Usage is that of the day of the moment, as it was then."""
    first = record(team, reserved("a"), settled("a", input=40, output=2), reserved("b"))
    record(team, settled("b", charged=5_000))

    then = team.pai("get", "model", "flash", "--at", f"#{first + 2}", "-o", "json").json["status"]
    assert (then["usedTokensToday"], then["reservedTokens"]) == (42, 1300)
    assert (
        "42 / 1,000,000 tokens today (+1,300 reserved)" in team.pai("status", "my-agent", "--at", f"#{first + 2}").out
    )


def test_describe_and_status_at_a_moment(either: Site) -> None:
    """Describe knows no later change, status the revision and whether the head was refused then."""
    first = either.bare("rev-parse", "main")
    accepted = either.rows("type:revision.accepted")[-1]["seq"]
    halve(either)

    then = either.pai("describe", "model", "flash", "--at", first[:8], "-o", "json").json
    assert [change["type"] for change in then["changes"]] == ["binding.created.v1"]
    assert then["spec"]["maxTokensPerDay"] == 1_000_000
    status = either.pai("status", "--at", f"#{accepted}", "-o", "json").json
    assert (status["revision"], status["head"], status["ready"]) == (first, first, True)
    assert f"Revision: {first}" in either.pai("status", "--at", first).out
    assert either.pai("status", "second", "--at", first, code=1).out == ""


@pytest.mark.parametrize(
    ("when", "code", "said"),
    [
        ("#100000", 1, "there is no #100000"),
        ("#x", 2, "cannot read the position"),
        ("yesterday", 2, "cannot read the moment"),
        ("2999-01-01", 2, "still to come"),
        ("2000-01-01", 1, "the log begins at"),
        ("0123456789abcdef", 1, "the log knows no commit 0123456789abcdef"),
    ],
)
@pytest.mark.parametrize("words", [["get", "models"], ["describe", "model", "flash"], ["status"]], ids=" ".join)
def test_moment_that_never_was_says_why(team: Site, words: list[str], when: str, code: int, said: str) -> None:
    """The error says what is wrong with WHEN, the hint what to write."""
    done = team.pai(*words, "--at", when, code=code)
    assert said in done.err
    assert "hint: " in done.err
    assert done.out == ""


def test_commit_that_never_was_in_force_says_why(team: Site) -> None:
    """A refused commit, one that came with another, and a mistyped one: each with the way out."""
    good = team.bare("rev-parse", "main")
    clone = team.clone()
    skipped = clone.commit({"agents/second.yaml": agent("second", "flash")})
    bad = clone.commit({"models/bad.yaml": BAD})
    clone(
        "-c",
        "core.hooksPath=/dev/null",
        "push",
        "--quiet",
        "--receive-pack",
        "git -c core.hooksPath=/dev/null receive-pack",
        "origin",
        "HEAD:main",
    )
    team.run("reconcile")

    refused = team.pai("get", "models", "--at", bad[:10], code=1).err
    assert "was refused (models/bad.yaml:8:3 PAI209)" in refused
    seq = team.rows("type:revision.rejected")[-1]["seq"]
    assert f"--at '#{seq}'" in refused
    assert models(team, f"#{seq}") == {"flash": 1_000_000, "sonnet": None}
    outcomes = dict(team.outcomes())
    if outcomes.get(skipped) == "superseded":
        assert "was never in force" in team.pai("get", "models", "--at", skipped, code=1).err
    swapped = good[:4] + good[5] + good[4] + good[6:9]
    if swapped != good[:9]:
        assert f"did you mean {good[:9]}?" in team.pai("get", "models", "--at", swapped, code=1).err
