"""Branches that are in use, and work that git hides: Pai moves and overwrites nothing that git would not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from reconciler.core.errors import Refused
from reconciler.source.git import Author, Repository
from source.conftest import Git

ALICE = Author("Alice", "alice@example.com")


def tip_of(git: Git, files: dict[str, str], message: str = "m") -> str:
    """Commit files with git, and give the commit."""
    for path, text in files.items():
        (git.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (git.folder / path).write_text(text)
    git("add", "--all")
    git("commit", "--quiet", "-m", message)
    return git("rev-parse", "HEAD")


def write(folder: Path, tip: str, content: bytes = b"changed\n") -> str:
    """Commit a.yaml onto main with Pai."""
    return Repository.open(folder).write("main", tip, {"a.yaml": content}, "m", ALICE)


def test_branch_of_a_linked_work_tree_is_not_moved(git: Git, tmp_path: Path) -> None:
    """Neither from the main one, nor from a third, nor in a bare repository whose own HEAD names the branch."""
    tip = tip_of(git, {"a.yaml": "a\n"})
    git("checkout", "--quiet", "-b", "other")
    git("worktree", "add", "--quiet", str(tmp_path / "linked"), "main")
    git("worktree", "add", "--quiet", "-b", "third", str(tmp_path / "third"))
    git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    bare = git.at(tmp_path / "bare")
    bare("worktree", "add", "--quiet", str(tmp_path / "of-bare"), "main")
    for folder, place in ((git.folder, "linked"), (tmp_path / "third", "linked"), (bare.folder, "of-bare")):
        with pytest.raises(Refused, match=f"branch main is checked out in .*{place}"):
            write(folder, tip)
        assert Repository.open(folder).tip("main") == tip
    made = write(tmp_path / "linked", tip)
    assert (tmp_path / "linked" / "a.yaml").read_text() == "changed\n"
    assert git("rev-parse", "main") == made
    assert git.at(tmp_path / "linked")("status", "--porcelain") == ""


@pytest.mark.parametrize("linked", [False, True])
def test_branch_that_is_being_rebased_or_bisected_is_not_moved(git: Git, tmp_path: Path, linked: bool) -> None:
    """HEAD is elsewhere then, and git sets the branch at the end of it: what was committed would be lost."""
    first = tip_of(git, {"a.yaml": "a\n"})
    git("checkout", "--quiet", "-b", "side")
    tip_of(git, {"a.yaml": "side\n"})
    git("checkout", "--quiet", "main")
    middle = tip_of(git, {"b.yaml": "b\n"})
    tip = tip_of(git, {"a.yaml": "main\n"})
    place = git
    if linked:
        git("checkout", "--quiet", "-b", "elsewhere")
        git("worktree", "add", "--quiet", str(tmp_path / "linked"), "main")
        place = git.at(tmp_path / "linked")
    place.raw("rebase", "side", check=False)
    with pytest.raises(Refused, match="being rebased in") as caught:
        write(git.folder, tip)
    assert str(place.folder) in caught.value.message
    place("rebase", "--abort")
    place("bisect", "start", tip, first)
    assert middle
    with pytest.raises(Refused, match="being bisected in"):
        write(git.folder, tip)
    place("bisect", "reset")
    write(place.folder, tip)


@pytest.mark.parametrize("bit", ["skip-worktree", "assume-unchanged"])
def test_work_that_git_hides_is_not_overwritten(git: Git, bit: str) -> None:
    """`git status` is silent about it, and so is libgit2."""
    tip = tip_of(git, {"a.yaml": "a\n", "b.yaml": "b\n"})
    git("update-index", f"--{bit}", "a.yaml")
    (git.folder / "a.yaml").write_text("precious\n")
    assert git("status", "--porcelain") == ""
    with pytest.raises(Refused, match=f"uncommitted changes, which git hides \\({bit}\\)") as caught:
        write(git.folder, tip)
    assert (git.folder / "a.yaml").read_text() == "precious\n"
    assert Repository.open(git.folder).tip("main") == tip
    git(*caught.value.hint.partition(" lets ")[0].split()[3:])
    assert git("status", "--porcelain") == "M a.yaml"


def test_line_to_type_names_a_file_as_a_shell_reads_it(git: Git) -> None:
    """Authors choose names; who types the hint runs nothing of theirs."""
    name = "a $(touch owned).yaml"
    tip = tip_of(git, {name: "a\n"})
    git("update-index", "--skip-worktree", name)
    (git.folder / name).write_text("precious\n")
    with pytest.raises(Refused, match="which git hides") as caught:
        Repository.open(git.folder).write("main", tip, {name: b"changed\n"}, "m", ALICE)
    git(*shlex.split(caught.value.hint.partition(" lets ")[0])[3:])
    assert git("status", "--porcelain") == f'M "{name}"'


@pytest.mark.parametrize("ignored", [True, False])
def test_what_git_does_not_track_stays_where_a_file_is_to_be(git: Git, ignored: bool) -> None:
    """A folder in the place of the file, or a file that git ignores: neither is in any commit."""
    tip = tip_of(git, {"b.yaml": "b\n", ".gitignore": "a.yaml\n" if ignored else "other\n"})
    place = git.folder / "a.yaml"
    if not ignored:
        place.mkdir()
        place /= "notes"
    place.write_text("precious\n")
    with pytest.raises(Refused, match="uncommitted changes"):
        write(git.folder, tip)
    assert place.read_text() == "precious\n"
    assert Repository.open(git.folder).tip("main") == tip


@pytest.mark.parametrize("bit", ["skip-worktree", "assume-unchanged"])
def test_hidden_file_without_changes_follows_and_stays_hidden(git: Git, bit: str) -> None:
    """The bit is the user's; it is there afterwards."""
    tip = tip_of(git, {"a.yaml": "a\n"})
    git("update-index", f"--{bit}", "a.yaml")
    write(git.folder, tip)
    assert (git.folder / "a.yaml").read_text() == "changed\n"
    assert git("ls-files", "-v", "a.yaml")[0] == {"skip-worktree": "S", "assume-unchanged": "h"}[bit]
    git("update-index", f"--no-{bit}", "a.yaml")
    assert git("status", "--porcelain") == ""


def test_file_that_a_sparse_checkout_leaves_out_stays_out(git: Git) -> None:
    """The commit has it, the disk does not get it."""
    tip = tip_of(git, {"models/a.yaml": "a\n", "docs/b.yaml": "b\n"})
    git("sparse-checkout", "set", "docs")
    assert not (git.folder / "models").exists()
    made = Repository.open(git.folder).write("main", tip, {"models/a.yaml": b"changed\n"}, "m", ALICE)
    assert git("show", "main:models/a.yaml") == "changed"
    assert git("rev-parse", "HEAD") == made
    assert not (git.folder / "models").exists()
    assert git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("attributes", "config"),
    [("working-tree-encoding=UTF-16", ""), ("eol=crlf", ""), ("ident", ""), ("filter=shout", ""), ("-x", "autocrlf")],
)
def test_file_that_git_converts_follows_as_git_would_check_it_out(git: Git, attributes: str, config: str) -> None:
    """The work tree stays clean, is what a checkout gives, and can be written again, while edits still count."""
    git("config", "filter.shout.smudge", "tr ab AB")
    git("config", "filter.shout.clean", "tr AB ab")
    if config:
        git("config", f"core.{config}", "true")
    git.commit({".gitattributes": f"*.yaml {attributes}\n", "c": ""})
    repository = Repository.open(git.folder)
    tip: str | None = git("rev-parse", "HEAD")
    for text in (b"a: $Id$\nb: 1\n", b"a: $Id$\nb: 2\n"):
        made = repository.write("main", tip, {"a.yaml": text, "new/b.yaml": text}, "m", ALICE)
        tip = made
        assert git("status", "--porcelain") == ""
        follows = (git.folder / "a.yaml").read_bytes()
        git("rm", "--quiet", "--cached", "a.yaml")
        git("reset", "--quiet", "--hard")
        assert (git.folder / "a.yaml").read_bytes() == follows
        assert git.raw("cat-file", "blob", f"{made}:a.yaml").stdout == text
    assert follows != text
    (git.folder / "a.yaml").write_bytes(follows[:-4])
    with pytest.raises(Refused, match="has uncommitted changes"):
        repository.write("main", tip, {"a.yaml": b"a: 3\n"}, "m", ALICE)
