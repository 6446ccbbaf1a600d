"""Real repositories for the tests of reconciler.source, made by the git program in a hermetic environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import ConfigLevel


class Git:
    """The git program in one folder, with a fixed identity and no configuration but the repository's own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Alice",
            "GIT_AUTHOR_EMAIL": "alice@example.com",
            "GIT_COMMITTER_NAME": "Bob",
            "GIT_COMMITTER_EMAIL": "bob@example.com",
            "LC_ALL": "C.UTF-8",
        }
        self.home = home

    def raw(
        self, *arguments: str | bytes, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git and give the finished process."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self.environment, input=stdin, capture_output=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr.decode(errors="replace")
        return done

    def __call__(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run git and give its trimmed output."""
        return self.raw(*arguments, stdin=stdin).stdout.decode().strip()

    def at(self, folder: Path) -> Git:
        """Give the same git in another folder."""
        return Git(folder, self.home)

    def commit(self, files: Mapping[str, str | None] | None = None, message: str = "change") -> str:
        """Write or remove files in the work tree, commit everything, and give the commit's id."""
        for name, text in (files or {}).items():
            path = self.folder / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "--message", message)
        return self("rev-parse", "HEAD")

    def fast_import(self, files: Mapping[str, str], branch: str = "main", parent: str = "") -> str:
        """Commit many files at once, past any work tree, and give the commit's id."""
        lines = [f"commit refs/heads/{branch}\ncommitter Bob <bob@example.com> 1700000000 +0000\ndata 4\nbulk\n"]
        lines += [f"from {parent}\n"] if parent else []
        lines += [f"M 100644 inline {name}\ndata {len(text.encode())}\n{text}\n" for name, text in files.items()]
        self("fast-import", "--quiet", stdin="".join(lines).encode())
        return self("rev-parse", branch)


@pytest.fixture(autouse=True)
def _no_global_git_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own git configuration out, for libgit2 and for the git that Pai itself runs."""
    for level in (ConfigLevel.GLOBAL, ConfigLevel.XDG, ConfigLevel.SYSTEM):
        pygit2.settings.search_path[level] = str(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Give git in a new repository with a work tree and nothing committed."""
    folder = tmp_path / "work"
    folder.mkdir()
    made = Git(folder, tmp_path)
    made("init", "--quiet", "--initial-branch=main")
    return made


@pytest.fixture
def bare(tmp_path: Path) -> Git:
    """Give git in a new bare repository with nothing in it."""
    folder = tmp_path / "bare.git"
    folder.mkdir()
    made = Git(folder, tmp_path)
    made("init", "--quiet", "--bare", "--initial-branch=main")
    return made
