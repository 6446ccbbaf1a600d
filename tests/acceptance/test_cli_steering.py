"""Pin, unpin, suspend, resume and rollback: what an operator orders at night, with and without a daemon."""

from __future__ import annotations

import contextlib
import resource
import shutil
from typing import Any

import pytest

from reconciler.log.replay import projected
from reconciler.log.sqlite.store import open_reader
from tests.support import BAD, Git, Site, binding, maybe_daemon, replayed, until


def budget(site: Site, name: str = "flash") -> object:
    """Give a binding's daily budget as it is in force, None if there is no such binding."""
    resource = site.state().models.get(name)
    return resource.spec.get("maxTokensPerDay") if resource else None


def push(site: Site, clone: Git, files: dict[str, str | bytes | None], message: str = "change") -> str:
    """Push files and have the push reconciled, or waited for while a pin keeps it."""
    sha = clone.pushed(files, message)
    site.run("reconcile")
    return sha


def resources(site: Site) -> dict[str, Any]:
    """Give everything that is in force but positions, which say when it came into force."""
    state = site.state()
    return {
        f"{kind}/{name}": (r.spec, r.file, r.line, r.revision, r.labels)
        for kind in ("model", "agent")
        for name, r in state.resources(kind).items()  # type: ignore[arg-type]
    }


def test_pin_puts_an_earlier_revision_in_force_and_unpin_the_last(either: Site) -> None:
    """A pinned revision's objects are those of that time; unpinned, everything is as if there had been no pin."""
    clone = either.clone()
    good = either.state().revision
    before = resources(either)
    bad = push(either, clone, {"models/flash.yaml": binding("flash", 5), "models/new.yaml": binding("new")})
    after = resources(either)

    done = either.pai("pin", good[:10], "-m", "the budget of 5 stops the night run")

    assert done.out == f"revision {good[:7]} is pinned and in force\n"
    assert resources(either) == before
    assert (either.state().revision, either.state().head.commit) == (good, bad)  # type: ignore[union-attr]
    done = either.pai("unpin", "-m", "mended")
    assert done.out == f"revision {good[:7]} is no longer pinned\nrevision {bad[:7]} is in force; nothing to do\n"
    assert resources(either) == after
    assert either.types("type:revision")[-2:] == ["revision.pinned", "revision.unpinned"]
    pinned = either.rows("type:revision.pinned")[0]
    assert (pinned["actor"], pinned["subject"]) == ("alice@example.com", f"revision/{good}")
    assert pinned["data"]["reason"] == "the budget of 5 stops the night run"
    assert {row["actor"] for row in either.rows("type:binding.deleted")} == {"alice@example.com"}


def test_commits_pushed_under_a_pin_get_their_outcomes_at_unpin(either: Site) -> None:
    """What is pushed meanwhile waits, is shown as waiting, and then comes into force in one step."""
    clone = either.clone()
    good = either.state().revision
    bad = push(either, clone, {"models/flash.yaml": binding("flash", 5)})
    either.pai("pin", good)
    one = push(either, clone, {"models/flash.yaml": binding("flash", 6)})
    two = push(either, clone, {"models/flash.yaml": binding("flash", 7)})
    assert budget(either) == 1_000_000
    assert [sha for sha, _ in either.outcomes()] == [good, bad, good]

    done = either.pai("reconcile", code=1)
    assert done.err.startswith(f"error: commit {two[:7]} is not followed: revision {good[:7]} is pinned since ")
    assert "pai unpin" in done.err
    either.pai("unpin")

    assert budget(either) == 7
    assert either.outcomes()[-3:] == [(good, "unpinned"), (one, "accepted"), (two, "accepted")]
    last = [row["seq"] for row in either.rows("type:binding")][-1]
    times = {row["time"] for row in either.rows() if row["seq"] >= last - 3}
    assert len(times) == 1, "unpinning and what it brings in are one transaction"


def test_pin_works_and_lasts_while_git_is_away(team: Site) -> None:
    """Nothing of a pin needs the repository; it survives restarts, and unpinning gives the last accepted state."""
    clone = team.clone()
    good = team.state().revision
    push(team, clone, {"models/flash.yaml": binding("flash", 5)})
    shutil.move(team.root / "config.git", team.folder / "away.git")
    with team.daemon(ready=False):
        team.pai("pin", good)
        assert budget(team) == 1_000_000
    with team.daemon(ready=False) as daemon:
        assert budget(team) == 1_000_000
        _, answer = daemon.readiness()
        assert any(f"revision {good[:7]} is pinned" in reason for reason in answer["reasons"])
        done = team.pai("unpin")
        assert "the source cannot be read" in done.err
    assert budget(team) == 5
    shutil.move(team.folder / "away.git", team.root / "config.git")
    assert "nothing to do" in team.pai("reconcile").out


def test_pin_is_shown_everywhere(team: Site) -> None:
    """Status, readiness, metrics, get, describe, log and the API's state say that a revision is pinned, and why."""
    good = team.state().revision
    push(team, team.clone(), {"models/flash.yaml": binding("flash", 5)})
    sentence = f"revision {good[:7]} is pinned since "
    with team.daemon() as daemon:
        team.pai("pin", good, "-m", "night")
        assert daemon.readiness()[1]["ready"] is True
        assert daemon.readiness()[1]["reasons"][0].startswith(sentence)
        assert "pai_revision_pinned 1.0" in daemon.get("/metrics")[1]
        status = team.pai("status", "-o", "json").json
    assert sorted(status) == ["head", "models", "ready", "reasons", "revision"]
    assert status["reasons"][0].startswith(sentence)
    assert status["reasons"][0].endswith(" by alice@example.com (night): pai unpin")
    alone = team.pai("status")
    assert f"Revision: {good} (pinned)\n" in alone.out
    assert sentence in alone.out
    assert sentence in team.pai("get", "models").err
    assert sentence in team.pai("describe", "model", "flash").out
    assert f"revision.pinned    revision/{good}  1 changed: night  alice@example.com" in team.pai("log").out


def test_what_never_was_in_force_cannot_be_pinned(either: Site) -> None:
    """A refused commit, an unknown one and what is no commit are errors with a way out, and nothing is recorded."""
    clone = either.clone()
    (either.root / "config.git" / "hooks" / "pre-receive").unlink()
    refused = push(either, clone, {"models/bad.yaml": BAD})
    events = either.state().position
    done = either.pai("pin", refused, code=1)
    assert f"commit {refused[:7]} was refused (models/bad.yaml:8:3 PAI209) and never in force" in done.err
    assert "the log knows no commit" in either.pai("pin", "0123456789", code=1).err
    assert "is no commit" in either.pai("pin", "HEAD~1", code=2).err
    assert "no revision is pinned" in either.pai("unpin", code=1).err
    assert "not suspended" in either.pai("resume", code=1).err
    assert either.state().position == events


def test_pinning_twice_moves_the_pin_and_the_same_once_more_says_so(either: Site) -> None:
    """A second pin takes the place of the first; unpinning goes to what was accepted last, not to the first pin."""
    clone = either.clone()
    first = either.state().revision
    second = push(either, clone, {"models/flash.yaml": binding("flash", 2)})
    push(either, clone, {"models/flash.yaml": binding("flash", 3)})
    either.pai("pin", first)
    either.pai("pin", second)
    assert budget(either) == 2
    assert either.pai("pin", second).out == f"revision {second[:7]} is pinned already and in force\n"
    assert len(either.rows("type:revision.pinned")) == 2
    either.pai("unpin")
    assert budget(either) == 3


def test_unpin_with_a_refused_tip_gives_the_last_accepted_state(either: Site) -> None:
    """The tip stays refused, and what is in force is what was before the pin."""
    clone = either.clone()
    first = either.state().revision
    push(either, clone, {"models/flash.yaml": binding("flash", 2)})
    (either.root / "config.git" / "hooks" / "pre-receive").unlink()
    push(either, clone, {"models/bad.yaml": BAD})
    either.pai("pin", first)
    done = either.pai("unpin")
    assert "the branch's tip is refused" in done.err
    assert budget(either) == 2


def test_suspended_nothing_is_reconciled_until_resume(either: Site) -> None:
    """What is pushed waits, with the state as it was; resuming brings it in. A restart changes neither."""
    clone = either.clone()
    assert either.pai("suspend", "-m", "moving the repository").out == "the reconciling is suspended\n"
    assert either.pai("suspend").out == "the reconciling is suspended already\n"
    sha = push(either, clone, {"models/flash.yaml": binding("flash", 2)})
    assert budget(either) == 1_000_000
    status = either.pai("status").out
    assert " by alice@example.com (moving the repository): pai resume" in status
    done = either.pai("resume")
    assert done.out.startswith(f"the reconciling goes on\nrevision {sha[:7]} ")
    assert budget(either) == 2
    assert either.types("type:reconciling") == ["reconciling.suspended", "reconciling.resumed"]
    assert {row["subject"] for row in either.rows("type:reconciling")} == {"branch/main"}


def test_pin_counts_also_while_suspended(either: Site) -> None:
    """The two orders do not know each other: either keeps the branch from being followed until both are undone."""
    clone = either.clone()
    first = either.state().revision
    push(either, clone, {"models/flash.yaml": binding("flash", 2)})
    either.pai("suspend")
    either.pai("pin", first)
    push(either, clone, {"models/flash.yaml": binding("flash", 3)})
    assert budget(either) == 1_000_000
    assert "the reconciling is suspended" in either.pai("unpin").err
    assert budget(either) == 2
    either.pai("resume")
    assert budget(either) == 3


def test_apply_says_that_its_commit_waits(either: Site) -> None:
    """While pinned or suspended a change is committed, and the command says that it is not in force and what to do."""
    good = either.state().revision
    either.pai("pin", good)
    done = either.pai("apply", "-f", "-", stdin=binding("flash", 9), code=1)
    assert "was made, but is not in force: revision " in done.err
    assert "pai unpin" in done.err
    assert budget(either) == 1_000_000
    either.pai("unpin")
    assert budget(either) == 9
    either.pai("suspend")
    assert "pai resume" in either.pai("delete", "agent", "my-agent", code=1).err
    assert "my-agent" in either.state().agents
    either.pai("resume")
    assert "my-agent" not in either.state().agents


@pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])
def test_hook_and_daemon_judge_by_what_was_accepted_last(site: Site, daemon: bool) -> None:
    """The deletion guard compares with the last accepted state, also while an older one is pinned: one verdict."""
    clone = site.clone()
    old = clone.pushed({"models/m0.yaml": binding("m0")})
    site.pai("reconcile")
    clone.pushed({f"models/m{n}.yaml": binding(f"m{n}") for n in range(8)})
    site.pai("reconcile")
    site.pai("pin", old)
    clone.commit({f"models/m{n}.yaml": None for n in range(1, 8)})
    with maybe_daemon(site, daemon):
        assert "PAI303" in clone.push().err
        clone.commit({}, "They shall go\n\nPai-Allow-Deletions: yes")
        assert clone.push().code == 0
        site.pai("unpin")
    assert site.outcomes()[-1] == (clone.head, "accepted")
    assert list(site.state().models) == ["m0"]


def test_state_with_pins_is_what_a_replay_gives(team: Site) -> None:
    """Projection, replay from position 0 and the verification agree while pinned, suspended and afterwards."""
    clone = team.clone()
    first = team.state().revision
    push(team, clone, {"models/moved.yaml": binding("flash", 2), "models/flash.yaml": None})
    for words in (["pin", first], ["suspend"], ["unpin"], ["resume"]):
        team.pai(*words)
        with contextlib.closing(open_reader(team.database)) as log:
            assert replayed(log).digest() == projected(log).digest()
        assert team.pai("verify").out.startswith("ok: ")
    at = team.pai("get", "model", "flash", "-o", "json", "--at", first).json
    team.pai("pin", first)
    now = team.pai("get", "model", "flash", "-o", "json").json
    for field in ("spec", "metadata"):
        assert at[field] == now[field]
    assert at["status"]["source"] == now["status"]["source"]
    assert at["status"]["revision"] == now["status"]["revision"]
    blame = team.pai("blame", "model", "flash", "-o", "json").json["fields"]
    assert {row["commit"] for row in blame} == {first}


def test_rollback_makes_one_commit_with_the_tree_of_the_revision(either: Site) -> None:
    """The commit says who put what back and why; its tree is that revision's; it is in force on return."""
    clone = either.clone()
    good = either.state().revision
    bad = push(either, clone, {"models/flash.yaml": binding("flash", 5), "models/b.yaml": binding("b")}, "Halve it")
    done = either.pai("rollback", good[:8], "-m", "agents starve")
    made = either.bare("rev-parse", "main")
    assert done.out == f"commit {made[:7]} puts revision {good[:7]} back\n"
    assert either.bare("rev-parse", "main~1", "main^{tree}").split() == [
        bad,
        either.bare("rev-parse", f"{good}^{{tree}}"),
    ]
    message = either.bare("log", "-1", "--format=%B%an <%ae>", "main")
    assert message.startswith(f"Roll back to {good[:7]}: The team's bindings\n\nAlice <alice@example.com> puts back")
    assert bad in message
    assert "\n\nagents starve\n" in message
    assert (either.state().revision, budget(either), budget(either, "b")) == (made, 1_000_000, None)
    assert either.outcomes()[-1] == (made, "accepted")
    assert "already" in either.pai("rollback", good).out


def test_rollback_of_many_objects_needs_to_be_allowed(either: Site) -> None:
    """The deletion guard holds for a rollback too, and the option that allows it stands in the commit."""
    clone = either.clone()
    good = either.state().revision
    push(either, clone, {f"models/m{n}.yaml": binding(f"m{n}") for n in range(8)})
    done = either.pai("rollback", good, code=1)
    assert "PAI303" in done.err
    assert "hint: or give --allow-deletions" in done.err
    assert either.bare("rev-parse", "main") == clone.head
    either.pai("rollback", good, "--allow-deletions")
    assert "Pai-Allow-Deletions: yes" in either.bare("log", "-1", "--format=%B", "main")
    assert sorted(either.state().models) == ["flash", "sonnet"]


def test_rollback_mends_a_refused_tip(either: Site) -> None:
    """A tip that is refused is put right by the commit on top of it."""
    clone = either.clone()
    good = either.state().revision
    (either.root / "config.git" / "hooks" / "pre-receive").unlink()
    push(either, clone, {"models/bad.yaml": BAD})
    either.pai("rollback", good)
    assert either.outcomes()[-1] == (either.bare("rev-parse", "main"), "accepted")


def test_rollback_pins_where_no_commit_can_be_made(team: Site) -> None:
    """With the repository away, or its old objects, the revision is pinned, in force all the same, and that is said."""
    good = team.state().revision
    push(team, team.clone(), {"models/flash.yaml": binding("flash", 5)})
    shutil.move(team.root / "config.git", team.folder / "away.git")
    done = team.pai("rollback", good, "-m", "night")
    assert done.out == f"revision {good[:7]} is pinned and in force\n"
    assert "no commit can be made, so the revision is pinned: " in done.err
    assert budget(team) == 1_000_000
    shutil.move(team.folder / "away.git", team.root / "config.git")
    done = team.pai("rollback", good, code=1)
    assert "a commit would not come into force now" in done.err
    assert "pai unpin" in done.err


def test_rollback_into_a_work_tree_keeps_the_rest(team: Site) -> None:
    """Only the source path goes back, in a repository with a work tree too, whose files follow."""
    clone = team.clone()
    config = team.root / "pai.toml"
    config.write_text(config.read_text().replace('repo = "config.git"', f'repo = "{clone.folder}"'))
    (team.root / "pai.toml").write_text(config.read_text().replace('path = "."', 'path = "models"'))
    first = clone.commit({"models/flash.yaml": binding("flash", 1), "README": "one"})
    team.pai("reconcile")
    clone.commit({"models/flash.yaml": binding("flash", 2), "models/x/y.yaml": binding("y"), "README": "two"})
    team.pai("reconcile")
    team.pai("rollback", first)
    assert clone("status", "--porcelain") == ""
    assert (clone.folder / "README").read_text() == "two"
    assert not (clone.folder / "models" / "x").exists()
    assert budget(team) == 1


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", ".g\u200cit", ".git "])
def test_rollback_writes_none_of_gits_own_files(team: Site, name: str) -> None:
    """A commit may have a path that git checks out nowhere, if nobody checked it on its way: no hook comes of it."""
    clone = team.clone()
    config = team.root / "pai.toml"
    config.write_text(config.read_text().replace('repo = "config.git"', f'repo = "{clone.folder}"'))
    first = clone.commit({"models/flash.yaml": binding("flash", 1)})
    before = sorted(clone.folder.glob("*/hooks/*"))
    hook = clone("hash-object", "-w", "--stdin", stdin="#!/bin/sh\n")
    hooks = clone("mktree", stdin=f"100755 blob {hook}\tpost-checkout\n")
    inside = clone("mktree", stdin=f"040000 tree {hooks}\thooks\n")
    listed = f"040000 tree {inside}\t{name}\n040000 tree {clone('rev-parse', 'HEAD:models')}\tmodels\n"
    planted = clone("commit-tree", clone("mktree", stdin=listed), "-p", first, "-m", "harmless")
    after = clone("commit-tree", f"{first}^{{tree}}", "-p", planted, "-m", "clean")
    clone("merge", "--quiet", "--ff-only", after)
    tip = clone.commit({"models/flash.yaml": binding("flash", 2)})
    team.pai("reconcile")
    assert "is not a path inside a repository" in team.pai("rollback", planted, code=1).err
    assert clone.head == tip
    assert sorted(clone.folder.glob("*/hooks/*")) == before


def test_operator_and_a_push_at_the_same_time_lose_nothing(team: Site) -> None:
    """Pins and pushes in turns under a daemon: at the end, unpinned, the tip is in force and the log is whole."""
    clone = team.clone()
    good = team.state().revision
    with team.daemon():
        for number in range(5):
            clone.pushed({"models/flash.yaml": binding("flash", number + 1)})
            team.pai("pin", good)
            clone.pushed({"models/flash.yaml": binding("flash", number + 100)})
            team.pai("unpin")
            assert budget(team) == number + 100
        until("the tip", lambda: team.state().revision == clone.head)
    assert team.pai("verify").out.startswith("ok: ")


def test_commit_that_a_full_disk_keeps_out_of_force_is_told(team: Site) -> None:
    """What `add` and `rollback` committed stands in git; they say so, and space brings it into force."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    first = team.state().revision
    with team.daemon() as running:
        push(team, team.clone(), {"models/flash.yaml": binding("flash", 5)})
        for words in (("add", "agent", "night", "--model", "flash"), ("rollback", first)):
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            done = team.pai(*words, code=3)
            made = team.bare("rev-parse", "main")
            assert f"error: commit {made[:7]} was made, but is not known to be in force: " in done.err
            assert any(said in done.err for said in ("not recorded", "whether this was done", "not writable"))
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, unlimited)
            until("what was committed to be in force", lambda made=made: team.state().revision == made)
    assert team.state().pin is None
