"""The daemon tells the forge what became of each commit, loses nothing while it is away, and never waits for it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.support import BAD, Daemon, Git, Site, agent, binding, until
from tests.support_forges import KINDS, REPOSITORY, TOKEN, Answer, Fault, Request, StandIn

UNHOOKED = "--receive-pack=git -c core.hooksPath=/dev/null receive-pack"


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    """Give a running forge of each kind."""
    with StandIn(request.param).running() as running:
        yield running


@pytest.fixture
def github() -> Iterator[StandIn]:
    """Give a running forge."""
    with StandIn("github").running() as running:
        yield running


def daemon(site: Site, host: StandIn, **more: str) -> Daemon:
    """Give a daemon that tells this forge."""
    settings = {
        "PAI_FORGE_KIND": host.kind,
        "PAI_FORGE_API_URL": host.url,
        "PAI_FORGE_REPO": REPOSITORY,
        "PAI_FORGE_SECRET": "forge:api",
    }
    return site.daemon(env=settings | more)


def give_token(site: Site, token: str = TOKEN) -> None:
    """Store the forge's token as a secret."""
    site.pai("add", "secret", "forge", "--from-literal", "api=-", stdin=token)


def told(host: StandIn) -> list[tuple[str, str, str]]:
    """Give commit, state and description of all statuses, in order."""
    return [(sha, said["state"], said["description"]) for sha, said in host.statuses]


def await_told(host: StandIn, commit: str, count: int = 1) -> None:
    """Wait until a commit has got so many statuses."""
    until(f"the status of {commit}", lambda: [sha for sha, _ in host.statuses].count(commit) >= count)


def push(clone: Git, *options: str) -> None:
    """Push past the hook."""
    assert clone.push(UNHOOKED, *options, "HEAD:main").code == 0


def metrics(running: Daemon) -> dict[str, float]:
    """Read the forge's metrics."""
    found = re.findall(r"^(pai_forge_\w+) (\S+)$", running.get("/metrics")[1], re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_every_commit_gets_its_final_status(team: Site, host: StandIn) -> None:
    """In force, refused with the first problem, superseded by a force-push; where it begins is the last commit."""
    give_token(team)
    clone = team.clone()
    start = clone.head
    failed = "failed" if host.kind == "gitlab" else "failure"
    with daemon(team, host) as running:
        await_told(host, start)
        assert told(host) == [(start, "success", "in force: 3 created")]
        good = clone.pushed({"models/flash.yaml": binding("flash", 7), "models/n.yaml": binding("n", 1)})
        await_told(host, good)
        bad = clone.commit({"models/bad.yaml": BAD})
        push(clone)
        await_told(host, bad)
        assert told(host)[1] == (good, "success", "in force: 1 created, 1 changed")
        assert told(host)[2][:2] == (bad, failed)
        assert told(host)[2][2].startswith("refused: models/bad.yaml:8:3 PAI209 unknown field")

        clone("reset", "--quiet", "--hard", start)
        passed = clone.commit({"models/x.yaml": binding("x", 1)})
        last = clone.commit({"models/y.yaml": binding("y", 1)})
        push(clone, "--force")
        await_told(host, last)
        assert (passed, "success", f"superseded by {last[:7]}, not judged by itself") in told(host)
        wanted = {"statuses_total": 5, "skipped_total": 0, "waiting": 0, "up": 1}
        until("metrics", lambda: metrics(running) == {f"pai_forge_{name}": value for name, value in wanted.items()})
    assert {said["context"] for _, said in host.statuses} == {"pai"}


def test_forge_that_is_away_loses_nothing_and_blocks_nothing(team: Site, github: StandIn) -> None:
    """Pushes come into force meanwhile, readiness is as ever, `pai status` tells; all is told after a restart, once."""
    give_token(team)
    clone = team.clone()
    start = clone.head
    github.faults += [Fault(500)] * 10_000
    with daemon(team, github) as running:
        until("trouble", lambda: metrics(running)["pai_forge_up"] == 0)
        commits = [clone.pushed({"models/flash.yaml": binding("flash", n)}) for n in (1, 2, 3)]
        until("in force", lambda: team.state().revision == commits[-1])
        assert running.readiness() == (200, {"ready": True, "reasons": []})
        status = team.pai("status")
        assert "Ready:    yes" in status.out
        assert re.search(r"- commit statuses are not told to the forge: 127\S+ failed \(500: trouble\)", status.out)
        assert github.statuses == []
    github.faults.clear()
    with daemon(team, github):
        await_told(github, commits[-1])
    assert [(sha, said[:12]) for sha, _, said in told(github)] == [
        (start, "was in force"),
        (commits[0], "was in force"),
        (commits[1], "was in force"),
        (commits[2], "in force: 1 "),
    ]
    with daemon(team, github):
        after = clone.pushed({"models/flash.yaml": binding("flash", 9)})
        await_told(github, after)
    assert len(github.statuses) == 5, "nothing is told twice"


def test_commit_that_came_back_is_told_once(team: Site, github: StandIn) -> None:
    """Of several outcomes that wait, a commit's last one is what the forge is to show."""
    give_token(team)
    clone = team.clone()
    start = clone.head
    github.faults += [Fault(500)] * 10_000
    with daemon(team, github) as running:
        until("trouble", lambda: metrics(running)["pai_forge_up"] == 0)
        passed = clone.pushed({"models/flash.yaml": binding("flash", 1)})
        until("in force", lambda: team.state().revision == passed)
        clone("reset", "--quiet", "--hard", start)
        push(clone, "--force")
        until("back", lambda: team.state().revision == start)
    github.faults.clear()
    with daemon(team, github):
        await_told(github, start)
    assert [(sha, said.partition(":")[0]) for sha, _, said in told(github)] == [
        (passed, "was in force"),
        (start, "in force"),
    ]


def test_trouble_passes_without_a_restart(team: Site, github: StandIn) -> None:
    """The pause grows and ends; what waited is told."""
    give_token(team)
    github.faults += [Fault(403), Fault(0), Fault(503)]
    with daemon(team, github) as running:
        await_told(github, team.bare("rev-parse", "main"))
        until("no more trouble", lambda: metrics(running)["pai_forge_up"] == 1)


def test_wait_that_the_forge_asks_for_is_kept(team: Site, github: StandIn) -> None:
    """A rate limit is not tried against every second."""
    give_token(team)
    github.faults += [Fault(429, {"Retry-After": "6"})]
    with daemon(team, github):
        until("the limit", lambda: github.requests)
        limited = time.monotonic()
        await_told(github, team.bare("rev-parse", "main"))
        assert time.monotonic() - limited > 4
    assert len(github.requests) == 2


@pytest.mark.parametrize(("kind", "status"), [("github", 422), ("gitlab", 404), ("gitea", 404)])
def test_commit_that_the_forge_does_not_have_is_passed_over(team: Site, kind: str, status: int) -> None:
    """One commit of somebody's own does not keep the others from being told."""
    give_token(team)
    clone = team.clone()
    unknown = clone.head
    with StandIn(kind).running() as host:
        original = host._answer

        def answer(request: Request) -> Answer:
            if request.method == "POST" and unknown in request.path:
                return status, {"message": "No commit found"}, {}
            if request.method == "GET" and request.path.endswith((REPOSITORY, REPOSITORY.replace("/", "%2F"))):
                return 200, {"id": 42}, {}
            return original(request)

        host._answer = answer  # type: ignore[method-assign]
        with daemon(team, host) as running:
            known = clone.pushed({"models/flash.yaml": binding("flash", 7)})
            await_told(host, known)
            assert metrics(running)["pai_forge_skipped_total"] == 1
        assert f"commit {unknown[:7]} got no status" in running.log
    assert [sha for sha, _ in host.statuses] == [known]


def test_missing_or_wrong_token_is_told_and_can_be_mended(team: Site, github: StandIn) -> None:
    """A secret that is not there, then a wrong one, then the right one, all without a restart; none is ever shown."""
    with daemon(team, github) as running:
        until("trouble", lambda: metrics(running)["pai_forge_up"] == 0)
        assert "not told to the forge: secret forge" in team.pai("status").out
        give_token(team, "canary-wrong-token")
        until("refused", lambda: "(401: Bad credentials)" in team.pai("status").out)
        give_token(team)
        await_told(github, team.bare("rev-parse", "main"))
        said = running.log + running.get("/metrics")[1] + "".join(team.outputs)
    assert "canary" not in said


def test_damaged_cursor_begins_with_the_last_commit(team: Site, github: StandIn) -> None:
    """It is derived, and told again at worst."""
    give_token(team)
    (team.root / "data" / "forge.cursor").write_text("{")
    with daemon(team, github):
        await_told(github, team.bare("rev-parse", "main"))
    team.clone().pushed({"agents/other.yaml": agent("other", "flash")})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PAI_FORGE_KIND", "svn", "must be one of github, gitlab, gitea"),
        ("PAI_FORGE_API_URL", "http://example.com", "must begin with https://"),
        ("PAI_FORGE_API_URL", "https://user:pw@example.com", "must be a plain URL"),
        ("PAI_FORGE_REPO", "", "forge.kind is github, but forge.repo is empty"),
    ],
)
def test_wrong_settings_are_refused_at_the_start(team: Site, name: str, value: str, message: str) -> None:
    """Before the log is opened, with the setting's name."""
    settings = {"KIND": "github", "API_URL": "https://api.github.com", "REPO": "a/b", "SECRET": "forge"}
    environment = {f"PAI_FORGE_{key}": text for key, text in settings.items()} | {name: value}
    done = team.pai("serve", code=3, env=environment)
    assert message in done.err
    assert "pw" not in done.err


def test_what_waits_for_an_operator_is_pending_and_told_then(team: Site, github: StandIn) -> None:
    """Commits that come under a pin or a suspension have no status until they have an outcome, and then at once."""
    give_token(team)
    clone = team.clone()
    with daemon(team, github):
        await_told(github, clone.head)
        for order, end in ((("pin", clone.head), "unpin"), (("suspend",), "resume")):
            team.pai(*order)
            waits = clone.pushed({"models/flash.yaml": binding("flash", len(github.statuses) + 5)})
            team.run("reconcile")
            assert waits not in [sha for sha, _ in github.statuses]
            team.pai(end)
            await_told(github, waits)
            assert told(github)[-1] == (waits, "success", "in force: 1 changed")
