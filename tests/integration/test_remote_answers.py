"""What a remote answers against what it has: an exit code of 0 is not taken for a branch that moved."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from tests.support import Git, Site, binding, maybe_daemon, until
from tests.support_remotes import HttpRemote, bare_remote, clone_of

PROC_RECEIVE = r"""#!/usr/bin/env python3
# Takes every order and reports that it was done, which it was not (githooks(5), proc-receive).
import sys

def read():
    lines = []
    while (size := int(sys.stdin.buffer.read(4), 16)) > 3:
        lines.append(sys.stdin.buffer.read(size - 4))
    return lines

def write(*lines):
    for line in lines:
        sys.stdout.buffer.write(b"%04x" % (len(line) + 4) + line)
    sys.stdout.buffer.write(b"0000")
    sys.stdout.buffer.flush()

read()
write(b"version=1\0")
write(*(b"ok " + order.split()[2] + b"\n" for order in read()))
"""


class Team:
    """A workspace that follows `remote` over http and may push; nothing is fetched yet."""

    def __init__(self, site: Site, server: HttpRemote, remote: Git) -> None:
        self.site, self.server, self.remote = site, server, remote
        self.use(repo=f"{server.url}/team.git", push="true", interval="100ms")

    def use(self, **settings: str) -> None:
        """Set settings of the source by their variables."""
        self.site.environment.update({f"PAI_SOURCE_{key.upper()}": value for key, value in settings.items()})

    def begin(self) -> str:
        """Have one model in force, and give its commit."""
        first = clone_of(self.remote).pushed({"models/a.yaml": binding("a")})
        self.site.pai("reconcile")
        return first

    def hook(self, name: str, script: str) -> None:
        """Give the remote repository a hook."""
        place = self.remote.folder / "hooks" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(script)
        place.chmod(place.stat().st_mode | stat.S_IXUSR)

    def refs(self, folder: str) -> str:
        """List the remote's refs below a folder, with what they are at."""
        return self.remote("for-each-ref", "--format=%(objectname) %(refname)", folder)


@pytest.fixture
def team(site: Site) -> Iterator[Team]:
    """Give a team whose remote is served until the test ends."""
    remote = bare_remote(site.folder / "srv", site.environment)
    with HttpRemote(remote.folder.parent, site.environment) as server:
        yield Team(site, server, remote)


def drop(team: Team, how: str, refs: str) -> None:
    """Have the remote say that it moved refs, and not move them."""
    if how == "proc-receive":
        team.hook("proc-receive", PROC_RECEIVE)
        team.remote("config", "--add", "receive.procReceiveRefs", refs)
    else:
        team.hook(
            "post-receive",
            "#!/bin/sh\nzero=0000000000000000000000000000000000000000\nwhile read -r old new ref; do\n"
            f"  case $ref in {refs}*) ;; *) continue ;; esac\n"
            '  if [ "$old" = $zero ]; then git update-ref -d "$ref"; else git update-ref "$ref" "$old"; fi\ndone\n',
        )


@pytest.mark.parametrize("with_daemon", [False, True], ids=["alone", "daemon"])
@pytest.mark.parametrize("how", ["proc-receive", "post-receive"])
def test_push_that_the_remote_drops_is_refused(team: Team, how: str, with_daemon: bool) -> None:
    """Git ends with 0; the branch did not move, so the command says so, and nothing is taken for in force."""
    first = team.begin()
    with maybe_daemon(team.site, with_daemon):
        drop(team, how, "refs/heads")
        done = team.site.pai("add", "agent", "robot", "--model", "a", code=1)
        assert "says that it took the push, and its branch main did not move" in done.err
        assert "hint: " in done.err
        assert team.site.state().revision == first
        assert not team.site.state().agents
    assert team.refs("refs/heads") == f"{first} refs/heads/main"


@pytest.mark.parametrize("how", ["proc-receive", "post-receive"])
def test_checkpoints_that_the_remote_drops_are_not_taken_for_published(team: Team, how: str) -> None:
    """Readiness says so, and they are there once the remote takes them."""
    team.begin()
    drop(team, how, "refs/pai")
    team.remote.run("update-ref", "-d", "refs/pai/checkpoints")
    with team.site.daemon() as daemon:
        team.site.pai("add", "secret", "s", "--from-literal", "k=v")
        until("the warning", lambda: "did not move" in str(daemon.readiness()[1]))
        assert team.refs("refs/pai") == ""
        team.remote("config", "--unset-all", "receive.procReceiveRefs") if how == "proc-receive" else (
            team.remote.folder / "hooks" / "post-receive"
        ).unlink()
        until("the checkpoint", lambda: "refs/pai/checkpoints" in team.refs("refs/pai"))


def test_checkpoints_that_somebody_deletes_at_the_remote_come_back(team: Team) -> None:
    """What the mirror holds of the remote's is what it has, not what was pushed once."""
    team.begin()
    team.site.pai("reconcile")
    there = team.refs("refs/pai")
    assert "refs/pai/checkpoints" in there
    for line in there.splitlines():
        team.remote("update-ref", "-d", line.split()[1])
    team.site.pai("reconcile")
    assert team.refs("refs/pai") == there


@pytest.mark.parametrize("push", ["true", "false"])
@pytest.mark.parametrize("hidden", [False, True])
def test_remote_that_shows_other_refs_and_no_branch_is_not_empty(team: Team, push: str, hidden: bool) -> None:
    """An empty repository has no ref at all; one that shows tags or changes hides its branches, or has none."""
    team.use(push=push)
    clone_of(team.remote).pushed({"models/a.yaml": binding("a")})
    team.remote("tag", "v1", "main")
    if hidden:
        team.remote("config", "uploadpack.hideRefs", "refs/heads")
    else:
        team.remote("update-ref", "-d", "refs/heads/main")
    done = team.site.pai("reconcile", code=3)
    assert "branch main does not exist in" in done.err
    assert "it shows no branch, but " in done.err
    assert "refs/tags/v1; push main" in done.err
    with team.site.daemon(ready=False) as daemon:
        until("the reason", lambda: "branch main does not exist" in str(daemon.readiness()[1]["reasons"]))
        assert daemon.readiness()[0] == 503


def test_fetch_that_brings_nothing_new_is_a_good_one(team: Team) -> None:
    """A branch that was set back, or leads to what is here already, comes as a pack without objects."""
    first = team.begin()
    work = clone_of(team.remote, "more")
    second = work.pushed({"models/b.yaml": binding("b")})
    team.site.pai("reconcile")
    for commit in (first, second, first):
        assert work.push("--force", f"{commit}:refs/heads/main").code == 0
        team.site.pai("reconcile")
        assert team.site.state().revision == commit


@pytest.mark.parametrize("push", ["true", "false"])
@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85"], ids=["line", "paragraph", "next line"])
def test_name_of_another_branch_is_not_cut_to_that_of_the_source_branch(team: Team, push: str, sign: str) -> None:
    """Whoever may push any branch does not choose what is in force: a line of git ends at LF, and names hold these."""
    team.use(push=push)
    work = clone_of(team.remote)
    first = work.pushed({"models/a.yaml": binding("a")})
    planted = work.commit({"models/planted.yaml": binding("planted")})
    for ref in ("heads/main", "pai/checkpoints"):
        work("push", "origin", f"{planted}:refs/{ref}{sign}/refs/{ref}")
    team.site.pai("reconcile")
    assert team.site.state().revision == first
    if push == "true":
        assert team.remote("log", "--format=%an", "-1", "refs/pai/checkpoints") != "Alice"
    team.remote("update-ref", "-d", "refs/heads/main")
    done = team.site.pai("reconcile", code=3)
    assert "branch main does not exist in" in done.err
    assert "\\x85" in done.err or "\\u202" in done.err
