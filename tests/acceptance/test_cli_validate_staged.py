"""`pai validate --staged`: the verdict on what `git commit` would commit, in any clone and inside its hooks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import BAD, PAI, Git, Site, binding, run


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give a place without a workspace."""
    return Site(tmp_path)


@pytest.fixture
def git(site: Site) -> Git:
    """Give a repository with one commit."""
    folder = site.folder / 'a: "clone"'
    folder.mkdir()
    git = Git(folder, site.environment)
    git("init", "--quiet", "--initial-branch=main")
    git.commit({"a.yaml": binding("a")})
    return git


def staged(site: Site, git: Git, code: int = 0, **options: object) -> str:
    """Judge what is staged and give what was said, without the summary if there are problems."""
    done = site.pai("validate", "--staged", code=code, **{"cwd": git.folder, **options})
    return done.out or done.err


def hook(git: Git, *words: str) -> None:
    """Let a pre-commit hook of the repository run `pai validate --staged`."""
    place = git.folder / ".git" / "hooks" / "pre-commit"
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"#!/bin/sh\nexec {PAI} validate --staged {' '.join(words)}\n")
    place.chmod(0o755)


def test_index_is_judged_and_not_the_files(site: Site, git: Git) -> None:
    """Neither what is only on disk nor what was changed after `git add` counts; what is staged for deletion is gone."""
    git.write({"new.yaml": BAD, "a.yaml": BAD})
    assert staged(site, git) == "ok: 1 object\n"
    git("add", "new.yaml")
    git.write({"new.yaml": binding("new")})
    assert staged(site, git, 1).startswith("new.yaml:8:3: error PAI209")
    git("add", "new.yaml")
    assert staged(site, git) == "ok: 2 objects\n"
    git("rm", "--quiet", "--cached", "a.yaml")
    assert staged(site, git) == "ok: 1 object\n"


def test_rules_of_the_whole_revision_hold(site: Site, git: Git) -> None:
    """What is not staged anew counts too: it stays in the commit."""
    git.write({"again.yaml": binding("a")})
    git("add", ".")
    assert "PAI301" in staged(site, git, 1)


def test_repository_is_left_as_it_is(site: Site, git: Git) -> None:
    """Judging writes no object and does not touch the index."""
    git.write({"sub/folder/new.yaml": binding("new")})
    git("add", ".")
    before = {p: p.stat().st_mtime_ns for p in (git.folder / ".git").rglob("*")}
    assert staged(site, git) == "ok: 2 objects\n"
    assert {p: p.stat().st_mtime_ns for p in (git.folder / ".git").rglob("*")} == before


@pytest.mark.parametrize("words", [["-a"], ["a.yaml"], ["--include", "a.yaml"]], ids=["all", "only", "include"])
def test_hook_judges_the_commit_under_way(git: Git, words: list[str]) -> None:
    """In `git commit -a` and `git commit FILE` git keeps the index elsewhere and tells the hook where."""
    hook(git)
    git.write({"a.yaml": BAD})
    refused = git.run("commit", "--quiet", "--message", "bad", *words)
    assert refused.code == 1
    assert "a.yaml:8:3: error PAI209" in refused.out + refused.err
    git.write({"a.yaml": binding("a", 5)})
    assert git.run("commit", "--quiet", "--message", "good", *words).code == 0


def test_hook_of_a_linked_work_tree_judges_its_own_index(git: Git) -> None:
    """`git worktree` has an index of its own; the main one is not looked at."""
    hook(git)
    git.write({"bad.yaml": BAD})
    git("add", ".")
    git("worktree", "add", "--quiet", "../linked")
    linked = Git(git.folder.parent / "linked", git.environment)
    linked.write({"b.yaml": binding("b")})
    linked("add", ".")
    assert linked.run("commit", "--quiet", "--message", "good").code == 0
    linked.write({"b.yaml": BAD})
    assert "b.yaml:8:3" in linked.run("commit", "--quiet", "--all", "--message", "bad").err.replace("\n", " ") + (
        linked.run("commit", "--quiet", "--all", "--message", "bad").out
    )


def test_first_commit_can_be_judged(site: Site) -> None:
    """A repository without a commit, and one with nothing staged, are no special case."""
    folder = site.folder / "new"
    folder.mkdir()
    git = Git(folder, site.environment)
    git("init", "--quiet")
    assert staged(site, git) == "ok: 0 objects\n"
    git.write({"bad.yaml": BAD})
    git("add", ".")
    assert "bad.yaml:8:3" in staged(site, git, 1)


def test_what_is_only_meant_to_be_added_does_not_count(site: Site, git: Git) -> None:
    """`git add --intent-to-add` puts nothing into the next commit."""
    git.write({"bad.yaml": BAD})
    git("add", "--intent-to-add", "bad.yaml")
    assert staged(site, git) == "ok: 1 object\n"


def test_conflict_is_told_as_git_does(site: Site, git: Git) -> None:
    """While a merge is unresolved there is nothing to commit, and so no verdict."""
    git("checkout", "--quiet", "-b", "other")
    git.commit({"a.yaml": binding("a", 2)})
    git("checkout", "--quiet", "main")
    git.commit({"a.yaml": binding("a", 3)})
    assert git.run("merge", "other").code == 1
    said = staged(site, git, 3)
    assert said.startswith("error: what is staged cannot be read: ")
    assert "hint: " in said


def test_outside_of_a_repository_says_so(site: Site, git: Git) -> None:
    """Neither a plain folder nor a bare repository has anything staged."""
    assert "not a git repository" in staged(site, git, 3, cwd=site.folder)
    git("clone", "--quiet", "--bare", ".", "../bare.git")
    assert "must be run in a work tree" in staged(site, git, 3, cwd=site.folder / "bare.git")
    done = run([PAI, "validate", "--staged"], {**site.environment, "PATH": os.devnull}, git.folder)
    assert (done.code, done.err.startswith("error: git cannot be run")) == (3, True)


def test_no_program_of_the_repository_is_run(site: Site, git: Git) -> None:
    """Neither what watches its files nor a hook, whatever its configuration names."""
    hooks = site.folder / "hooks"
    hooks.mkdir()
    for name in ("watch", "post-index-change", "reference-transaction"):
        (hooks / name).write_text(f'#!/bin/sh\ntouch "{site.folder}/ran-$(basename "$0")"\n')
        (hooks / name).chmod(0o755)
    git("config", "core.fsmonitor", str(hooks / "watch"))
    git("config", "core.hooksPath", str(hooks))
    git.write({"new.yaml": binding("new")})
    git("add", "new.yaml")
    assert list(site.folder.glob("ran-*"))
    for ran in site.folder.glob("ran-*"):
        ran.unlink()
    assert staged(site, git) == "ok: 2 objects\n"
    assert not list(site.folder.glob("ran-*"))


def test_nothing_is_fetched_by_the_way_that_the_repository_names(site: Site, git: Git) -> None:
    """A partial clone has git fetch what is missing, by a program that the repository's configuration may name."""
    program, remote = site.folder / "fetch", site.folder / "remote"
    program.write_text(f'#!/bin/sh\ntouch "{site.folder}/ran"\nexit 1\n')
    program.chmod(0o755)
    remote.mkdir()
    git.write({"new.yaml": binding("new")})
    git("add", "new.yaml")
    oid = git("rev-parse", ":new.yaml").strip()
    (git.folder / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    git("config", "core.repositoryFormatVersion", "1")
    git("config", "extensions.partialClone", "origin")
    git("config", "remote.origin.url", str(remote))
    git("config", "remote.origin.promisor", "true")
    git("config", "remote.origin.uploadPack", str(program))
    for protocol in ("", "file."):
        git("config", f"protocol.{protocol}allow", "always")
    assert staged(site, git, code=3).startswith("error: what is staged cannot be read")
    assert not (site.folder / "ran").exists()
