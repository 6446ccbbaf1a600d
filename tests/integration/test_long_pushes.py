"""Pushes of very many commits, and of commits that claim very much: all get their outcomes, and others go on.

What cannot be given an outcome afterwards is refused before it is in, whichever commit of the push it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

import pytest

from reconciler.reconcile import JUDGED_MAX, PERSON_CHARACTERS_MAX, RECORDED_MAX, TOGETHER_MAX
from reconciler.source.history import COMMIT_BYTES_MAX, PARENTS_MAX
from tests.support import Git, Site, binding
from tests.support_bombs import Objects

WHO = "A <a@example.com> 1700000000 +0000"


@pytest.fixture
def clone(site: Site) -> Git:
    """Give a clone whose pushes are judged."""
    return site.clone()


def commit(git: Git, parents: Iterable[str], message: str = "x", author: str = WHO) -> str:
    """Write a commit with the tree of HEAD."""
    listed = "".join(f"parent {parent}\n" for parent in parents)
    tree = git("rev-parse", "HEAD^{tree}")
    return Objects(git).add("commit", f"tree {tree}\n{listed}author {author}\ncommitter {WHO}\n\n{message}\n".encode())


def long_line(git: Git, count: int) -> list[str]:
    """Put so many commits on top of HEAD, and give them, oldest first."""
    head = git.head
    stream = "".join(
        f"commit refs/heads/long\nmark :{n}\ncommitter {WHO}\ndata 1\nx\n" + (f"from {head}\n" if n == 1 else "")
        for n in range(1, count + 1)
    )
    command = ["git", "fast-import", "--quiet"]
    subprocess.run(command, cwd=git.folder, input=stream.encode(), check=True, env=git.environment)
    return git("rev-list", "--first-parent", "--reverse", f"{head}..long").split()


def test_commits_of_a_long_push_come_in_parts_and_each_once(site: Site, clone: Git) -> None:
    """Those passed over are recorded in several transactions, before what the tip brings, in order."""
    first = clone.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    line = long_line(clone, JUDGED_MAX + 2 * TOGETHER_MAX + 50)
    assert clone.push("long:main").code == 0
    site.pai("reconcile")
    passed = len(line) - JUDGED_MAX
    outcomes = ["superseded"] * passed + ["accepted"] * JUDGED_MAX
    assert site.outcomes() == [(first, "accepted"), *zip(line, outcomes, strict=True)]
    times = [row["time"] for row in site.rows("type:revision.superseded")]
    assert len(times) == passed
    assert len(set(times)) == 3


def test_commits_that_change_everything_many_times_take_no_more_than_a_share(site: Site, clone: Git) -> None:
    """Two trees in turn are a small push, and would be very many events; the tip is in force all the same."""
    trees = []
    for tokens in (1, 2):
        clone.commit({f"models/m{n}.yaml": binding(f"m{n}", tokens) for n in range(300)})
        trees.append(clone("rev-parse", "HEAD^{tree}"))
    old = clone.head
    for n in range(60):
        old = clone("commit-tree", trees[n % 2], "-p", old, "-m", "x")
    assert clone.push(f"{old}:refs/heads/main").code == 0
    site.pai("reconcile")
    outcomes = site.outcomes()
    assert len(outcomes) == 62
    assert outcomes[-1] == (old, "accepted")
    assert {outcome for _, outcome in outcomes[40:-1]} == {"superseded"}
    assert len(site.rows("type:binding")) <= RECORDED_MAX + 300
    assert site.state().models["m7"].spec["maxTokensPerDay"] == 2


@pytest.mark.parametrize("what", ["parents", "bytes"])
@pytest.mark.parametrize("running", [False, True])
def test_commit_that_cannot_be_walked_over_is_refused_below_a_sound_tip(
    site: Site, clone: Git, what: str, running: bool
) -> None:
    """Else the branch would be one that nobody can follow any more."""
    old = clone.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    if what == "parents":
        bad = commit(clone, [old] * (PARENTS_MAX + 1))
    else:
        bad = commit(clone, [old], "x" * COMMIT_BYTES_MAX)
    tip = commit(clone, [bad])
    if running:
        with site.daemon():
            refused = clone.push(f"{tip}:main")
    else:
        refused = clone.push(f"{tip}:main")
    assert refused.code != 0
    assert bad in refused.err
    assert site.bare("rev-parse", "main") == old


def test_what_a_commit_claims_of_its_author_is_short_on_the_log(site: Site, clone: Git) -> None:
    """A name may be as long as the commit, and stands in every event of what the commit changes."""
    old = clone.pushed({"models/a.yaml": binding("a")})
    tip = commit(clone, [old], author=f"{'n' * 200_000} <{'e' * 200_000}@example.com> 1700000000 +0000")
    assert clone.push(f"{tip}:main").code == 0
    site.pai("reconcile")
    event = site.rows("type:revision.accepted")[-1]
    claimed = event["data"]["author"]
    assert event["data"]["commit"] == tip
    assert len(claimed["name"]) == len(claimed["email"]) == len(event["actor"]) == PERSON_CHARACTERS_MAX
