"""`pai validate --rev` and `pai diff` wherever git runs: hooks of other servers, GIT_DIR, any words for a revision."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import BAD, PAI, Done, Git, Site, binding, run
from tests.support_tokens import day, record, reserved, settled


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Give a clone with three commits, whose messages have two dots in them."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git = Git(folder, Site(tmp_path).environment)
    git("init", "--quiet", "--initial-branch=main")
    git.commit({"models/a.yaml": binding("a", 1)}, "begin a..b here")
    git.commit({"models/a.yaml": binding("a", 2)}, "fix..me")
    git.commit({"models/b.yaml": binding("b", 3)}, "third")
    return git


def pai(git: Git, *words: str, cwd: Path | None = None, **variables: str) -> Done:
    """Run `pai` in the clone or elsewhere."""
    return run([PAI, *words], {**git.environment, **variables}, cwd or git.folder)


A, B = "~ model a changed", "+ model b created"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([":/fix..me"], {B}),
        ([":/fix..me", "HEAD"], {B}),
        (["HEAD^{/a..b}"], {A, B}),
        (["HEAD^{/a..b}", "HEAD~1"], {A}),
        (["HEAD~1", ":/third"], {B}),
        (["HEAD~2..HEAD~1"], {A}),
        (["HEAD~2...HEAD"], {A, B}),
        (["HEAD~1.."], {B}),
        (["..HEAD"], set()),
        (["@~1", "@"], {B}),
        (["main@{0}"], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_dots_inside_of_a_revision_are_part_of_it(git: Git, words: list[str], shown: set[str]) -> None:
    """A message may hold two dots, and a revision may quote it."""
    done = pai(git, "diff", *words)
    assert (done.code, done.err) == (0, "")
    assert {line for line in (A, B) if line in done.out} == shown


def test_revision_that_nothing_means_is_named_as_it_was_typed(git: Git) -> None:
    """Both for a range and for a quotation."""
    assert "no commit 'nowhere'" in pai(git, "diff", "nowhere..HEAD").err
    assert "no commit ':/no..where'" in pai(git, "diff", ":/no..where").err
    assert "no commit 'HEAD^{/no..where}'" in pai(git, "diff", "HEAD^{/no..where}").err
    assert "names both revisions already" in pai(git, "diff", "HEAD~1..HEAD", "HEAD").err


HOOK = """#!/bin/sh
while read -r old new ref; do
    {pai} validate --rev "$new" || exit 1
    {pai} diff "$old" "$new" || exit 1
done
"""


@pytest.mark.parametrize("unpack_limit", ["1", "1000"], ids=["packed", "loose"])
def test_hook_of_another_server_judges_what_is_pushed(git: Git, tmp_path: Path, unpack_limit: str) -> None:
    """The pushed objects lie in quarantine, where git's variables say; nothing is refused for being missing."""
    git("clone", "--quiet", "--bare", ".", "../server.git")
    server = Git(tmp_path / "server.git", git.environment)
    server("config", "receive.unpackLimit", unpack_limit)
    hook = server.folder / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(pai=PAI))
    hook.chmod(0o755)
    git.commit({"models/c.yaml": binding("c", 4)})
    done = git.run("push", "../server.git", "HEAD:main")
    assert done.code == 0, done
    assert "+ model c created" in done.err
    git.commit({"models/d.yaml": BAD})
    done = git.run("push", "../server.git", "HEAD:main")
    assert done.code == 1
    assert "models/d.yaml:8:3: error PAI209" in done.err


def test_variables_name_the_repository_and_its_files(git: Git, tmp_path: Path) -> None:
    """GIT_DIR comes before what lies around the folder; PATH counts from the work tree that git means."""
    other = tmp_path / "other"
    (other / "models").mkdir(parents=True)
    Git(other, git.environment)("init", "--quiet")
    folder = str(git.folder / ".git")
    for variables, cwd in (
        ({"GIT_DIR": folder}, tmp_path),
        ({"GIT_DIR": folder}, other),
        ({"GIT_DIR": "../clone/.git", "GIT_WORK_TREE": "."}, other),
        ({"GIT_DIR": folder, "GIT_WORK_TREE": str(other)}, other / "models"),
        ({"GIT_WORK_TREE": str(other)}, git.folder),
    ):
        assert B in pai(git, "diff", "HEAD~1", cwd=cwd, **variables).out, variables
        assert "2 objects" in pai(git, "validate", "--rev", "HEAD", cwd=cwd, **variables).err, variables
    inside = {"GIT_DIR": folder, "GIT_WORK_TREE": str(other)}
    assert "2 objects" in pai(git, "validate", "--rev", "HEAD", ".", cwd=other / "models", **inside).err
    assert "2 objects" in pai(git, "validate", "--rev", "HEAD", "models", cwd=other, GIT_DIR=folder).err
    assert "no folder" in pai(git, "validate", "--rev", "HEAD", "elsewhere", cwd=other, GIT_DIR=folder).err


def test_variable_that_names_no_repository_is_named_itself(git: Git, tmp_path: Path) -> None:
    """What is wrong is the variable, not a setting of a workspace."""
    done = pai(git, "diff", "HEAD~1", GIT_DIR=str(tmp_path / "nothing"))
    assert done.code == 3
    assert "hint: GIT_DIR names it" in done.err


def test_folders_above_a_ceiling_are_not_searched(git: Git) -> None:
    """GIT_CEILING_DIRECTORIES means here what it means to git."""
    done = pai(git, "diff", "HEAD~1", cwd=git.folder / "models", GIT_CEILING_DIRECTORIES=str(git.folder))
    assert "there is no git repository around this folder" in done.err


@pytest.mark.parametrize("kind", ["clone", "linked work tree", "submodule"])
def test_hooks_of_commits_judge_where_they_run(git: Git, tmp_path: Path, kind: str) -> None:
    """Git names another folder by GIT_DIR in each of these; PATH counts from the top of the files all the same."""
    if kind == "linked work tree":
        git("worktree", "add", "--quiet", "../linked")
        git = Git(tmp_path / "linked", git.environment)
    elif kind == "submodule":
        Git(tmp_path, git.environment)("init", "--quiet", "super")
        above = Git(tmp_path / "super", git.environment)
        above("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../clone", "sub")
        git = Git(tmp_path / "super" / "sub", git.environment)
    said = tmp_path / "said"
    hook = Path(git("rev-parse", "--path-format=absolute", "--git-path", "hooks/post-commit"))
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f'#!/bin/sh\nexec >{said} 2>&1\n[ -n "$GIT_DIR$GIT_INDEX_FILE" ] && cd models && {PAI} diff HEAD~1 && '
        f"{PAI} validate --rev HEAD . && {PAI} validate --staged\n"
    )
    hook.chmod(0o755)
    git.commit({"models/c.yaml": binding("c", 4)})
    text = said.read_text()
    assert "+ model c created" in text
    assert text.count("ok: 3 objects") == 2


def proposal(git: Git, repo: str) -> tuple[str, str]:
    """Commit a wrong manifest, and a workspace whose repository has a good one as HEAD; give base and head."""
    base = git.head
    good = git.commit({"models/a.yaml": binding("a", 4)}, "good")
    bare = git.folder.parent / "bare"
    git("clone", "--quiet", "--bare", ".", str(bare))
    git("reset", "--quiet", "--hard", base)
    inside = {str(place.relative_to(bare)): place.read_bytes() for place in bare.rglob("*") if place.is_file()}
    kept = {f"planted/{path}": data for path, data in inside.items() if not path.startswith("hooks/")}
    kept |= {f"planted/refs/heads/{name}": good.encode() for name in ("main", "keep")}
    (git.folder / "link").symlink_to("planted")
    head = git.commit({**kept, "pai.toml": f'[source]\nrepo = "{repo}"\n', "models/a.yaml": BAD}, "bad")
    return base, head


@pytest.mark.parametrize("repo", ["planted", "link", "./models/../planted"])
def test_repository_that_a_proposal_brings_is_not_asked(git: Git, tmp_path: Path, repo: str) -> None:
    """In a shallow clone of CI the base is missing; a repository in the change itself is no place to look for it."""
    base, _ = proposal(git, repo)
    git.commit({"x": "1"})
    clone = Git(tmp_path / "ci", git.environment)
    git("clone", "--quiet", "--depth=2", f"file://{git.folder}", str(clone.folder))
    assert pai(clone, "diff", "HEAD~1", "HEAD").code == 1
    for words in (["diff", base], ["diff", base, "HEAD"]):
        done = pai(clone, *words)
        assert (done.code, done.out) == (3, "")
        assert "the clone is shallow" in done.err
    assert pai(clone, "diff", base, "-w", str(clone.folder)).code == 0, "a workspace that is named is believed"


def test_repository_of_a_submodule_is_not_asked(git: Git, tmp_path: Path) -> None:
    """A proposal may name any repository as a submodule, which CI then checks out."""
    other = Git(tmp_path / "other", git.environment)
    git("clone", "--quiet", ".", str(other.folder))
    missing = other.commit({"models/a.yaml": binding("a", 4)})
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.folder), "planted")
    git.commit({"pai.toml": '[source]\nrepo = "planted"\n'})
    done = pai(git, "diff", missing)
    assert (done.code, done.out) == (3, "")
    assert f"no commit '{missing}'" in done.err


def test_log_that_a_proposal_brings_is_not_asked(team: Site) -> None:
    """What last week's requests would have met is told by a log of the operator's, and by none that was committed."""
    record(team, reserved("a", on=day(2), input=300, output=700), settled("a", on=day(2), input=300, output=600))
    git = Git(team.root, team.environment)
    git("init", "--quiet", "--initial-branch=main")
    git.commit({"models/flash.yaml": binding("flash", 1_000)}, "old")
    (team.root / "data" / ".gitignore").unlink()
    git("add", "--force", "data/log.db")
    git.commit({"models/flash.yaml": binding("flash", 2_000)}, "new")
    asked = pai(git, "diff", "HEAD~1", "HEAD", "-w", ".")
    assert "would not have been exhausted" in asked.out
    assert "exhausted" not in pai(git, "diff", "HEAD~1", "HEAD").out
    git("rm", "--quiet", "--cached", "data/log.db")
    (team.root / ".gitignore").write_text("data\n")
    git.commit({"models/flash.yaml": binding("flash", 3_000)}, "newer")
    assert "would not have been exhausted" in pai(git, "diff", "HEAD~1", "HEAD").out
