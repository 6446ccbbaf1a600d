"""`pai log` as a process: errors that point into the query, formats, and following."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support import DEADLINE_S, PAI, Site, binding, maybe_daemon


class Follower:
    """`pai log --follow` as a process whose lines are read as they come."""

    def __init__(self, site: Site, *words: str) -> None:
        self.process = subprocess.Popen(
            [PAI, "log", "--follow", *words],
            cwd=site.root,
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        self._rest = b""

    def line(self) -> str:
        """Give the next line; fail when none comes in time."""
        deadline = time.monotonic() + DEADLINE_S
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.out], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "no line came"
            got = os.read(self.out.fileno(), 65536)
            assert got, "the follower ended"
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def until(self, text: str) -> list[str]:
        """Give the lines up to and with the first that holds a text."""
        lines = [self.line()]
        while text not in lines[-1]:
            lines.append(self.line())
        return lines


@contextlib.contextmanager
def following(site: Site, *words: str) -> Iterator[Follower]:
    """Have a follower run, and nothing of it left."""
    follower = Follower(site, *words)
    try:
        yield follower
    finally:
        follower.process.kill()
        follower.process.communicate()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["type:binding", "modle:flash"], ["  type:binding modle:flash", "               ^^^^^"]),
        (["-colour:red"], ["  -colour:red", "   ^^^^^^"]),
        (["model:flash", "since:soon"], ["  model:flash since:soon", "                    ^^^^"]),
        (["flash"], ["  flash", "  ^^^^^"]),
        (["-since:7d"], ["  -since:7d", "  ^"]),
    ],
)
@pytest.mark.parametrize("verb", ["log", "usage"])
def test_broken_query_points_at_the_part_that_is_wrong(
    team: Site, verb: str, words: list[str], shown: list[str]
) -> None:
    """Exit 2; the query and a caret under the part stand between `error:` and `hint:`; stdout stays empty."""
    done = team.pai(verb, *words, code=2)

    lines = done.err.splitlines()
    assert lines[1:-1] == shown
    assert [line.partition(":")[0] for line in (lines[0], lines[-1])] == ["error", "hint"]
    assert done.out == ""


def test_formats_hold_the_same_events(team: Site) -> None:
    """One array, one object a line and CSV have the same rows with the fields of the contract; limit and order too."""
    rows = team.pai("log", "type:binding", "-o", "json").json
    lines = team.pai("log", "type:binding", "-o", "jsonl").out.splitlines()
    cells = list(csv.DictReader(io.StringIO(team.pai("log", "type:binding", "-o", "csv").out)))

    assert list(rows[0]) == ["seq", "time", "type", "actor", "subject", "data", "id", "leafHash"]
    assert [json.loads(line) for line in lines] == rows
    assert [{**row, "seq": int(row["seq"]), "data": json.loads(row["data"])} for row in cells] == rows
    assert [row["seq"] for row in rows] == sorted((row["seq"] for row in rows), reverse=True)
    assert team.pai("log", "type:binding", "--reverse", "-o", "json").json == rows[::-1]
    assert team.pai("log", "type:binding", "--limit", "1", "-o", "json").json == rows[:1]
    assert team.pai("log", "type:nothing", "-o", "json").out == "[]\n"
    assert team.pai("log", "type:nothing").out == ""


def test_terms_may_come_as_one_text(team: Site) -> None:
    """Words that all look like terms are taken apart; a value with blanks in one argument stays a value."""
    apart = team.pai("log", "type:binding", "-model:flash", "-o", "json").json

    assert team.pai("log", "type:binding -model:flash", "-o", "json").json == apart
    assert len(apart) == 1
    assert team.pai("log", "path:my own.yaml", "-o", "json").json == []


def test_follow_begins_with_what_there_is_and_goes_on_across_restarts(team: Site) -> None:
    """History comes oldest first, then every event once, whoever writes: a command, a daemon, the next daemon."""
    before = team.pai("log", "type:binding", "--reverse", "-o", "jsonl").out.splitlines()
    with following(team, "type:binding", "-o", "jsonl") as follower:
        assert [follower.line() for _ in before] == before
        team.pai("apply", "-f", "-", stdin=binding("flash", 5))
        assert json.loads(follower.line())["data"]["spec"]["maxTokensPerDay"] == 5
        for budget in (6, 7):
            with team.daemon():
                team.pai("apply", "-f", "-", stdin=binding("flash", budget))
                assert json.loads(follower.line())["data"]["spec"]["maxTokensPerDay"] == budget
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(DEADLINE_S) in (0, 130)
        assert follower.process.stderr is not None
        assert follower.process.stderr.read() == b""


def test_follow_with_a_limit_begins_with_the_newest(team: Site) -> None:
    """The newest N that match come first, oldest of them first."""
    newest = team.pai("log", "--limit", "2", "-o", "jsonl").out.splitlines()
    with following(team, "--limit", "2", "-o", "jsonl") as follower:
        assert [follower.line(), follower.line()] == newest[::-1]


def test_follow_waits_for_a_log_that_is_missing_for_a_moment(team: Site) -> None:
    """The file moved away and back again, also to another inode: said once, nothing lost, nothing twice."""
    with following(team, "type:binding") as follower:
        follower.until("model/sonnet")
        away = team.database.with_name("away.db")
        team.database.rename(away)
        assert follower.process.stderr is not None
        said = follower.process.stderr.readline()
        assert said == b"the log cannot be read now; waiting for it\n"
        team.database.write_bytes(away.read_bytes())
        team.pai("apply", "-f", "-", stdin=binding("flash", 5))
        assert "1,000,000 -> 5" in follower.line()


def test_follow_says_that_the_log_is_another_one_and_goes_on(team: Site) -> None:
    """A log put back from before what was read is followed on, and that is said."""
    old = team.database.read_bytes()
    with following(team, "type:binding") as follower:
        team.pai("apply", "-f", "-", stdin=binding("flash", 5))
        follower.until("1,000,000 -> 5")
        new = team.database.with_name("old.db")
        new.write_bytes(old)
        for beside in ("-wal", "-shm"):
            team.database.with_name(team.database.name + beside).unlink(missing_ok=True)
        new.rename(team.database)
        assert follower.process.stderr is not None
        assert b"is not the log that was followed" in follower.process.stderr.readline()
        team.pai("verify", "--accept")
        team.pai("apply", "-f", "-", stdin=binding("flash", 7))
        follower.until("5 -> 7")


@pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])
def test_follow_ends_when_nobody_reads(team: Site, daemon: bool) -> None:
    """A closed pipe ends it at once, quietly, although no event comes."""
    with maybe_daemon(team, daemon), following(team, "type:binding") as follower:
        follower.until("model/sonnet")
        follower.out.close()
        assert follower.process.wait(DEADLINE_S) == 0
        assert follower.process.stderr is not None
        assert follower.process.stderr.read() == b""


def test_follow_of_an_array_is_refused(team: Site) -> None:
    """An array that never ends helps nobody: exit 2, the hint names jsonl."""
    assert "jsonl" in team.pai("log", "--follow", "-o", "json", code=2).err


@pytest.mark.parametrize("verb", ["log", "usage"])
def test_name_that_the_log_does_not_know_is_said(team: Site, verb: str) -> None:
    """An empty answer may be a mistyped name: which one stands on stderr, and so does one that is excluded."""
    assert "the log knows no model flsh" in team.pai(verb, "model:flsh").err
    assert "the log knows no type bindng" in team.pai(verb, "type:bindng", "model:flash").err
    assert "the log knows no agent nobody" in team.pai(verb, "model:flash", "-agent:nobody").err
    assert "knows no" not in team.pai(verb, "model:flash", "until:2020-01-01").err
    assert team.pai("log", "model:flsh", "-o", "json").json == []
    assert "knows no" not in team.pai("log", "model:flash").err


@pytest.mark.parametrize("verb", ["log", "usage"])
@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (["model:flash", "until:2020-01-01"], ""),
        (["model:flash", "revision:0123456", "-type:nothing"], "no revision 0123456; the log knows no type nothing"),
        (["model:flsh", "agent:nobody"], "no model flsh; the log knows no agent nobody"),
    ],
)
def test_empty_table_is_one_line_on_stderr(team: Site, verb: str, terms: list[str], said: str) -> None:
    """What programs read says that it is empty by itself."""
    done = team.pai(verb, *terms)
    wanted = f"the log knows {said}" if said else {"log": "no events match", "usage": "no tokens were spent"}[verb]
    assert (done.out, done.err) == ("", f"{wanted}\n")
    for form in ("json", "csv"):
        assert team.pai(verb, *terms, "-o", form).err == ""


@pytest.mark.parametrize("limit", ["0", "-1", "1_0", "1e3", "٣", "99999999999999999999", "many"])
def test_limit_is_a_number_in_plain_digits_with_bounds(team: Site, limit: str) -> None:
    """Wrong usage, not a stack trace."""
    assert "--limit" in team.pai("log", f"--limit={limit}", code=2).err
