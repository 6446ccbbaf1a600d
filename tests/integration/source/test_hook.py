"""The pre-receive hook as git runs it, on real pushes."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from reconciler.core.errors import CouldNotRun, Refused, SourceUnavailable
from reconciler.source.bare import init_bare
from reconciler.source.git import Repository
from reconciler.source.hook import MARK, RefUpdate, install, parse_updates

from .conftest import Git

READ_PUSH = """#!{python}
import os, sys
from pathlib import Path
from reconciler.core.errors import SourceUnavailable
from reconciler.source.git import Repository
from reconciler.source.hook import parse_updates
from reconciler.source.quarantine import quarantine_folders
for update in parse_updates(sys.stdin):
    repository = Repository.open(Path("."), quarantine_folders(os.environ))
    entries = list(repository.entries(update.new))
    size = sum(len(repository.blob(e.oid)) == repository.size(e.oid) for e in entries)
    created = set(update.old) == set("0")
    changed = 0 if created else len(repository.changes(update.old, update.new))
    walk = repository.walk(update.new, None if created else update.old)
    try:
        Repository.open(Path(".")).commit(update.new)
        outside = "seen"
    except SourceUnavailable:
        outside = "unseen"
    print(update.ref, len(entries), size, changed, walk.relation, outside)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Give a folder with a bare repository that has the hook."""
    folder = tmp_path / "work space's"
    folder.mkdir()
    init_bare(folder / "config.git", "main")
    install(folder / "config.git", Path(sys.executable))
    return folder


@pytest.mark.parametrize("unpack_limit", ["1", "100000"])
def test_hook_reads_the_quarantined_objects_of_a_push(git: Git, bare: Git, unpack_limit: str) -> None:
    """What a push brings is read in the hook, as loose objects and as a pack kept whole, and nowhere else yet."""
    bare("config", "receive.unpackLimit", unpack_limit)
    hook = bare.folder / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(READ_PUSH.format(python=sys.executable))
    hook.chmod(0o755)
    git.commit({f"d{i % 7}/f{i}.yaml": f"{i}" for i in range(300)})
    first = git.raw("push", str(bare.folder), "main").stderr.decode()
    git.commit({"d1/f1.yaml": "changed"})
    second = git.raw("push", str(bare.folder), "main").stderr.decode()
    assert "remote: refs/heads/main 300 300 0 first unseen" in first
    assert "remote: refs/heads/main 300 300 1 forward unseen" in second


def test_init_bare_is_safe_to_repeat_and_keeps_everything(tmp_path: Path, git: Git) -> None:
    """A second run changes neither branch nor commits, and puts the settings right again."""
    path = tmp_path / "a b" / "config.git"
    init_bare(path, "main")
    sha = git.commit({"a": "1"})
    git("push", "--quiet", str(path), "main")
    made = git.at(path)
    made("config", "core.hooksPath", "/elsewhere")
    init_bare(path, "other")
    assert made("config", "core.hooksPath") == "hooks"
    assert made("config", "transfer.fsckObjects") == "true"
    assert made("symbolic-ref", "HEAD") == "refs/heads/main"
    assert Repository.open(path).tip("main") == sha


def test_init_bare_ignores_a_hostile_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIT_* variables and the user's templates have no say in what a workspace's repository is."""
    template = tmp_path / "template"
    (template / "hooks").mkdir(parents=True)
    (template / "hooks" / "pre-receive").write_text("#!/bin/sh\n")
    (tmp_path / ".gitconfig").write_text(f"[init]\n\ttemplateDir = {template}\n\tdefaultBranch = x\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "wrong"))
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    init_bare(tmp_path / "config.git", "main")
    assert install(tmp_path / "config.git", Path(sys.executable))
    assert Repository.open(tmp_path / "config.git").missing("main") is None
    assert not (tmp_path / "wrong").exists()


def test_init_bare_refuses_a_folder_with_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor somebody's folder becomes a repository, and a missing git is named."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo").touch()
    for path in (tmp_path / "notes", tmp_path / "notes" / "todo"):
        with pytest.raises(Refused):
            init_bare(path, "main")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CouldNotRun, match="not installed"):
        init_bare(tmp_path / "new.git", "main")


def test_install_writes_updates_and_never_replaces_a_foreign_hook(workspace: Path) -> None:
    """Our own hook is kept up to date; somebody else's stays, even a dangling link."""
    repository = workspace / "config.git"
    hook = repository / "hooks" / "pre-receive"
    assert MARK in hook.read_text()
    assert hook.stat().st_mode & 0o777 == 0o755
    assert install(repository, Path(sys.executable)) is False
    assert install(repository, Path("/new/python")) is True
    assert "/new/python" in hook.read_text()
    hook.chmod(0o644)
    assert install(repository, Path("/new/python")) is True
    hook.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(Refused) as caught:
        install(repository, Path(sys.executable))
    assert caught.value.hint
    hook.unlink()
    hook.symlink_to("/nowhere")
    with pytest.raises(Refused):
        install(repository, Path(sys.executable))
    assert [path.name for path in hook.parent.iterdir()] == ["pre-receive"]


def test_hook_is_run_with_the_workspace_and_not_the_pushers_path(workspace: Path, git: Git, tmp_path: Path) -> None:
    """The script starts the recorded Python with the workspace as a path from the repository, whatever PATH holds."""
    python = tmp_path / "it's python"
    python.write_text('#!/bin/sh\nfor a in "$@"; do last=$a; done\necho "workspace $last" >&2\n/bin/cat >&2\nexit 1\n')
    python.chmod(0o755)
    install(workspace / "config.git", python)
    sha = git.commit({"a": "1"})
    git.environment["PATH"] = f"{tmp_path / 'none'}:{git.environment['PATH']}"
    done = git.raw("push", str(workspace / "config.git"), "main", check=False)
    assert done.returncode != 0
    assert b"remote: workspace .." in done.stderr
    assert f"remote: {'0' * 40} {sha} refs/heads/main".encode() in done.stderr
    install(workspace / "config.git", python, workspace=tmp_path)
    assert b"workspace ../.." in git.raw("push", str(workspace / "config.git"), "main", check=False).stderr


def test_hook_refuses_the_push_when_its_python_is_gone(workspace: Path, git: Git) -> None:
    """A hook that cannot judge lets nothing in, and says how to mend it."""
    git.commit({"a": "1"})
    target = str(workspace / "config.git")
    install(workspace / "config.git", Path("/gone/python"))
    done = git.raw("push", target, "main", check=False)
    assert done.returncode != 0
    assert b"remote: error: the push cannot be checked: /gone/python is gone" in done.stderr
    assert b"remote: hint: run pai init again" in done.stderr


def test_hook_refuses_the_push_when_pai_is_no_longer_installed(workspace: Path, git: Git, tmp_path: Path) -> None:
    """A Python without Pai is as bad as none."""
    git.commit({"a": "1"})
    bare_python = tmp_path / "python"
    bare_python.write_text(f'#!/bin/sh\nexec "{os.path.realpath(sys.executable)}" -S "$@"\n')
    bare_python.chmod(0o755)
    install(workspace / "config.git", bare_python)
    done = git.raw("push", str(workspace / "config.git"), "main", check=False)
    assert done.returncode != 0
    assert b"remote: error: the push cannot be checked: Pai is no longer installed" in done.stderr
    assert Repository.open(workspace / "config.git").missing("main") is None


def test_hook_follows_its_workspace_through_a_symbolic_link(tmp_path: Path) -> None:
    """Where the repository is a link into another place, the hook still finds the workspace."""
    (tmp_path / "ws").mkdir()
    init_bare(tmp_path / "store" / "real.git", "main")
    (tmp_path / "ws" / "config.git").symlink_to(tmp_path / "store" / "real.git")
    install(tmp_path / "ws" / "config.git", Path(sys.executable))
    assert "--workspace ../../ws" in (tmp_path / "store" / "real.git" / "hooks" / "pre-receive").read_text()
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(CouldNotRun):
        install(tmp_path / "ws" / "config.git", Path(sys.executable))
    with pytest.raises(SourceUnavailable):
        Repository.open(tmp_path / "ws" / "config.git")


def test_parse_updates_reads_git_lines_and_nothing_else() -> None:
    """Creation, deletion and update are told apart; an unknown line refuses the push."""
    zero, one, two = "0" * 40, "1" * 40, "2" * 40
    text = f"{zero} {one} refs/heads/main\n{one} {two} refs/heads/a b\n{two} {zero} refs/tags/v1\n"
    updates = parse_updates(io.StringIO(text))
    assert updates[1] == RefUpdate(one, two, "refs/heads/a b")
    assert [(set(u.old) == set("0"), u.deleted) for u in updates] == [(True, False), (False, False), (False, True)]
    assert parse_updates(io.StringIO("")) == []
    for line in ("x", f"{one} refs/heads/main", f"{one} {two} main", f"{one} {two[:7]} refs/heads/main"):
        with pytest.raises(CouldNotRun):
            parse_updates(io.StringIO(line))
