"""What a user or a machine has set for git changes nothing about Pai's own calls of git, nor about the tour."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import PAI, Site, binding, run

HOSTILE = """\
[user]
	useConfigOnly = true
	signingKey = nothing
[commit]
	gpgSign = true
[push]
	gpgSign = true
	default = nothing
[protocol]
	allow = never
[safe]
	bareRepository = explicit
[core]
	hooksPath = {hooks}
	autocrlf = true
	pager = false
	fsmonitor = false
[init]
	defaultBranch = trunk
	templateDir = {template}
[url "https://example.invalid/"]
	insteadOf = /
[color]
	ui = always
[transfer]
	hideRefs = refs/heads
[merge]
	ff = only
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give a home folder whose settings would stop nearly everything."""
    home = tmp_path / "settings"
    for folder in ("hooks", "template/hooks"):
        (home / folder).mkdir(parents=True)
        for hook in ("pre-commit", "pre-push", "pre-receive", "reference-transaction", "post-checkout"):
            script = home / folder / hook
            script.write_text("#!/bin/sh\nexit 1\n")
            script.chmod(0o755)
    text = HOSTILE.format(hooks=home / "hooks", template=home / "template")
    (home / ".gitconfig").write_text(text)
    return home


def test_tour_is_untouched(home: Path, tmp_path: Path) -> None:
    """`pai demo` commits, clones and pushes as on a fresh machine, and imports nothing from where it is called."""
    for name in ("argparse", "msgspec", "reconciler"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the current folder')\n")
    done = run([PAI, "demo"], {"PATH": os.environ["PATH"], "HOME": str(home)}, tmp_path)
    assert done.code == 0, done.err + done.out


def test_workspace_is_made_and_used_as_anywhere(home: Path, tmp_path: Path) -> None:
    """The branch is main, the hook is Pai's, a commit is not signed, and packing works."""
    site = Site(tmp_path)
    names = {f"GIT_{who}_{what}": "x@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for name in [name for name in site.environment if name.startswith("GIT_CONFIG")]:
        del site.environment[name]
    site.environment |= {"HOME": str(home), **names}
    site.pai("init", site.root)
    site.pai("apply", "-f", "-", stdin=binding("flash"))
    assert "flash" in site.state().models
    bare = site.root / "config.git"
    assert (bare / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert sorted(os.listdir(bare / "hooks")) == ["pre-receive"]
    clean = {"PATH": site.environment["PATH"], "HOME": str(tmp_path)}
    assert "gpgsig" not in run(["git", f"--git-dir={bare}", "cat-file", "-p", "main"], clean, tmp_path, b"").out


def test_without_an_identity_it_refuses_as_git_does(home: Path, tmp_path: Path) -> None:
    """The words are git's, nothing is committed, and the way out works when it is typed."""
    site = Site(tmp_path)
    site.environment = {"PATH": site.environment["PATH"], "HOME": str(home)}
    site.pai("init", site.root)
    done = site.pai("add", "model", "x", "--provider", "gemini", "--api-key", "s", code=1)
    assert "git does not know who you are" in done.err
    (first, second) = done.err.partition("hint: ")[2].strip().split(" and ")
    for command in (first, second):
        assert run(["sh", "-c", command], site.environment, tmp_path, b"").code == 0
    site.pai("add", "model", "x", "--provider", "gemini", "--api-key", "s")
    assert site.state().models["x"]
