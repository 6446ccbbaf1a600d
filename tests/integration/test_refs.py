"""Refs are what they resolve to: names that bar one another, repositories that change places, commits off branches."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.support import Git, Site, binding, run, until
from tests.support_remotes import HttpRemote, bare_remote, clone_of

QUICK = {"PAI_SOURCE_INTERVAL": "100ms"}


def other_repository(site: Site, name: str, *, bare: bool = False) -> tuple[Git, str]:
    """Make a repository beside the workspace with one model of that name, and give its commit."""
    git = Git(site.folder / name, site.environment)
    Git(site.folder, site.environment)("init", "--quiet", "--initial-branch=main", name)
    commit = git.commit({f"models/{name}.yaml": binding(name)})
    if bare:
        Git(site.folder, site.environment)("clone", "--quiet", "--bare", name, f"{name}.git")
        git = Git(site.folder / f"{name}.git", site.environment)
    return git, commit


@pytest.mark.parametrize("how", ["loose", "packed", "with a reflog", "broken"])
@pytest.mark.parametrize(
    ("old", "new"), [("release", "release/2026"), ("release/2026/a", "release"), ("release/2026", "release/2026/b")]
)
def test_branch_whose_name_bars_the_next_one_leaves_the_mirror(site: Site, how: str, old: str, new: str) -> None:
    """A mirror holds one branch; whatever the last one left there stops no daemon when `source.branch` changes."""
    remote = bare_remote(site.folder / "srv", site.environment)
    work = clone_of(remote)
    first = work.commit({"models/a.yaml": binding("a")})
    work("push", "--quiet", "origin", f"HEAD:refs/heads/{old}")
    with HttpRemote(remote.folder.parent, site.environment) as server:
        site.environment |= {"PAI_SOURCE_REPO": f"{server.url}/team.git", "PAI_SOURCE_BRANCH": old}
        site.pai("reconcile")
        assert site.state().revision == first
        mirror = Git(site.root / "data" / "source.git", site.environment)
        if how == "packed":
            mirror("pack-refs", "--all")
        elif how == "with a reflog":
            mirror("config", "core.logAllRefUpdates", "always")
            mirror("update-ref", "--create-reflog", "-m", "look", f"refs/heads/{old}", first)
            log = mirror.folder / "logs" / "refs" / "heads" / old
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("")
        elif how == "broken":
            (mirror.folder / "refs" / "heads" / old).write_text("no ref\n")
        work("push", "--quiet", "origin", f":refs/heads/{old}")
        second = work.commit({"models/b.yaml": binding("b")})
        work("push", "--quiet", "origin", f"HEAD:refs/heads/{new}")
        site.environment["PAI_SOURCE_BRANCH"] = new
        with site.daemon(env=QUICK) as daemon:
            until("the new branch", lambda: site.state().revision == second)
            until("no reason", lambda: not daemon.readiness()[1]["reasons"])
        assert mirror("for-each-ref", "--format=%(refname)", "refs/heads") == f"refs/heads/{new}"


@pytest.mark.parametrize("kind", ["bare", "work tree", "folder above", ".git"])
def test_repository_behind_a_link_that_is_switched_is_looked_at_anew(site: Site, kind: str) -> None:
    """A release is put in place by switching a link; the daemon follows it as it follows a push."""
    blue, first = other_repository(site, "blue", bare=kind == "bare")
    green, second = other_repository(site, "green", bare=kind == "bare")
    link, source = site.folder / "current", "current"
    if kind == "folder above":
        for git in (blue, green):
            place = site.folder / f"of-{git.folder.name}" / "config"
            place.parent.mkdir()
            git.folder.rename(place)
            git.folder = place
        source = "current/config"
    if kind == ".git":
        (site.folder / "tree").mkdir()
        link, source = site.folder / "tree" / ".git", "tree"

    def switch(to: Git) -> None:
        target = to.folder.parent if kind == "folder above" else to.folder / ".git" if kind == ".git" else to.folder
        fresh = link.with_name("fresh")
        fresh.symlink_to(target)
        fresh.rename(link)

    switch(blue)
    site.environment["PAI_SOURCE_REPO"] = str(site.folder / source)
    with site.daemon() as daemon:
        until("the first state", lambda: site.state().revision == first)
        switch(green)
        until("the other repository", lambda: site.state().revision == second)
        third = green.commit({"models/c.yaml": binding("c")}) if kind != "bare" else clone_of(green).pushed({"c": ""})
        until("its next commit", lambda: site.state().revision == third)
        switch(blue)
        until("the first again", lambda: site.state().revision == first)
        assert daemon.readiness()[0] == 200


def detached(git: Git) -> None:
    git("checkout", "--quiet", "--detach")
    git("branch", "-D", "main")


def remote_only(git: Git) -> None:
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    git("symbolic-ref", "HEAD", "refs/heads/nothing")
    git("branch", "-D", "main")


def tag_only(git: Git) -> None:
    git("tag", "v1")
    git("symbolic-ref", "HEAD", "refs/heads/nothing")
    git("branch", "-D", "main")


def renamed(git: Git) -> None:
    git("branch", "-m", "main", "master")


CASES = {"detached": detached, "remote-tracking": remote_only, "tag": tag_only, "another name": renamed}


@pytest.mark.parametrize("case", CASES)
def test_commits_off_the_branch_are_no_empty_repository(site: Site, case: str, tmp_path: Path) -> None:
    """It is not ready and says what there is; nothing makes a second root; the hint works when it is typed."""
    git, commit = other_repository(site, "team")
    CASES[case](git)
    site.environment["PAI_SOURCE_REPO"] = str(git.folder)
    refs = git("for-each-ref", "refs/heads")
    done = site.pai("reconcile", code=3)
    assert "branch main does not exist in" in done.err
    named = {"detached": commit[:7], "remote-tracking": "origin/main", "tag": "v1", "another name": "master"}[case]
    assert named in done.err
    assert "Ready:    no" in site.pai("status").out
    assert site.run("add", "model", "m", "--provider", "gemini", "--api-key", "s").code
    assert git("for-each-ref", "refs/heads") == refs
    with site.daemon(ready=False) as daemon:
        until("the reason", lambda: "branch main does not exist" in str(daemon.readiness()[1]["reasons"]))
        assert daemon.readiness()[0] == 503
        hint = next(line for line in done.err.splitlines() if line.startswith("hint: "))
        typed = shlex.split(hint[hint.index("git -C") :])
        assert run(typed, site.environment, tmp_path).code == 0
        until("what is in force", lambda: site.state().revision == commit)


@pytest.mark.parametrize(("there", "wanted"), [("release", "release/2026"), ("release/2026", "release")])
@pytest.mark.parametrize("packed", [False, True])
def test_branch_that_another_one_bars_is_explained(site: Site, there: str, wanted: str, packed: bool) -> None:
    """Git can have no branch whose name is a folder of another one; what the hint says to set works."""
    git, commit = other_repository(site, "team")
    git("branch", "-m", "main", there)
    if packed:
        git("pack-refs", "--all")
    site.environment |= {"PAI_SOURCE_REPO": str(git.folder), "PAI_SOURCE_BRANCH": wanted}
    done = site.pai("reconcile", code=3)
    assert f"hint: git cannot have it beside branch {there}; set source.branch = '{there}'" in done.err
    site.environment["PAI_SOURCE_BRANCH"] = done.err.partition("source.branch = '")[2].partition("'")[0]
    site.pai("reconcile")
    assert site.state().revision == commit


def test_branch_that_leads_nowhere_says_so(site: Site) -> None:
    """A symbolic ref to a branch that is gone is not its own way out; when that comes back it is followed."""
    git, commit = other_repository(site, "team")
    git("symbolic-ref", "refs/heads/live", "refs/heads/gone")
    site.environment |= {"PAI_SOURCE_REPO": str(git.folder), "PAI_SOURCE_BRANCH": "live"}
    done = site.pai("reconcile", code=3)
    typed = shlex.split(done.err.partition("does not exist: ")[2].partition(" says")[0])
    assert run(typed, site.environment, site.folder).out.strip() == "refs/heads/gone"
    with site.daemon(ready=False):
        git("branch", "gone", "main")
        until("the branch behind it", lambda: site.state().revision == commit)
