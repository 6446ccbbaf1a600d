"""Commits that Pai makes, on real repositories and against real git processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.core.errors import NotFound, Refused, SourceUnavailable
from reconciler.source import writing
from reconciler.source.git import Author, RaceLost, Repository, user_identity
from reconciler.source.mapping import mapped

from .conftest import Git

ALICE = Author("Alice Ä", "alice@example.com")


def test_write_makes_the_first_commit_of_an_empty_repository(bare: Git) -> None:
    """The branch comes into being with the first write."""
    repository = Repository.open(bare.folder)
    sha = repository.write("main", None, {"models/a.yaml": b"a", "b.yaml": b"b"}, "Add a\n\nbody", ALICE)
    assert repository.tip("main") == bare("rev-parse", "main") == sha
    assert bare("ls-tree", "-r", "--name-only", "main").split() == ["b.yaml", "models/a.yaml"]
    info = repository.commit(sha)
    assert (info.author.name, info.author.email) == ALICE[:2]
    assert (info.parents, info.message) == ((), "Add a\n\nbody\n")
    bare("fsck", "--strict")


def test_write_changes_only_what_it_names(bare: Git) -> None:
    """Siblings, modes and odd names stay; emptied folders vanish; the tree is one that git accepts."""
    old = bare.fast_import({"a.b": "1", "a/x": "1", "a/y": "1", "a0": "1", "gone/deep/z": "1"})
    line = b"100755 blob %s\ta/run\xff.sh\0" % bare("rev-parse", "main:a0").encode()
    tree = bare("mktree", "-z", stdin=line.replace(b"a/", b""))
    mixed = bare("mktree", stdin=bare.raw("ls-tree", old).stdout + b"040000 tree %s\todd\n" % tree.encode())
    old = bare("commit-tree", mixed, "-p", old, "-m", "odd")
    bare("update-ref", "refs/heads/main", old)
    repository = Repository.open(bare.folder)
    odd = os.fsdecode(b"odd/run\xff.sh")
    files = {"a/x": b"2", "a/new/f": b"n", "gone/deep/z": None, odd: b"#!"}
    new = repository.write("main", old, files, "m", ALICE)
    bare("fsck", "--strict")
    assert {p: e and repository.blob(e.oid) for p, e in repository.changes(old, new)} == files
    assert b"100755" in bare.raw("ls-tree", "main:odd").stdout
    assert bare.raw("cat-file", "-e", "main:gone", check=False).returncode != 0
    assert repository.write("main", new, {"a/x": b"2"}, "same", ALICE) == new
    emptied = repository.write("main", new, dict.fromkeys([e.path for e in repository.entries(new)]), "all", ALICE)
    assert list(repository.entries(emptied)) == []
    bare("fsck", "--strict")


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../b", "a//b", "", ".git/config", "x/.GIT/y", "nul\0", "."])
def test_write_refuses_paths_outside_the_repository(bare: Git, path: str) -> None:
    """A path that could leave the repository, or name git's own folder, is never written."""
    with pytest.raises(Refused):
        Repository.open(bare.folder).write("main", None, {path: b"x"}, "m", ALICE)
    assert Repository.open(bare.folder).missing("main") is None


def test_write_refuses_to_turn_one_sort_into_another(bare: Git) -> None:
    """A file is not replaced by a folder, nor a folder or a symlink by a file, nor is nothing deleted."""
    old = bare.fast_import({"f": "1", "d/x": "1"})
    repository = Repository.open(bare.folder)
    for files in ({"f/x": b""}, {"d": b""}, {"d": None}):
        with pytest.raises(Refused, match="is there already"):
            repository.write("main", old, files, "m", ALICE)
    with pytest.raises(NotFound):
        repository.write("main", old, {"none": None}, "m", ALICE)
    assert repository.tip("main") == old


def test_write_loses_the_race_against_a_branch_that_moved(bare: Git) -> None:
    """Neither a moved branch nor one that came or went meanwhile is overwritten."""
    old = bare.fast_import({"a": "1"})
    new = bare.fast_import({"a": "2"}, parent=old)
    repository = Repository.open(bare.folder)
    for expected in (old, None):
        with pytest.raises(RaceLost):
            repository.write("main", expected, {"b": b"x"}, "m", ALICE)
    assert repository.tip("main") == new
    with pytest.raises(RaceLost):
        repository.write("absent", old, {"b": b"x"}, "m", ALICE)


def test_write_tells_of_a_lock_that_stays(bare: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ref lock left behind by a dead git is named, not broken."""
    monkeypatch.setattr(writing, "LOCK_WAIT_S", 0.05)
    old = bare.fast_import({"a": "1"})
    lock = bare.folder / "refs" / "heads" / "main.lock"
    lock.touch()
    with pytest.raises(SourceUnavailable, match="locked") as caught:
        Repository.open(bare.folder).write("main", old, {"b": b"x"}, "m", ALICE)
    assert str(lock) in caught.value.hint


WRITER = """
import sys
from pathlib import Path
from reconciler.source.git import Author, RaceLost, Repository
repository, name = Repository.open(Path(sys.argv[1])), sys.argv[2]
for number in range(int(sys.argv[3])):
    while True:
        try:
            repository.write("main", repository.tip("main"), {f"{name}/{number}": b"x"}, "m", Author(name, "e"))
            break
        except RaceLost:
            print("lost", flush=True)
"""


def test_concurrent_writers_and_pushes_lose_no_commit(bare: Git, git: Git) -> None:
    """Two processes that write and a git that pushes all get every commit in, on one line of history."""
    each = 15
    command = [sys.executable, "-c", WRITER, str(bare.folder)]
    writers = [subprocess.Popen([*command, name, str(each)], stdout=subprocess.PIPE) for name in ("one", "two")]
    git("remote", "add", "origin", str(bare.folder))
    pushed = 0
    while pushed < 5:
        if git.raw("fetch", "--quiet", "origin", "main", check=False).returncode == 0:
            git("reset", "--quiet", "--hard", "FETCH_HEAD")
            git.commit({f"git/{pushed}": "x"})
            pushed += git.raw("push", "--quiet", "origin", "HEAD:main", check=False).returncode == 0
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    assert len(bare("rev-list", "main").split()) == 2 * each + pushed
    assert len(bare("ls-tree", "-r", "--name-only", "main").split()) == 2 * each + pushed
    bare("fsck", "--strict")


def test_write_brings_a_work_tree_along(git: Git) -> None:
    """Where the branch is checked out, files and index follow, and git sees a clean work tree."""
    old = git.commit({"d/a.yaml": "1", "keep.yaml": "k", "gone/x": "1"})
    (git.folder / "d" / "a.yaml").chmod(0o755)
    old = git.commit()
    (git.folder / "keep.yaml").write_text("work in progress")
    repository = Repository.open(git.folder)
    repository.write("main", old, {"d/a.yaml": b"2", "new/n.yaml": b"n", "gone/x": None}, "m", ALICE)
    assert git("status", "--porcelain") == "M keep.yaml"
    assert (git.folder / "d" / "a.yaml").read_bytes() == b"2"
    assert os.access(git.folder / "d" / "a.yaml", os.X_OK)
    assert not (git.folder / "gone").exists()
    assert "pai: m" in git("reflog", "-1")


def test_write_keeps_uncommitted_work(git: Git) -> None:
    """Edited, staged, untracked and symlinked-away places are refused before anything is committed."""
    old = git.commit({"a": "1", "b": "1", ".gitignore": "ignored\n"})
    (git.folder / "a").write_text("edited")
    (git.folder / "b").write_text("staged")
    git("add", "b")
    (git.folder / "untracked").write_text("u")
    (git.folder / "ignored").write_text("i")
    (git.folder / "link").symlink_to("/tmp")
    repository = Repository.open(git.folder)
    for path in ("a", "b", "untracked", "ignored", "link/x", "untracked/x"):
        with pytest.raises(Refused) as caught:
            repository.write("main", old, {path: b"mine"}, "m", ALICE)
        assert caught.value.hint
    assert repository.tip("main") == old
    assert (git.folder / "a").read_text() == "edited"


def test_write_takes_uncommitted_work_that_says_the_same(git: Git) -> None:
    """A file whose edited, staged or new text is what is to be committed is in nobody's way."""
    old = git.commit({"a": "1", "b": "1", "c": "1"})
    for name in ("a", "b", "new"):
        (git.folder / name).write_text("2")
    git("add", "b")
    (git.folder / "c").write_text("33")  # another size: git compares times to the second, and trusts them
    Repository.open(git.folder).write("main", old, {"a": b"2", "b": b"2", "new": b"2"}, "m", ALICE)
    assert git("status", "--porcelain") == "M c"
    assert git("show", "HEAD:new") == "2"
    (git.folder / "c").write_text("4")
    git("add", "c")
    (git.folder / "c").write_text("5")
    with pytest.raises(Refused, match="uncommitted"):
        Repository.open(git.folder).write("main", git("rev-parse", "HEAD"), {"c": b"5"}, "m", ALICE)
    assert git("show", ":c") == "4"


def test_write_to_the_first_commit_of_a_work_tree(git: Git) -> None:
    """An unborn branch is checked out as well, so its files appear."""
    Repository.open(git.folder).write("main", None, {"models/a.yaml": b"1"}, "first", ALICE)
    assert (git.folder / "models" / "a.yaml").read_bytes() == b"1"
    assert git("status", "--porcelain") == ""


def test_write_refuses_a_branch_checked_out_elsewhere(git: Git, tmp_path: Path) -> None:
    """A branch that another work tree stands on is not pulled away under it; that work tree itself may write."""
    old = git.commit({"a": "1"})
    git("worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    with pytest.raises(Refused, match="branch linked is checked out in"):
        Repository.open(git.folder).write("linked", old, {"a": b"2"}, "m", ALICE)
    new = Repository.open(tmp_path / "linked").write("linked", old, {"a": b"2"}, "m", ALICE)
    assert git.at(tmp_path / "linked")("status", "--porcelain") == ""
    assert Repository.open(git.folder).write("main", old, {"b": b"2"}, "m", ALICE) != new
    git("branch", "plain", old)
    Repository.open(git.folder).write("plain", old, {"c": b"2"}, "m", ALICE)
    assert git("status", "--porcelain") == ""


def test_write_survives_odd_authors_and_messages(bare: Git) -> None:
    """Names and messages that git's format cannot hold are cleaned, never an error."""
    repository = Repository.open(bare.folder)
    tip = repository.write("main", None, {"a": b"1"}, "bad \udcff", Author("<e\nvil>", ""))
    info = repository.commit(tip)
    assert (info.author.name, info.author.email, info.message) == ("evil", "unknown", "bad ?\n")
    bare("fsck", "--strict")


def test_identity_is_what_git_says(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Author and committer, from every configuration and variable that git reads, with its time."""
    repository = Repository.open(git.folder)
    git("config", "user.name", "Configured")
    git("config", "user.email", "c@example.com")
    assert repository.identity().author[:2] == repository.identity().committer[:2] == ("Configured", "c@example.com")
    git("config", "author.email", "author@example.com")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Committer")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2026-11-23T10:00:00+0530")
    found = repository.identity()
    assert found.author == ("Configured", "author@example.com", 1_795_408_200, 330)
    assert found.committer[:2] == ("Committer", "c@example.com")
    tip = repository.write("main", None, {"a": b"1"}, "m", found)
    assert git("log", "-1", "--format=%an %ae %cn %ce %ai", tip) == (
        "Configured author@example.com Committer c@example.com 2026-11-23 10:00:00 +0530"
    )
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Counted")
    assert repository.identity().author.name == "Counted"
    for name in ("GIT_CONFIG_COUNT", "GIT_COMMITTER_NAME"):
        monkeypatch.delenv(name)
    other = tmp_path / "global"
    other.write_text("[user]\n\tname = Global\n")
    git("config", "--unset", "user.name")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(other))
    assert repository.identity().author.name == "Global"
    for name in ("user.email", "author.email"):
        git("config", "--unset", name)
    monkeypatch.setenv("EMAIL", "mail@example.com")
    assert repository.identity().author.email == "mail@example.com"


def test_without_an_identity_nothing_is_committed(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As git refuses it, with its words and the way out; what is no commit is laid to the account."""
    git("config", "user.useConfigOnly", "true")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    with pytest.raises(Refused, match="git does not know who you are") as caught:
        Repository.open(git.folder).identity()
    assert "git config --global user.email" in caught.value.hint
    assert "@" in user_identity(git.folder).email


def test_user_identity_needs_no_repository(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a repository, or with one that cannot be opened, it is the environment's author, or somebody."""
    for path in (None, tmp_path / "nothing-here"):
        monkeypatch.delenv("GIT_AUTHOR_EMAIL", raising=False)
        assert "@" in user_identity(path).email
        monkeypatch.setenv("GIT_AUTHOR_EMAIL", "env@example.com")
        assert user_identity(path).email == "env@example.com"
    git("config", "user.email", "c@example.com")
    monkeypatch.delenv("GIT_AUTHOR_EMAIL")
    assert user_identity(git.folder).email == "c@example.com"


def test_identity_is_text_whatever_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no UTF-8 become replacement characters: commits and events hold text."""
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Zo\udceb")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "\udcff@example.com")
    assert user_identity(None)[:2] == ("Zo\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}@example.com")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_full_or_broken_disk_is_named_as_the_cause(tmp_path: Path, number: int) -> None:
    """What the system says about the disk is kept, and the hint does not send people to look into the repository."""
    with pytest.raises(SourceUnavailable, match=os.strerror(number)) as caught, mapped(tmp_path):
        raise OSError(number, f"failed to write out file: {os.strerror(number)}")
    assert "disk" in caught.value.hint
