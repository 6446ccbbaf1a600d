"""What the daemon's log says of readiness and of refusals: one line for each, and not one for each of a thousand."""

from __future__ import annotations

import logging
import re

import pytest

from reconciler.core.health import Health
from reconciler.daemon.readiness_lines import ReadinessLines
from tests.support import Site, binding, until
from tests.support_gateway import Bench

REFUSED = re.compile(r"INFO pai\.gateway: refused: (.*)")


def lines(bench: Bench, word: str = "") -> list[str]:
    """Give what the daemon's log says of refusals."""
    return [line for line in REFUSED.findall(bench.daemon.log) if word in line]


def test_readiness_is_told_in_both_directions_with_the_reason(site: Site) -> None:
    """A daemon that has never read its source is not ready, and is once the repository is there."""
    repository = site.root / "config.git"
    away = repository.rename(site.root / "away.git")
    with site.daemon(ready=False) as daemon:
        until("the line", lambda: "WARNING pai.daemon: not ready: the source cannot be read: " in daemon.log)
        assert daemon.get("/readyz")[0] == 503
        away.rename(repository)
        until("readiness", lambda: daemon.get("/readyz")[0] == 200)
        found = until("the line", lambda: re.search(r"INFO pai\.daemon: not ready: .*; now: ready\n", daemon.log))
        assert "the source cannot be read" in found[0]
        assert daemon.log.count("WARNING pai.daemon: not ready: ") <= 2, "another reason is another line"
        assert daemon.log.count("; now: ready") == 1


def test_every_change_that_somebody_saw_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """However short it was; another reason is another line, and the next try of the same is none."""
    told = ReadinessLines()
    with caplog.at_level(logging.INFO):
        told.see(Health(False, ["the source has not been read yet"], "", ""))
        told.begin(Health(True, [], "", ""))
        for health in (
            Health(True, ["commit 1234567 is refused"], "", ""),
            Health(False, ["a (next try 1)"], "", ""),
            Health(False, ["a (next try 2)"], "", ""),
            Health(False, ["b"], "", ""),
            Health(True, [], "", ""),
        ):
            told.see(health)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["not ready: a (next try 1)", "not ready: b", "not ready: b; now: ready"]


def test_refusal_is_one_line_with_who_what_and_why(own: Bench) -> None:
    """Id, agent, binding, reason and status; repeats are counted, and told after a minute or at the end."""
    answers = [own.ask("chat", "openai-spent", say="canary-of-a-prompt", limit=100) for _ in range(5)]
    first, last = (answer.headers["x-pai-request-id"] for answer in (answers[0], answers[-1]))
    what = "agent robot binding openai-spent reason day-budget status 429"
    until("the line", lambda: lines(own))
    assert lines(own) == [f"request {first} {what}"]
    own.ask("chat", "no-such")
    own.daemon.stop()
    assert lines(own, "day-budget")[1:] == [f"4 more within a minute, last request {last} {what}"]
    assert len(lines(own, "agent robot binding no-such reason no-binding status 404")) == 1
    assert "canary-of-a-prompt" not in own.daemon.log


def test_strangers_and_inventive_agents_write_few_lines(own: Bench) -> None:
    """Whatever they name: keys nobody has, bindings that do not exist, lines of their own in a name."""
    for number in range(20):
        assert own.ask("chat", "openai", key=f"pak_invented{number}").status_code == 401
        assert own.ask("chat", f"invented-{number}\nWARNING forged").status_code == 404
        assert own.client.get(f"/v9/{number}").status_code == 404
    own.daemon.stop()
    assert len(lines(own)) == 6, "two for each kind"
    assert len(lines(own, "agent - binding - reason unauthenticated status 401")) == 2
    assert "pak_invented" not in own.daemon.log
    assert "\nWARNING forged" not in own.daemon.log


def test_secret_that_cannot_be_read_is_told_once_a_minute(own: Bench) -> None:
    """The line names the file for the operator, however often an agent asks."""
    own.daemon.stop()
    (own.site.root / "data" / "master.key").write_bytes(b"short")
    own.restart()
    for _ in range(5):
        assert own.ask("chat", "openai").status_code == 503
    until("the line", lambda: "binding openai is not ready: " in own.daemon.log)
    assert own.daemon.log.count("binding openai is not ready: ") == 1


def test_commit_that_is_refused_keeps_the_daemon_ready(site: Site) -> None:
    """A reason that is told beside readiness is no change of it."""
    clone = site.clone()
    clone.pushed({"a.yaml": binding("a")})
    with site.daemon() as daemon:
        until("a pass", lambda: daemon.get("/readyz")[0] == 200)
    assert "ready" not in daemon.log.replace("not ready: the source has not been read yet", "")
