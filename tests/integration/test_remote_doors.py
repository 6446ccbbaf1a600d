"""A remote source with the doors of the admin listener: webhooks bring its pushes in at once, operators go back."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import DEADLINE_S, Git, Site, binding, until
from tests.support_remotes import HttpRemote, bare_remote, clone_of
from tests.support_webhooks import SECRET, delivery


class Team:
    """A workspace that follows `remote`, which it hears of once an hour, and a clone to push from."""

    def __init__(self, site: Site, server: HttpRemote, work: Git) -> None:
        self.site = site
        self.server = server
        self.work = work
        site.environment |= {"PAI_SOURCE_REPO": f"{server.url}/team.git", "PAI_SOURCE_INTERVAL": "1h"}
        self.first = work.pushed({"models/a.yaml": binding("a", 1)})
        site.pai("reconcile")

    def budget(self) -> object:
        """Give the daily budget in force."""
        return self.site.state().models["a"].spec["maxTokensPerDay"]


@pytest.fixture
def team(site: Site) -> Iterator[Team]:
    """Serve a remote over http that takes pushes."""
    remote = bare_remote(site.folder / "srv", site.environment)
    remote("config", "http.receivepack", "true")
    with HttpRemote(Path(remote.folder).parent, site.environment) as server:
        yield Team(site, server, clone_of(remote))


def deliver(port: int, secret: bytes = SECRET) -> int:
    """Deliver a push as GitHub does; give the status."""
    body = b'{"ref": "refs/heads/main"}'
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("POST", "/webhooks/github", body, delivery("github", body, secret, int(time.time())))
        with connection.getresponse() as answer:
            answer.read()
            return answer.status
    finally:
        connection.close()


def test_webhook_has_the_remote_fetched_at_once(team: Team) -> None:
    """Nobody polls; a proven delivery brings the push in, a forged one does not even ask the remote."""
    team.site.pai("add", "secret", "hooks", "--from-literal", "token=-", stdin=SECRET)
    with team.site.daemon(env={"PAI_WEBHOOKS_GITHUB": "hooks"}) as daemon:
        until("the first fetch", lambda: daemon.readiness()[1]["ready"])
        second = team.work.pushed({"models/a.yaml": binding("a", 2)})
        asked = len(team.server.seen)
        assert deliver(daemon.port, b"forged") == 401
        assert len(team.server.seen) == asked
        assert deliver(daemon.port) == 200
        until("the push to be in force", lambda: team.site.state().revision == second)


def test_pushes_over_http_are_not_taken_for_a_remote(team: Team) -> None:
    """With a remote source there is nothing at /git/config.git, and the answer says why."""
    with team.site.daemon() as daemon:
        token = (team.site.root / "data" / "admin.token").read_text().strip()
        url = f"http://git:{token}@127.0.0.1:{daemon.port}/git/config.git"
        done = Git(team.site.folder, team.site.environment).run("ls-remote", url)
    assert "there is nothing at this path: source.repo is not the workspace's own config.git" in done.err


@pytest.mark.parametrize("push", [False, True])
def test_rollback_commits_where_pai_may_push_and_pins_where_not(team: Team, push: bool) -> None:
    """With source.push the remote's branch gets the commit; without, the revision is pinned, and that is said."""
    team.work.pushed({"models/a.yaml": binding("a", 2), "models/b.yaml": binding("b")})
    team.site.pai("reconcile")
    team.site.environment["PAI_SOURCE_PUSH"] = json.dumps(push)
    done = team.site.pai("rollback", team.first, "-m", "night", "--allow-deletions")
    assert team.budget() == 1
    assert "b" not in team.site.state().models
    team.work("fetch", "--quiet")
    subject = team.work("log", "-1", "--format=%s", "origin/main")
    if push:
        assert subject.startswith(f"Roll back to {team.first[:7]}")
        assert team.work("rev-parse", "origin/main^{tree}") == team.work("rev-parse", f"{team.first}^{{tree}}")
        assert team.site.state().pin is None
    else:
        assert subject == "change"
        assert "no commit can be made, so the revision is pinned: source.repo is a remote" in done.err
        assert team.site.state().pin is not None


def test_pin_and_unpin_do_not_wait_for_a_remote_that_hangs(team: Team) -> None:
    """A fetch that hangs blocks no operator; unpinned, what was accepted last is in force, and the rest comes later."""
    team.work.pushed({"models/a.yaml": binding("a", 2)})
    team.site.pai("reconcile")
    with team.site.daemon(env={"PAI_SOURCE_TIMEOUT": "2s"}) as daemon:
        until("the first fetch", lambda: daemon.readiness()[1]["ready"])
        third = team.work.pushed({"models/a.yaml": binding("a", 3)})
        team.server.fault = "hang head"
        team.site.pai("pin", team.first)
        assert team.budget() == 1
        team.site.pai("unpin")
        assert team.budget() == 2
        team.server.resume()
        team.site.pai("reconcile")
        assert (team.site.state().revision, team.budget()) == (third, 3)


def test_rollback_pins_where_commits_have_to_be_signed(team: Team) -> None:
    """Pai does not sign, so its commit would be refused: the revision is pinned, and the reason is said."""
    team.work.pushed({"models/a.yaml": binding("a", 2)})
    team.site.pai("reconcile")
    signers = team.site.folder / "signers"
    signers.write_text("")
    team.site.environment |= {"PAI_SOURCE_PUSH": "true", "PAI_SOURCE_REQUIRE_SIGNATURES": "head"}
    team.site.environment |= {"PAI_SOURCE_ALLOWED_SIGNERS": str(signers)}
    done = team.site.pai("rollback", team.first)
    assert "the revision is pinned: source.require_signatures is head, and Pai does not sign commits" in done.err
    assert team.budget() == 1
