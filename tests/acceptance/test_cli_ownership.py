"""Files belong to the folder's owner: who may write, what reading leaves behind, and what git is kept away from.

With a real second user where the tests run as root; what is decided from the folder's owner alone is tested everywhere.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.core.errors import Refused
from reconciler.workspace.ownership import owner_of, require_owner
from tests.support import PAI, Done, Git, Site, binding, make, run, until
from tests.support_users import AS_NOBODY, IS_ROOT, NOBODY, WHY_NOT, give, let_through, owners

needs_root = pytest.mark.skipif(not IS_ROOT, reason=WHY_NOT)

WRITING = (
    ("serve",),
    ("reconcile",),
    ("apply", "-f", "-"),
    ("add", "model", "m", "--provider", "openai", "--api-key", "k"),
    ("add", "agent", "a", "--model", "flash"),
    ("add", "secret", "s", "--from-literal", "k=canary"),
    ("add", "key", "my-agent"),
    ("delete", "model", "flash"),
    ("delete", "secret", "gemini-key"),
    ("rollback", "HEAD"),
    ("pin", "HEAD"),
    ("unpin",),
    ("suspend",),
    ("resume",),
    ("verify", "--accept"),
    ("env", "my-agent", "--new-key"),
    ("prune", "--before", "1d", "--export", "/tmp/never"),
    ("init",),
    ("database", "move", "sqlite:data/other.db"),
)
READING = (
    ("get", "all"),
    ("log",),
    ("status",),
    ("verify",),
    ("usage",),
    ("describe", "model", "flash"),
    ("history", "model", "flash"),
    ("version",),
)


def told(site: Site, words: tuple[str, ...], *, named: bool = True) -> Done:
    """Run pai as root in a workspace of somebody else."""
    where = ["-w", str(site.root)] if named and words != ("init",) else []
    return run([PAI, *words, *where], site.environment, site.root, binding("new"))


@needs_root
@pytest.mark.parametrize("named", [True, False], ids=["named", "found"])
def test_root_writes_nothing_into_the_workspace_of_somebody_else(team: Site, named: bool) -> None:
    """Every command that writes refuses, with the line to type, and no file is made or changed."""
    give(team.root, NOBODY)
    before = {path: path.lstat().st_mtime_ns for path in team.root.rglob("*")}
    for words in WRITING:
        done = told(team, words, named=named)
        assert (done.code, done.out) == (1, ""), (words, done)
        assert "hint: sudo -u nobody pai " in done.err, (words, done)
        assert "canary" not in done.err
    assert owners(team.root).keys() == {NOBODY}
    assert {path: path.lstat().st_mtime_ns for path in team.root.rglob("*")} == before


@needs_root
def test_root_reads_and_leaves_nothing_of_its_own(team: Site) -> None:
    """Neither a -shm nor a lock nor a cache: afterwards the owner can go on."""
    give(team.root, NOBODY)
    served = [*AS_NOBODY, PAI, "-w", str(team.root)]
    for words in READING:
        done = told(team, words)
        assert done.code == 0, (words, done)
    assert owners(team.root).keys() == {NOBODY}
    let_through(team.root)
    done = run([*served, "apply", "-f", "-"], team.environment, team.folder, binding("theirs"))
    assert done.code == 0, done
    assert owners(team.root).keys() == {NOBODY}


@needs_root
def test_owner_writes_where_root_has_read(team: Site) -> None:
    """A daemon of the owner's runs; root reads beside it, and is refused what the owner may do."""
    give(team.root, NOBODY)
    let_through(team.root)
    command = [*AS_NOBODY, PAI, "-w", str(team.root), "serve"]
    with subprocess.Popen(command, env=team.environment, cwd=team.folder, stderr=subprocess.DEVNULL) as daemon:
        try:
            until("the daemon", (team.root / "data" / "pai.sock").exists)
            for words in READING:
                done = told(team, words)
                assert done.code == 0, (words, done)
            assert told(team, ("add", "key", "my-agent")).code == 1
            assert told(team, ("apply", "-f", "-")).code == 1
        finally:
            daemon.terminate()
            assert daemon.wait(30) == 0
    assert owners(team.root).keys() == {NOBODY}


@needs_root
@pytest.mark.parametrize("where", ["main", "side"])
@pytest.mark.parametrize("shared", [False, True])
def test_push_by_file_of_another_user_leaves_nothing(team: Site, where: str, shared: bool) -> None:
    """The hook runs as the pusher, and so does git, which would make objects, refs and a reflog of root's."""
    trusting = team.folder / "gitconfig"
    trusting.write_text("[safe]\n\tdirectory = *\n")
    team.environment["GIT_CONFIG_GLOBAL"] = str(trusting)
    clone = team.clone()
    if shared:
        team.bare("config", "core.sharedRepository", "group")
    clone.commit({"models/more.yaml": binding("more")})
    give(team.root, NOBODY)
    done = clone.push(f"HEAD:{where}")
    assert done.code != 0
    assert "belongs to nobody, and what root writes there could not be used any more" in done.err
    assert "hint: sudo -u nobody git push ..." in done.err
    assert clone.push(":side").code != 0
    assert owners(team.root).keys() == {NOBODY}
    let_through(team.root)
    give(clone.folder, NOBODY)
    done = run([*AS_NOBODY, "git", "push", "origin", f"HEAD:{where}"], team.environment, clone.folder)
    assert done.code == 0, done
    assert owners(team.root).keys() == {NOBODY}


@needs_root
def test_other_user_writes_nothing_into_a_workspace_of_roots(team: Site) -> None:
    """It is the owner that counts, whoever asks."""
    done = run([*AS_NOBODY, PAI, "reconcile", "-w", str(team.root)], team.environment, team.folder)
    assert done.code == 1
    assert "belongs to root" in done.err
    assert "hint: sudo -u root pai reconcile -w" in done.err


def test_owner_is_the_folders_and_in_a_volume_that_of_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the folder as it lies there, for another user than its owner; and root in what is root's still works."""
    owner = tmp_path.stat().st_uid
    require_owner(tmp_path)
    assert owner_of(tmp_path / "not there") is None
    if owner:
        assert owner_of(tmp_path) == owner
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    (tmp_path / "data").mkdir()
    with pytest.raises(Refused) as caught:
        require_owner(tmp_path, "serve")
    assert caught.value.hint.startswith("sudo -u ")
    assert caught.value.hint.endswith(" pai serve")


@needs_root
def test_volume_of_roots_that_a_user_works_in(tmp_path: Path) -> None:
    """A container's volume belongs to root and its group may write: whoever makes `data` there is the owner."""
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o777)
    os.chmod(volume, 0o777)  # noqa: S103
    let_through(volume)
    site = Site(tmp_path)
    command = [*AS_NOBODY, PAI, "init", str(volume)]
    assert run(command, site.environment, tmp_path).code == 0
    assert run([*AS_NOBODY, PAI, "-w", str(volume), "reconcile"], site.environment, tmp_path).code == 0
    done = run([PAI, "-w", str(volume), "reconcile"], site.environment, tmp_path)
    assert (done.code, "sudo -u nobody pai" in done.err) == (1, True)


@needs_root
def test_init_in_a_folder_of_somebody_else_makes_nothing(tmp_path: Path) -> None:
    """`sudo pai init` in the home of the service's user would leave it root's files."""
    home = tmp_path / "home-of-pai"
    home.mkdir()
    os.chown(home, 54321, 54321)
    done = run([PAI, "init", str(home)], Site(tmp_path).environment, tmp_path)
    assert done.code == 1
    assert "hint: sudo -u '#54321' pai init" in done.err
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("existing", [False, True], ids=["new", "made before"])
def test_git_around_the_workspace_never_takes_its_keys(tmp_path: Path, existing: bool) -> None:
    """`git add --all` in the work tree around it leaves `data/` out, also that of a workspace of an older version."""
    site = make(tmp_path)
    around = Git(site.root, site.environment)
    around("init", "--quiet")
    if existing:
        (site.root / "data" / ".gitignore").unlink()
        site.pai("reconcile")
    around("add", "--all")
    staged = around("ls-files").splitlines()
    assert "pai.toml" in staged
    assert not [name for name in staged if name.startswith("data/")]
    assert (site.root / "data" / ".gitignore").stat().st_mode & 0o777 == 0o600


def test_ignore_file_of_the_owner_is_kept(site: Site) -> None:
    """One that somebody wrote stays as it is."""
    own = site.root / "data" / ".gitignore"
    own.write_text("# mine\n*\n")
    with site.daemon():
        pass
    assert own.read_text() == "# mine\n*\n"
