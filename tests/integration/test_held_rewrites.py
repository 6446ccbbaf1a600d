"""`source.rewrite = hold`: a force-push changes nothing until an operator says so, on this machine and elsewhere."""

from __future__ import annotations

import contextlib

import pytest

from tests.support import Git, Site, binding, until
from tests.support_remotes import HttpRemote, bare_remote, clone_of

HOLD = {"PAI_SOURCE_REWRITE": "hold"}


def _rewritten(clone: Git, budget: int, onto: str = "HEAD^") -> str:
    """Replace the newest commit by another one and force-push it."""
    clone("reset", "--quiet", "--hard", onto)
    sha = clone.commit({"models/a.yaml": binding("a", budget)}, f"budget {budget}")
    assert clone.push("--force", "HEAD:main").code == 0
    return sha


@pytest.fixture
def clone(site: Site) -> Git:
    """Give a clone with two commits that are in force; force-pushes are held."""
    site.environment.update(HOLD)
    clone = site.clone()
    clone.pushed({"models/a.yaml": binding("a", 10)})
    clone.pushed({"models/a.yaml": binding("a", 20)})
    site.pai("reconcile")
    return clone


def _holds(site: Site) -> list[tuple[str, str]]:
    return [(row["actor"], row["data"].get("hold", "")) for row in site.rows("type:history")]


def test_force_push_is_held_until_an_operator_accepts_it(site: Site, clone: Git) -> None:
    """The last state stays, everybody is told, it is recorded once; then the operator's word is on the log."""
    before = clone.head
    after = _rewritten(clone, 30)
    for _ in range(2):
        done = site.pai("reconcile", code=1)
        assert f"revision {after[:7]} held; in force: {before[:7]}" in done.out
        assert "pai reconcile --accept-rewrite" in done.err
    assert site.state().revision == before
    assert "the branch was rewritten" in site.pai("status").out
    assert _holds(site) == [("alice@example.com", "held")]
    refused = site.pai("add", "agent", "x", "--model", "a", code=1)
    assert "rewritten" in refused.err
    site.pai("reconcile", "--accept-rewrite", after, env={"GIT_AUTHOR_EMAIL": "operator@example.com"})
    assert site.state().revision == after
    assert _holds(site) == [("alice@example.com", "held"), ("operator@example.com", "accepted")]
    site.pai("verify")


def test_held_branch_that_goes_on_is_recorded_once_and_one_that_comes_back_is_followed(site: Site, clone: Git) -> None:
    """Commits on top of a held tip are the same rewrite; the old branch pushed back simply continues."""
    old = clone.head
    _rewritten(clone, 30)
    site.pai("reconcile", code=1)
    clone.pushed({"models/b.yaml": binding("b")})
    site.pai("reconcile", code=1)
    assert _holds(site) == [("alice@example.com", "held")]
    _rewritten(clone, 40, onto=old)
    clone("reset", "--quiet", "--hard", f"{old}^")
    _rewritten(clone, 50, onto=f"{old}^")
    site.pai("reconcile", code=1)
    assert len(_holds(site)) == 2
    clone("reset", "--quiet", "--hard", old)
    newest = clone.commit({"models/c.yaml": binding("c")})
    assert clone.push("--force", "HEAD:main").code == 0
    site.pai("reconcile")
    assert site.state().revision == newest
    assert "accepted" not in [hold for _, hold in _holds(site)]


@pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])
@pytest.mark.parametrize("how", ["another rewrite", "a commit on top"])
def test_what_was_not_looked_at_is_not_accepted(site: Site, clone: Git, how: str, daemon: bool) -> None:
    """Between the look and the order another tip comes: nothing is accepted, and the way to accept it is told."""
    before = clone.head
    with site.daemon(ready=False) if daemon else contextlib.nullcontext():
        shown = _rewritten(clone, 30)
        told = site.pai("reconcile", code=1).err
        assert f"pai reconcile --accept-rewrite {shown}\n" in told
        order = ["reconcile", "--accept-rewrite", shown]
        if how == "another rewrite":
            evil = _rewritten(clone, 999)
        else:
            evil = clone.pushed({"models/a.yaml": binding("a", 999)})
        if daemon:
            until("the look", lambda: f"--accept-rewrite {evil}" in site.pai("status").out)
        for _ in range(2):
            refused = site.pai(*order, code=1).err
            assert f"the branch's tip is {evil} now, and not {shown}" in refused
            assert f"pai reconcile --accept-rewrite {evil}\n" in refused
            assert site.state().revision == before
        assert "accepted" not in [hold for _, hold in _holds(site)]
        site.pai("reconcile", "--accept-rewrite", evil[:12], code=1)
        site.pai("reconcile", "--accept-rewrite", evil)
        assert site.state().revision == evil
    site.pai("verify")


def test_nothing_is_accepted_without_its_name(site: Site, clone: Git) -> None:
    """Also what is held, and alone: the order tells which commit it is, again and again."""
    before, after = clone.head, _rewritten(clone, 30)
    for _ in range(3):
        assert f"pai reconcile --accept-rewrite {after}\n" in site.pai("reconcile", "--accept-rewrite", code=1).err
        assert f"pai reconcile --accept-rewrite {after}" in site.pai("status").out
    assert site.state().revision == before
    site.pai("reconcile", "--accept-rewrite", after)
    assert site.state().revision == after


def test_daemon_holds_and_accepts_a_rewritten_remote(site: Site) -> None:
    """The same over http: readiness tells while agents are served by the last state."""
    remote = bare_remote(site.folder / "srv", site.environment)
    work = clone_of(remote)
    work.pushed({"models/a.yaml": binding("a", 10)})
    before = work.pushed({"models/a.yaml": binding("a", 20)})
    with HttpRemote(remote.folder.parent, site.environment) as server:
        source = {"PAI_SOURCE_REPO": f"{server.url}/team.git", "PAI_SOURCE_INTERVAL": "50ms"}
        site.environment.update({**HOLD, **source})
        with site.daemon() as daemon:
            until("the first state", lambda: site.state().revision == before)
            after = _rewritten(work, 30)
            until("the hold", lambda: "the branch was rewritten" in str(daemon.readiness()[1]["reasons"]))
            assert daemon.readiness()[0] == 200
            assert site.state().revision == before
            assert f"--accept-rewrite {after}\n" in site.pai("reconcile", "--accept-rewrite", code=1).err
            assert site.state().revision == before, "nobody has looked at what the daemon found"
            site.pai("reconcile", "--accept-rewrite", after)
            assert site.state().revision == after
            assert daemon.readiness()[1]["reasons"] == []
