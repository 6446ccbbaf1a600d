"""How a branch got from one commit to another, on real histories."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import SourceUnavailable
from reconciler.source.git import Repository, Walk

from .conftest import Git


def test_walk_forward_lists_new_commits_oldest_first(git: Git) -> None:
    """A fast-forward gives every commit since, the tip last."""
    shas = [git.commit(message=f"{i}") for i in range(4)]
    repository = Repository.open(git.folder)
    assert repository.walk(shas[3], shas[1]) == Walk("forward", shas[2:])
    assert repository.walk(shas[3], None) == Walk("first", shas)
    assert repository.walk(shas[3], shas[3]) == Walk("same", [])


def test_walk_follows_first_parents_through_merge_and_octopus(git: Git) -> None:
    """What a merge brought in belongs to the merge, however many parents it has."""
    base = git.commit(message="base")
    for name in ("one", "two", "three"):
        git("checkout", "--quiet", "-b", name, base)
        git.commit({name: "x"}, f"side {name}")
    git("checkout", "--quiet", "main")
    own = git.commit({"own": "x"}, "own")
    git("merge", "--quiet", "--no-ff", "-m", "merge", "one")
    merge = git("rev-parse", "HEAD")
    git("merge", "--quiet", "--no-ff", "-m", "octopus", "two", "three")
    octopus = git("rev-parse", "HEAD")
    repository = Repository.open(git.folder)
    assert repository.walk(octopus, base) == Walk("forward", [own, merge, octopus])
    assert len(repository.commit(octopus).parents) == 3


def test_walk_of_a_foxtrot_merge_is_merged(git: Git) -> None:
    """A merge that turned the old tip into a second parent lists what the old tip did not have."""
    base = git.commit(message="base")
    old = git.commit({"ours": "x"}, "ours")
    git("checkout", "--quiet", "-b", "theirs", base)
    theirs = git.commit({"theirs": "x"}, "theirs")
    git("merge", "--quiet", "--no-ff", "-m", "foxtrot", "main")
    tip = git("rev-parse", "HEAD")
    assert Repository.open(git.folder).walk(tip, old) == Walk("merged", [theirs, tip])


def test_walk_after_a_force_push_is_rewritten(git: Git) -> None:
    """Replaced history gives the commits that the old tip does not reach; a branch set back gives none."""
    base = git.commit(message="base")
    middle = git.commit(message="middle")
    old = git.commit(message="old")
    git("reset", "--quiet", "--hard", base)
    new = [git.commit(message="new 1"), git.commit(message="new 2")]
    repository = Repository.open(git.folder)
    assert repository.walk(new[1], old) == Walk("rewritten", new)
    assert repository.walk(middle, old) == Walk("rewritten", [])
    git("checkout", "--quiet", "--orphan", "fresh")
    orphan = git.commit(message="orphan")
    assert repository.walk(orphan, old) == Walk("rewritten", [orphan])


@pytest.mark.parametrize("person", ["garbage", "A <a@b> 99999999999999999999 +0000", "", "A <a\x0bb> x y"])
def test_walk_reads_nothing_of_a_commit_but_its_parents(git: Git, person: str) -> None:
    """Author lines that git would refuse stop neither a force-push, nor a merge, nor the search for a trailer."""

    def odd(*parents: str) -> str:
        lines = [f"tree {git('rev-parse', base + '^{tree}')}", *(f"parent {sha}" for sha in parents)]
        raw = "\n".join([*lines, f"author {person}", f"committer {person}", "", "odd"])
        return git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw.encode())

    base = git.commit(message="base")
    old = git.commit(message="old")
    new = odd(base)
    merge = odd(new, old)
    repository = Repository.open(git.folder)
    assert repository.walk(new, old) == Walk("rewritten", [new])
    assert repository.walk(merge, old) == Walk("merged", [new, merge])
    assert repository.walk(old, merge) == Walk("rewritten", [])
    assert list(repository.reachable(merge, hide=old)) == [merge, new]


def test_walk_from_a_collected_commit_lists_the_tip_alone(git: Git) -> None:
    """When the old tip's object is gone, nobody can tell what is new, so old commits are not told again."""
    git.commit(message="base")
    shas = [git.commit(message="a"), git.commit(message="b")]
    repository = Repository.open(git.folder)
    assert repository.walk(shas[1], "1" * 40) == Walk("rewritten", [shas[1]])
    assert list(repository.reachable(shas[1], hide="1" * 40)) == [shas[1]]


def test_reachable_follows_all_parents_and_hides_what_was_known(git: Git) -> None:
    """Side branches that came with a merge are listed, the known past is not."""
    base = git.commit(message="base")
    git("checkout", "--quiet", "-b", "side")
    side = git.commit({"s": "x"}, "side")
    git("checkout", "--quiet", "main")
    git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    tip = git("rev-parse", "HEAD")
    repository = Repository.open(git.folder)
    assert list(repository.reachable(tip, hide=base)) == [tip, side]
    assert set(repository.reachable(tip)) == {tip, side, base}
    assert list(repository.reachable(base, hide=tip)) == []


def test_shallow_clone_is_read_up_to_its_edge(git: Git, tmp_path: Path) -> None:
    """The edge of a shallow clone counts as the beginning, and an old tip beyond it as gone."""
    shas = [git.commit({"a": f"{i}"}, f"{i}") for i in range(5)]
    git("clone", "--quiet", "--bare", "--depth", "2", f"file://{git.folder}", str(tmp_path / "shallow.git"))
    repository = Repository.open(tmp_path / "shallow.git")
    assert repository.walk(shas[4], None) == Walk("first", shas[3:])
    assert repository.walk(shas[4], shas[3]) == Walk("forward", shas[4:])
    assert repository.walk(shas[4], shas[0]).relation == "rewritten"
    assert list(repository.reachable(shas[4])) == [shas[4], shas[3]]
    assert repository.commit(shas[3]).parents == (shas[2],)


def test_shallow_clone_tells_a_force_push(git: Git, tmp_path: Path) -> None:
    """Two lines that meet only beyond the edge are a rewrite, not a crash."""
    shas = [git.commit({"a": f"{i}"}, f"{i}") for i in range(5)]
    git("checkout", "--quiet", "-b", "other", shas[1])
    other = git.commit({"b": "1"}, "other")
    git("clone", "--quiet", "--bare", "--no-single-branch", "--depth", "2", f"file://{git.folder}", f"{tmp_path}/s.git")
    repository = Repository.open(tmp_path / "s.git")
    walk = repository.walk(shas[4], other)
    assert (walk.relation, walk.commits) == ("rewritten", shas[3:])


def test_walk_over_a_missing_parent_is_unavailable(git: Git) -> None:
    """A hole in a history that is not shallow is damage, and said so."""
    first = git.commit(message="1")
    tip = git.commit(message="2")
    (git.folder / ".git" / "objects" / first[:2] / first[2:]).unlink()
    with pytest.raises(SourceUnavailable):
        Repository.open(git.folder).walk(tip, None)
