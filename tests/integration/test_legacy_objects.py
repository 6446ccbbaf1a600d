"""What `git fsck` finds in old histories: what harms nobody is let in, what is a trap for others is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Git, Site, binding
from tests.support_remotes import HttpRemote, bare_remote

PERSON = "Ann <ann@example.com> 1200000000 +0100"
LEGACY = {
    "badTimezone": "Ann <ann@example.com> 1200000000 -7900000",
    "missingSpaceBeforeDate": "Ann <ann@example.com>1200000000 +0100",
    "zeroPaddedDate": "Ann <ann@example.com> 01200000000 +0100",
    "badDateOverflow": "Ann <ann@example.com> 99999999999999999999 +0100",
    "badDate": "Ann <ann@example.com> yesterday +0100",
    "badEmail": "Ann <ann@example.com 1200000000 +0100",
    "badName": "Ann> <ann@example.com> 1200000000 +0100",
    "missingEmail": "Ann",
    "missingNameBeforeEmail": "<ann@example.com> 1200000000 +0100",
    "missingSpaceBeforeEmail": "Ann<ann@example.com> 1200000000 +0100",
}
DANGEROUS = ("hasDotgit", "hasDotdot", "hasDot", "fullPathname", "nullSha1", "treeNotSorted", "duplicateEntries")


def _object(git: Git, kind: str, raw: bytes) -> str:
    return git("hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=raw)


def _tree(git: Git, finding: str) -> str:
    """Make a tree with one model and a finding of fsck."""
    blob = bytes.fromhex(_object(git, "blob", binding("a").encode()))
    folder = bytes.fromhex(_object(git, "tree", b"100644 a.yaml\0" + blob))
    mode, name, oid = b"100644", b"zz", blob
    if finding == "zeroPaddedFilemode":
        return _object(git, "tree", b"040000 models\0" + folder)
    if finding == "gitmodulesUrl":
        text = b'[submodule "x"]\n\turl = -u./evil\n\tpath = x\n'
        name, oid = b".gitmodules", bytes.fromhex(_object(git, "blob", text))
    elif finding == "gitmodulesSymlink":
        mode, name = b"120000", b".gitmodules"
    elif finding == "nullSha1":
        mode, oid = b"160000", bytes(20)
    elif finding in ("treeNotSorted", "duplicateEntries"):
        name = b"aa" if finding == "treeNotSorted" else b"models"
    elif finding:
        names = {"hasDotgit": b".git", "hasDotdot": b"..", "hasDot": b".", "fullPathname": b"a/b"}
        name = names[finding]
    entries = [b"40000 models\0" + folder, mode + b" " + name + b"\0" + oid]
    if name < b"models" and finding != "treeNotSorted":
        entries.reverse()
    return _object(git, "tree", b"".join(entries))


def history(git: Git, finding: str) -> str:
    """Make a history whose oldest commit has a finding, and give its newest commit."""
    person = LEGACY.get(finding, PERSON)
    raw = f"tree {_tree(git, '' if finding in LEGACY else finding)}\nauthor {person}\ncommitter {person}\n\nold\n"
    old = _object(git, "commit", raw.encode())
    good = f"tree {_tree(git, '')}\nparent {old}\nauthor {PERSON}\ncommitter {PERSON}\n\nnew\n"
    return _object(git, "commit", good.encode())


@pytest.fixture
def git(site: Site, tmp_path: Path) -> Git:
    """Give a bare repository to make objects in."""
    Git(tmp_path, site.environment)("init", "--quiet", "--bare", "--initial-branch=main", "made.git")
    return Git(tmp_path / "made.git", site.environment)


def fetched(site: Site, git: Git, commit: str) -> str:
    """Follow a remote whose branch is at the commit, and give what was said."""
    remote = bare_remote(site.folder / "srv", site.environment)
    (remote.folder / "objects" / "info" / "alternates").write_text(f"{git.folder}/objects\n")
    (remote.folder / "refs" / "heads" / "main").write_text(f"{commit}\n")
    with HttpRemote(remote.folder.parent, site.environment) as server:
        done = site.run("reconcile", env={"PAI_SOURCE_REPO": f"{server.url}/team.git"})
    return done.out + done.err


@pytest.mark.parametrize("finding", [*LEGACY, "zeroPaddedFilemode"])
def test_harmless_finding_of_an_old_commit_locks_nobody_out(site: Site, git: Git, finding: str) -> None:
    """It is pushed, fetched and enforced; also as the tip, and an older workspace takes it as a new one does."""
    new = history(git, finding)
    assert finding in git.run("fsck", "--no-dangling", "--strict", env={"LC_ALL": "C"}).err
    assert "1 models, 0 agents in force" in fetched(site, git, new)
    assert site.state().revision == new
    site.bare("config", "--remove-section", "receive.fsck")
    site.pai("init")
    pushed = git.run("push", str(site.root / "config.git"), f"{git('rev-parse', f'{new}^')}:refs/heads/main")
    assert pushed.code == 0, pushed
    site.pai("reconcile")
    assert site.outcomes()[-1] == (git("rev-parse", f"{new}^"), "accepted")
    assert git.run("push", str(site.root / "config.git"), f"{new}:refs/heads/main").code == 0
    site.pai("reconcile")
    assert site.state().revision == new
    site.pai("verify")


@pytest.mark.parametrize("finding", [*DANGEROUS, "gitmodulesUrl", "gitmodulesSymlink"])
def test_dangerous_finding_is_refused_wherever_it_stands(site: Site, git: Git, finding: str) -> None:
    """What writes outside of a work tree, runs programs or shows two trees in one comes in by no way."""
    new = history(git, finding)
    assert "sends objects that are not sound" in fetched(site, git, new)
    refused = git.run("push", str(site.root / "config.git"), f"{new}:refs/heads/main")
    assert refused.code
    assert finding in refused.err
    assert site.bare("for-each-ref", "refs/heads") == ""
