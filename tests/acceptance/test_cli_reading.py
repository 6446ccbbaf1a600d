"""Commands that read: get, describe, status, log, verify. The same with and without a running daemon."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from typing import Any

import pytest
import yaml

from tests.support import BAD, Site, agent, binding


def test_get_lists_and_shows_one_in_the_contracts_shape(either: Site) -> None:
    """A list is {apiVersion, kind, items}, one NAME the object itself: the manifest plus status."""
    listing = either.pai("get", "models", "-o", "json").json
    assert (listing["apiVersion"], listing["kind"]) == ("v1", "List")
    assert [item["metadata"]["name"] for item in listing["items"]] == ["flash", "sonnet"]
    item = either.pai("get", "model", "flash", "-o", "json").json
    assert item == listing["items"][0]
    assert (item["apiVersion"], item["kind"]) == ("pai.io/v1", "ModelBinding")
    status = item["status"]
    resets = status.pop("resetsAt")
    assert resets.endswith("T00:00:00Z")
    assert status == {
        "usedTokensToday": 0,
        "reservedTokens": 0,
        "remainingTokens": 1_000_000,
        "revision": either.bare("rev-parse", "main"),
        "source": {"path": "models/flash.yaml", "line": 1},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Resolved", "message": ""}],
    }
    assert "remainingTokens" not in either.pai("get", "models", "sonnet", "-o", "json").json["status"]
    (found,) = either.pai("get", "agents", "-o", "json").json["items"]
    assert found["spec"] == {"modelBindings": ["flash", "sonnet"]}
    assert found["kind"] == "AgentWorkload"


def test_get_formats_agree(team: Site) -> None:
    """YAML reads back as the values of JSON; name prints resource/NAME; wide has more columns than table."""
    for kind in ("models", "agents", "secrets"):
        assert yaml.safe_load(team.pai("get", kind, "-o", "yaml").out) == team.pai("get", kind, "-o", "json").json
    assert team.pai("get", "models", "-o", "name").out == "modelbinding.pai.io/flash\nmodelbinding.pai.io/sonnet\n"
    assert team.pai("get", "agents", "-o", "name").out == "agentworkload.pai.io/my-agent\n"
    table, wide = team.pai("get", "models").out.splitlines(), team.pai("get", "models", "-o", "wide").out.splitlines()
    assert table[0].split()[:3] == ["NAME", "PROVIDER", "MODEL"]
    assert len(table) == len(wide) == 3
    assert "models/flash.yaml:1" in wide[1]
    assert "1,000,000" in table[1]
    assert team.pai("get", "secrets").out.splitlines()[1].split() == ["gemini-key", "api-key"]
    assert "canary" not in "".join(team.outputs)


def test_status_and_describe_take_the_formats_of_get(team: Site) -> None:
    """Table and wide are for people, name prints resource/NAME, JSON and YAML are the same values."""
    for words in (
        ["status"],
        ["status", "my-agent"],
        ["describe", "model", "flash"],
        ["describe", "agent", "my-agent"],
    ):
        text = team.pai(*words).out
        assert team.pai(*words, "-o", "table").out == team.pai(*words, "-o", "wide").out == text
        assert yaml.safe_load(team.pai(*words, "-o", "yaml").out) == team.pai(*words, "-o", "json").json
    names = ["modelbinding.pai.io/flash", "modelbinding.pai.io/sonnet"]
    assert (
        team.pai("status", "-o", "name").out.split()
        == team.pai("status", "my-agent", "-o", "name").out.split()
        == names
    )
    assert team.pai("describe", "agent", "my-agent", "-o", "name").out == "agentworkload.pai.io/my-agent\n"
    assert team.pai("describe", "model", "flash", "-o", "name").out == "modelbinding.pai.io/flash\n"


def test_get_of_nobody_is_not_found(team: Site) -> None:
    """Exit 1, nothing on stdout, the nearest name as a hint."""
    done = team.pai("get", "models", "flsh", code=1)
    assert done.out == ""
    assert "flash" in done.err
    for words in (["get", "secrets", "x"], ["describe", "agent", "x"], ["describe", "model", "x"], ["status", "x"]):
        assert "there is no" in team.pai(*words, code=1).err


def test_get_of_an_empty_workspace_is_an_empty_list(site: Site) -> None:
    """Nothing in force is no error."""
    assert site.pai("get", "models", "-o", "json").json == {"apiVersion": "v1", "kind": "List", "items": []}
    assert site.pai("get", "agents", "-o", "name").out == ""
    done = site.pai("get", "secrets")
    assert done.out == ""
    assert "no secrets" in done.err


def test_describe_tells_everything_of_one_thing(either: Site) -> None:
    """Spec, conditions, place and the last changes with commit and author."""
    either.pai("apply", "-f", "-", stdin=binding("flash", 5))
    text = either.pai("describe", "model", "flash").out
    for part in ("gemini-2.0-flash", "models/flash.yaml:1", "Ready", "maxTokensPerDay 1,000,000 -> 5", "alice@"):
        assert part in text
    whole = either.pai("describe", "model", "flash", "-o", "json").json
    assert [row["type"] for row in whole["changes"]] == ["binding.changed.v1", "binding.created.v1"]
    assert whole["spec"]["maxTokensPerDay"] == 5
    assert "flash, sonnet" in either.pai("describe", "agent", "my-agent").out


def test_values_are_written_as_yaml_writes_them(team: Site) -> None:
    """Mappings, lists, booleans and nothing look the same in `pai log` and `pai describe` as in a manifest."""
    more = "  env: {NAME: x, debug: true}\n  flags: [true, null, 1000]\n  ports: [{port: 80}]\n"
    team.pai("apply", "-f", "-", stdin=agent("my-agent", "flash") + more)
    line = team.pai("log", "type:agent.changed").out
    assert "env none -> {NAME: x, debug: true}, flags none -> [true, none, 1,000]" in line
    assert "ports none -> [{port: 80}]" in line
    text = team.pai("describe", "agent", "my-agent").out
    assert "  flags: true, none, 1,000\n" in text
    assert "  ports: [{port: 80}]\n" in text


def test_status_of_an_agent_is_word_for_word(either: Site) -> None:
    """The lines of the contract: figures with separators, the budget if there is one, why a binding cannot serve."""
    assert either.pai("status", "my-agent").out == (
        "Models:\n"
        "- flash (gemini / gemini-2.0-flash) — 0 / 1,000,000 tokens today\n"
        "- sonnet (anthropic / claude-sonnet-4-6) — 0 tokens today\n"
    )
    either.pai("add", "secret", "other", "--from-literal", "x=y")
    either.pai("add", "model", "bare", "--provider", "openai", "--api-key", "other:token", "--max-tokens-day", "12345")
    either.pai("add", "agent", "second", "--model", "bare", "--model", "flash")
    assert either.pai("status", "second").out == (
        "Models:\n"
        "- bare (openai / gpt-4o) — 0 / 12,345 tokens today — not ready: secret other has no key token\n"
        "- flash (gemini / gemini-2.0-flash) — 0 / 1,000,000 tokens today\n"
    )


def test_status_as_json_has_the_contracts_fields(either: Site) -> None:
    """{revision, head, ready, reasons, models}; a refused head differs from the revision and is a reason."""
    good = either.bare("rev-parse", "main")
    status = either.pai("status", "-o", "json").json
    assert list(status) == ["revision", "head", "ready", "reasons", "models"]
    assert (status["revision"], status["head"], status["ready"], status["reasons"]) == (good, good, True, [])
    assert [item["metadata"]["name"] for item in status["models"]] == ["flash", "sonnet"]
    (either.root / "config.git" / "hooks" / "pre-receive").unlink()
    bad = either.clone().pushed({"models/bad.yaml": BAD})
    either.pai("reconcile", code=1)
    status = either.pai("status", "-o", "json").json
    assert (status["revision"], status["head"], status["ready"]) == (good, bad, True)
    assert any(bad[:7] in reason for reason in status["reasons"])
    assert yaml.safe_load(either.pai("status", "-o", "yaml").out).keys() == status.keys()
    text = either.pai("status").out
    assert good in text
    assert bad in text


def test_status_tells_that_the_branch_is_gone(either: Site) -> None:
    """A repository that lost its branch, or was made anew, is a source that cannot be read; the state stays."""
    good = either.bare("rev-parse", "main")
    either.bare("update-ref", "-d", "refs/heads/main")
    either.pai("reconcile", code=3)
    status = either.pai("status", "-o", "json").json
    assert (status["revision"], status["ready"]) == (good, True)
    (reason,) = status["reasons"]
    assert "branch main does not exist" in reason


def test_log_is_newest_first_and_one_line_an_event(either: Site) -> None:
    """Positions fall by one; --reverse turns them round; --limit means the newest; every event is one line."""
    lines = either.pai("log").out.splitlines()
    positions = [int(line.split()[0]) for line in lines]
    assert positions == list(range(len(lines) - 1, -1, -1))
    assert either.pai("log", "--reverse").out.splitlines() == lines[::-1]
    assert either.pai("log", "--limit", "2").out.splitlines() == lines[:2]
    assert either.pai("log", "--limit", "2", "--reverse").out.splitlines() == lines[1::-1]
    assert len(either.pai("log", "--limit", "1", "type:binding").out.splitlines()) == 1


def test_log_rows_have_the_contracts_fields(either: Site) -> None:
    """JSON is one array, jsonl one object a line, with seq, time, type, actor, subject, data, id and leafHash."""
    rows = either.pai("log", "-o", "json").json
    assert list(rows[0]) == ["seq", "time", "type", "actor", "subject", "data", "id", "leafHash"]
    assert [json.loads(line) for line in either.pai("log", "-o", "jsonl").out.splitlines()] == rows
    created = next(row for row in rows if row["type"] == "binding.created.v1" and row["subject"] == "model/flash")
    assert (created["actor"], created["data"]["file"], created["data"]["line"]) == (
        "alice@example.com",
        "models/flash.yaml",
        1,
    )
    assert created["data"]["revision"] == either.bare("rev-parse", "main")
    assert created["data"]["changed"] == []
    assert len(created["leafHash"]) == 64
    assert either.pai("log", "type:nothing", "-o", "json").json == []


def test_log_terms_narrow_and_exclude(team: Site) -> None:
    """All terms must hold; -TERM excludes; revisions are matched by prefix, types too."""
    team.environment["GIT_AUTHOR_EMAIL"] = "carol@example.com"
    team.pai("apply", "-f", "-", stdin=binding("flash", 5))
    sha = team.bare("rev-parse", "main")

    def find(*terms: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = team.pai("log", "-o", "json", *terms).json
        return rows

    assert {row["type"] for row in find("type:binding")} == {"binding.created.v1", "binding.changed.v1"}
    assert [row["subject"] for row in find("model:flash")] == ["model/flash"] * 2
    assert [row["subject"] for row in find("agent:my-agent")] == ["agent/my-agent"]
    assert [row["type"] for row in find(f"revision:{sha[:8]}")] == ["revision.accepted.v1", "binding.changed.v1"]
    assert {row["actor"] for row in find("actor:carol@example.com")} == {"carol@example.com"}
    assert [row["type"] for row in find("field:maxTokensPerDay")] == ["binding.changed.v1"]
    assert {row["data"]["file"] for row in find("path:models/sonnet.yaml")} == {"models/sonnet.yaml"}
    assert [row["type"] for row in find("model:flash", "-actor:carol@example.com")] == ["binding.created.v1"]
    assert [row["type"] for row in find("-type:binding", "model:flash")] == []
    assert len(find("since:1h")) == len(find()) == len(find("since:2020-01-01", "until:2999-01-01T00:00:00Z"))
    assert find("until:2020-01-01") == find("since:2999-01-01") == []


def test_log_csv_cannot_carry_formulas(site: Site) -> None:
    """Cells that a spreadsheet would run get a leading quote; what people wrote is otherwise kept."""
    site.environment["GIT_AUTHOR_EMAIL"] = "=cmd|' /C calc'!A0"
    site.clone().pushed({"models/a.yaml": binding("a")}, "+SUM(1)")
    site.pai("reconcile")
    rows = list(csv.reader(io.StringIO(site.pai("log", "-o", "csv").out)))
    assert rows[0] == ["seq", "time", "type", "actor", "subject", "data", "id", "leafHash"]
    assert all(len(row) == len(rows[0]) for row in rows)
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@")]
    assert any(cell.startswith("'=cmd") for row in rows for cell in row)


def test_log_lines_cannot_steer_a_terminal(site: Site) -> None:
    """Control characters in messages and names are escaped in tables."""
    site.environment["GIT_AUTHOR_NAME"] = "Mallory\x1b[31m"
    site.clone().pushed({"models/a.yaml": binding("a")}, "red \x1b[31malert\x07 \u202eback")
    site.pai("reconcile")
    for words in (["log"], ["describe", "model", "a"], ["status"], ["get", "models", "-o", "wide"]):
        out = site.pai(*words).out
        assert not {"\x1b", "\x07", "\u202e"} & set(out), words


def test_log_shows_one_readable_line_an_event(site: Site) -> None:
    """A message of a thousand words and an author of fifty are cut in lines, and whole as data."""
    clone = site.clone()
    clone.environment["GIT_AUTHOR_EMAIL"] = f"{'long' * 50}@example.com"
    message = "words " * 1000
    clone.pushed({"models/a.yaml": binding("a")}, message)
    site.pai("reconcile")
    for words in (["log"], ["describe", "model", "a"]):
        assert max(map(len, site.pai(*words).out.splitlines())) < 300, words
    (row,) = site.pai("log", "type:revision", "-o", "json").json
    assert row["data"]["message"].strip() == message.strip()
    assert row["actor"] == clone.environment["GIT_AUTHOR_EMAIL"]


@pytest.mark.parametrize("field", ["provider: aws", "provider: [a]\n  model: {b: c}", "maxTokensPerDay: lots"])
def test_agents_own_fields_are_neither_a_model_nor_a_limit_of_one(site: Site, field: str) -> None:
    """An agent's spec may hold whatever else, also under names that mean something on a binding."""
    clone = site.clone()
    manifest = agent("x", "a") + f"  {field}\n  maxTokensPerRequest: 5000\n"
    clone.pushed(
        {"models/a.yaml": binding("a"), "x.yaml": manifest + "  maxTokensPerDay: 7000\n" * ("Day" not in field)}
    )
    site.pai("reconcile")
    for words in (["log", "type:agent"], ["describe", "agent", "x"]):
        line = next(line for line in site.pai(*words).out.splitlines() if "x.yaml:1  " in line)
        assert "  a  " in line
        assert "7,000" not in line


def test_verify_agrees_with_a_sound_log(either: Site) -> None:
    """Exit 0 and the number of events."""
    assert either.pai("verify").out.startswith(f"ok: {either.state().position:,} events")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'flash', 'flesh') AS BLOB) WHERE seq = 2",
        "DELETE FROM events WHERE seq = 2",
        "UPDATE rows SET body = CAST(replace(CAST(body AS TEXT), '1000000', '9000000') AS BLOB)",
    ],
    ids=["changed", "deleted", "projection"],
)
def test_verify_finds_damage_and_exits_1(team: Site, damage: str) -> None:
    """Bytes changed behind Pai's back are found; the first bad position is named; the way out is told."""
    database = sqlite3.connect(team.database)
    guards = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    for name in guards:
        database.execute(f'DROP TRIGGER "{name}"')
    changed = database.execute(damage).rowcount
    database.commit()
    database.close()
    assert changed > 0
    done = team.pai("verify", code=1)
    assert "error:" in done.err
    if "seq = 2" in damage:
        assert "position 2" in done.out


def test_reading_needs_no_lock(team: Site) -> None:
    """While somebody holds the log for writing, reading commands answer all the same."""
    with team.daemon():
        for words in (["get", "models"], ["status"], ["log"], ["describe", "agent", "my-agent"], ["verify"]):
            team.pai(*words)


def test_agent_order_is_the_order_of_preference(team: Site) -> None:
    """Models of an agent are shown in the manifest's order, not by name."""
    team.pai("apply", "-f", "-", stdin=agent("my-agent", "sonnet", "flash"))
    assert [line[2:8] for line in team.pai("status", "my-agent").out.splitlines()[1:]] == ["sonnet", "flash "]
