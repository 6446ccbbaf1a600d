"""Where Pai may push: changes by commands and checkpoints go to the remote; where it may not, it says so."""

from __future__ import annotations

import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import PAI, Git, Site, binding, maybe_daemon, until
from tests.support_remotes import HttpRemote, SshRemote, bare_remote, clone_of


class Team:
    """A workspace that follows `remote` over http and may push, with one model in force."""

    def __init__(self, site: Site, server: HttpRemote, remote: Git) -> None:
        self.site, self.server, self.remote = site, server, remote
        self.work = clone_of(remote)
        self.work.pushed({"models/a.yaml": binding("a")})
        self.use(repo=f"{server.url}/team.git", push="true", interval="100ms")
        site.pai("reconcile")

    def use(self, **settings: str) -> None:
        """Set settings of the source by their variables."""
        self.site.environment.update({f"PAI_SOURCE_{key.upper()}": value for key, value in settings.items()})

    @property
    def tip(self) -> str:
        """The remote's branch."""
        return self.remote("rev-parse", "refs/heads/main")

    def hook(self, name: str, script: str) -> None:
        """Give the remote repository a hook."""
        place = self.remote.folder / "hooks" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(place.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def team(site: Site) -> Iterator[Team]:
    """Give a team whose remote is served until the test ends."""
    remote = bare_remote(site.folder / "srv", site.environment)
    with HttpRemote(remote.folder.parent, site.environment) as server:
        yield Team(site, server, remote)


@pytest.mark.parametrize("with_daemon", [False, True], ids=["alone", "daemon"])
def test_commands_commit_on_the_remote_and_return_when_in_force(team: Team, with_daemon: bool) -> None:
    """`pai add`, `apply` and `delete` push to the team's branch, as the user, with every other byte kept."""
    site = team.site
    with maybe_daemon(site, with_daemon):
        site.pai("add", "agent", "robot", "--model", "a")
        assert site.state().revision == team.tip
        assert team.remote("log", "-1", "--format=%ae %s", "main").startswith("alice@example.com ")
        (site.folder / "more.yaml").write_text(binding("a", 77) + "---\n" + binding("b"))
        done = site.pai("apply", "-f", str(site.folder / "more.yaml"))
        assert done.out == "modelbinding.pai.io/a configured\nmodelbinding.pai.io/b created\n"
        site.pai("delete", "model", "b")
        assert site.state().revision == team.tip
        assert sorted(site.state().models) == ["a"]
    assert team.remote("show", "main:models/a.yaml") + "\n" == binding("a", 77)
    site.pai("verify")


def test_without_leave_to_push_nothing_is_pushed(team: Team) -> None:
    """By default a change is refused with where to make it; a dry run still judges; no ref of Pai is on the remote."""
    team.use(push="false")
    before = team.remote("for-each-ref", "refs/heads")
    done = team.site.pai("add", "agent", "robot", "--model", "a", code=1)
    assert "Pai does not push to" in done.err
    assert "source.push = true" in done.err
    (team.site.folder / "b.yaml").write_text(binding("b"))
    team.site.pai("apply", "--dry-run", "-f", str(team.site.folder / "b.yaml"))
    assert team.remote("for-each-ref", "refs/heads") == before


def test_lost_race_is_retried_on_the_new_tip(team: Team) -> None:
    """A commit that arrives between the look and the push is not lost, and the change comes on top of it."""
    other = clone_of(team.remote, "other")
    other.commit({"models/c.yaml": binding("c")})
    # The remote takes somebody else's push just before ours, once.
    team.hook(
        "pre-receive",
        "rm -f hooks/pre-receive\nunset $(git rev-parse --local-env-vars) GIT_QUARANTINE_PATH\n"
        f"git -C {other.folder} push --quiet origin HEAD:main >/dev/null 2>&1",
    )
    team.site.pai("add", "agent", "robot", "--model", "a")
    assert sorted(team.site.state().models) == ["a", "c"]
    assert team.site.state().revision == team.tip
    assert team.remote("rev-parse", "main^") == other.head


def test_many_at_once_all_come_into_force(team: Team) -> None:
    """Commands that race each other through the daemon each end up on the branch."""
    with team.site.daemon():
        running = [
            subprocess.Popen(
                [PAI, "add", "agent", f"robot-{n}", "--model", "a"],
                cwd=team.site.root,
                env=team.site.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for n in range(4)
        ]
        assert [process.wait(100) for process in running] == [0] * 4
        assert sorted(team.site.state().agents) == [f"robot-{n}" for n in range(4)]


def test_refused_push_is_told_in_the_remotes_words(team: Team) -> None:
    """A protected branch refuses, with its own message on the user's terminal; nothing changes and nothing hangs."""
    team.hook("pre-receive", "printf 'GH006: Protected branch update failed for main.\\n\\033[31m'; exit 1")
    before = team.tip
    with team.site.daemon():
        done = team.site.pai("add", "agent", "robot", "--model", "a", code=1)
    assert "refused the push" in done.err
    assert "GH006: Protected branch update failed for main." in done.err
    assert "\x1b" not in done.err
    assert (team.tip, team.site.state().revision) == (before, before)


def test_push_without_the_right_to_it_names_the_credentials(team: Team) -> None:
    """Credentials that may read and not write are told as such, and a remote that is away as unreachable."""
    team.remote("config", "http.receivepack", "false")
    done = team.site.pai("add", "agent", "robot", "--model", "a", code=3)
    assert "403" in done.err
    team.server.fault = "error 500"
    assert team.site.pai("add", "agent", "robot", "--model", "a", code=3)


def test_push_that_is_never_answered_counts_if_it_arrived(team: Team) -> None:
    """If the answer to a push is lost, the branch says whether it came about."""
    team.use(timeout="3s")
    team.hook("post-receive", "exec >/dev/null 2>&1; sleep 8")
    team.site.pai("add", "agent", "robot", "--model", "a")
    assert team.site.state().revision == team.tip


def test_ssh_remote_takes_pushes(site: Site) -> None:
    """The same over ssh, into an empty repository: the first commit makes the branch."""
    remote = bare_remote(site.folder / "srv", site.environment)
    with SshRemote(site.folder) as server:
        key = server.folder / "user_key"
        site.pai("add", "secret", "forge", "--from-file", f"ssh-key={key}")
        site.pai("add", "secret", "forge", "--from-literal", "known-hosts=-", stdin=server.known_hosts)
        source = {"repo": server.url(remote.folder), "secret": "forge", "push": "true"}
        site.environment.update({f"PAI_SOURCE_{name.upper()}": value for name, value in source.items()})
        site.pai("add", "model", "first", "--provider", "gemini", "--api-key", "gemini-key")
    assert site.state().revision == remote("rev-parse", "main")


def test_checkpoints_go_to_the_remote_and_nothing_of_them_is_lost(team: Team) -> None:
    """The mirror's checkpoints are pushed as they come; those made while the remote was away follow later."""
    ref = "refs/pai/checkpoints"
    mirror = Git(team.site.root / "data" / "source.git", team.site.environment)
    assert team.remote("rev-parse", ref) == mirror("rev-parse", ref)
    team.server.fault = "error 500"
    team.site.pai("add", "secret", "s", "--from-literal", "k=v")
    behind = team.remote("rev-parse", ref)
    assert mirror("rev-parse", f"{ref}^") == behind
    team.server.fault = ""
    team.site.pai("reconcile")
    assert team.remote("rev-parse", ref) == mirror("rev-parse", ref)
    with team.site.daemon():
        team.site.pai("prove", "1")
        until("the push", lambda: team.remote("rev-parse", ref) == mirror("rev-parse", ref))
    team.site.pai("verify")


def test_checkpoints_stay_in_the_mirror_without_leave_to_push(team: Team) -> None:
    """With source.push = false the remote's ref does not move, and the mirror has them all."""
    ref = "refs/pai/checkpoints"
    mirror = Git(team.site.root / "data" / "source.git", team.site.environment)
    team.use(push="false")
    before = team.remote("rev-parse", ref)
    team.site.pai("add", "secret", "s", "--from-literal", "k=v")
    team.site.pai("reconcile")
    assert team.remote("rev-parse", ref) == before
    assert mirror("merge-base", "--is-ancestor", before, ref) == ""
    assert mirror("rev-parse", ref) != before
    assert "0 problems" in team.site.pai("verify").out or team.site.pai("verify").code == 0


@pytest.mark.parametrize("with_daemon", [False, True], ids=["alone", "daemon"])
def test_restored_backup_is_found_by_the_checkpoints_of_the_remote(team: Team, with_daemon: bool) -> None:
    """Log, mirror and own copy go back together, so only the remote can tell: the log is held, as a rollback."""
    site = team.site
    data, backup = site.root / "data", site.folder / "backup"
    shutil.copytree(data, backup)
    site.pai("add", "secret", "s", "--from-literal", "k=v")
    site.pai("reconcile")
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    if with_daemon:
        with site.daemon(ready=False) as daemon:
            until("the hold", lambda: "rollback detected" in str(daemon.readiness()[1]["reasons"]))
            assert daemon.readiness()[0] == 503
    else:
        team.work.pushed({"models/b.yaml": binding("b")})
        assert "rollback detected" in site.pai("reconcile", code=3).err
        assert "b" not in site.state().models
    site.pai("verify", code=1)
    site.pai("verify", "--accept")
    site.pai("reconcile")
    assert site.state().revision == team.tip


def test_hung_push_blocks_no_other_command(team: Team) -> None:
    """While a push hangs, the daemon's other commands answer, and SIGTERM still ends it in time."""
    team.use(timeout="10m")
    with team.site.daemon():
        team.hook("pre-receive", "sleep 600")
        pushing = threading.Thread(target=lambda: team.site.run("add", "agent", "robot", "--model", "a"))
        pushing.start()
        until("the push", lambda: any("git-receive-pack" in path for _, path, _ in team.server.seen))
        team.site.pai("add", "secret", "s", "--from-literal", "k=v")
        team.site.pai("status")
    pushing.join(60)
    assert not pushing.is_alive()


@pytest.mark.parametrize("planted", ["refs/pai/checkpoints/evil", "refs/pai/checkpoint0", "refs/pai/checkpoints0/x"])
def test_refs_that_somebody_plants_beside_the_checkpoints_stop_nothing(team: Team, planted: str) -> None:
    """The one ref that is Pai's is fetched, and no other; what an older Pai fetched does not bar it."""
    site = team.site
    team.remote("update-ref", "-d", "refs/pai/checkpoints")
    team.remote("update-ref", planted, "main")
    mirror = Git(site.root / "data" / "source.git", site.environment)
    mirror("update-ref", "-d", "refs/pai/remote/checkpoints")
    mirror("update-ref", planted.replace("refs/pai/", "refs/pai/remote/"), "main")
    second = team.work.pushed({"models/b.yaml": binding("b")})
    site.run("reconcile")
    assert site.state().revision == second
    team.remote("update-ref", "-d", planted)
    third = team.work.pushed({"models/c.yaml": binding("c")})
    site.pai("reconcile")
    assert site.state().revision == third
    assert mirror("for-each-ref", "--format=%(refname)", "refs/pai/remote").splitlines() == [
        "refs/pai/remote/checkpoints"
    ]
    assert team.remote("rev-parse", "refs/pai/checkpoints") == mirror("rev-parse", "refs/pai/checkpoints")


def planted(remote: Git, kind: str) -> None:
    """Have somebody else put something on the remote's ref of checkpoints."""
    blob = remote("hash-object", "-w", "--stdin", stdin="no checkpoint")
    tree = remote("mktree", stdin=f"100644 blob {blob}\tcheckpoint\n")
    match kind:
        case "blob":
            made = blob
        case "tree":
            made = tree
        case "tag":
            made = remote("mktag", stdin=f"object {blob}\ntype blob\ntag x\ntagger a <a@b> 1 +0000\n\nx\n")
        case "hole":
            made = remote("commit-tree", tree, "-m", "x")
            (remote.folder / "objects" / blob[:2] / blob[2:]).unlink()
        case _:
            made = remote("commit-tree", tree, "-m", "x")
    remote("update-ref", "refs/pai/checkpoints", made)


@pytest.mark.parametrize("kind", ["blob", "tree", "tag", "hole", "commit"])
def test_whatever_is_on_the_ref_of_the_remote_the_branch_comes_into_force(team: Team, kind: str) -> None:
    """Who may write that ref can spoil it; it is told, and the source is followed and recorded as before."""
    site = team.site
    beside = "refs/pai/checkpoints-" + (site.root / "data" / "vkey").read_text().partition("+")[0]
    with site.daemon() as daemon:
        planted(team.remote, kind)
        second = team.work.pushed({"models/b.yaml": binding("b")})
        until("the push", lambda: site.state().revision == second)
        site.pai("add", "secret", "s", "--from-literal", "k=v")
        site.pai("prove", str(len(site.rows()) - 1))
        status, ready = daemon.readiness()
        assert (status, ready["ready"]) == (200, True)
        if kind != "commit":
            until("the word", lambda: "refs/pai/checkpoints of the remote is not known" in site.pai("status").out)
        if kind in ("blob", "tree", "tag"):
            until("a witness beside", lambda: team.remote.run("rev-parse", "--verify", beside).code == 0)
    third = team.work.pushed({"models/c.yaml": binding("c")})
    site.pai("reconcile")
    assert site.state().revision == third
    if kind == "commit":
        mirror = Git(site.root / "data" / "source.git", site.environment)
        assert team.remote("rev-parse", "refs/pai/checkpoints") == mirror("rev-parse", "refs/pai/checkpoints")
        assert "Checkpoint of" in team.remote("log", "-1", "--format=%s", "refs/pai/checkpoints")
    site.pai("verify")


def test_two_logs_share_a_remote(team: Team, tmp_path: Path) -> None:
    """The log that comes second publishes beside, and either finds its own rollback by the remote alone."""
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    other.pai("init", other.root, cwd=other.folder)
    other.environment.update(team.site.environment)
    other.pai("reconcile")
    other.pai("add", "secret", "s", "--from-literal", "k=v")
    other.pai("reconcile")
    refs = team.remote("for-each-ref", "--format=%(refname)", "refs/pai").splitlines()
    assert len(refs) == 2
    beside = refs[1]
    assert beside == "refs/pai/checkpoints-" + (other.root / "data" / "vkey").read_text().partition("+")[0]
    for site in (team.site, other):
        data, backup = site.root / "data", site.folder / "backup"
        shutil.copytree(data, backup)
        site.pai("add", "secret", "t", "--from-literal", "k=v")
        site.pai("reconcile")
        site.pai("verify")
        shutil.rmtree(data)
        shutil.copytree(backup, data)
        team.work.pushed({"README": str(site.folder)})
        assert "rollback detected" in site.pai("reconcile", code=3).err
        site.pai("verify", "--accept")
        site.pai("reconcile")
        site.pai("verify")
