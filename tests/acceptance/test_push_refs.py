"""Which refs a push may bring beside the source branch."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from reconciler.core.errors import Refused
from reconciler.source.hook import BESIDE_MAX, REFS_MAX, RefUpdate, is_judged, resolved
from tests.support import Site, binding


@pytest.mark.parametrize("ref", ["refs/replace/HEAD", "refs/heads/main/x", "refs/heads/main/x/y", "refs/replace"])
def test_ref_that_would_keep_others_out_is_refused(site: Site, ref: str) -> None:
    """A replacement of an object, and a ref that git cannot have beside a source branch to come."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    done = clone.push(f"HEAD:{ref.replace('HEAD', clone.head)}")
    assert done.code != 0
    assert "would bar branch main" in done.err or "would show others other objects" in done.err
    assert clone.push().code == 0


def test_ref_above_the_source_branch_is_refused(site: Site) -> None:
    """If the source branch is a/b, there must be no branch a."""
    settings = site.root / "pai.toml"
    settings.write_text(settings.read_text().replace('branch = "main"', 'branch = "a/b"'))
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    assert "refs/heads/a would bar branch a/b" in clone.push("HEAD:refs/heads/a").err
    assert clone.push("HEAD:refs/heads/a/c", "HEAD:refs/heads/a/b").code == 0


def test_refs_that_keep_others_out_can_be_deleted(site: Site) -> None:
    """Whoever let them in before this was refused gets rid of them by a push."""
    clone = site.clone()
    clone.pushed({"models/a.yaml": binding("a")})
    site.bare("update-ref", f"refs/replace/{clone.head}", clone.head)
    assert clone.push(f":refs/replace/{clone.head}").code == 0


def test_push_of_very_many_refs_is_refused(site: Site) -> None:
    """What git would say of each of them is kept in memory."""
    clone = site.clone()
    sha = clone.pushed({"models/a.yaml": binding("a")})
    clone("update-ref", "--stdin", stdin="".join(f"create refs/heads/q/{n} {sha}\n" for n in range(REFS_MAX + 1)))
    done = clone.push("refs/heads/q/*:refs/heads/q/*")
    assert done.code != 0
    assert "a push may change 1,000 refs at most" in done.err
    clone("branch", "-D", "q/0")
    assert clone.push("refs/heads/q/*:refs/heads/q/*").code == 0


@pytest.mark.parametrize(
    "ref",
    ["refs/tags/main", "refs/heads/refs/heads/main", "refs/heads/heads/main", "refs/remotes/main/HEAD"],
)
def test_ref_that_git_takes_for_the_source_branch_is_refused(site: Site, ref: str) -> None:
    """Else nobody could push `HEAD:main`, or `HEAD:refs/heads/main`, any more."""
    clone = site.clone()
    clone.pushed({"models/a.yaml": binding("a")})
    done = clone.push(f"HEAD:{ref}")
    assert done.code != 0
    assert f"{ref} would make the name main ambiguous" in done.err
    site.bare("update-ref", ref, clone.head)
    assert clone.push(f":{ref}").code == 0
    assert clone.push("HEAD:refs/heads/main").code == clone.push("HEAD:refs/tags/main-1").code == 0


def test_source_branch_is_moved_with_few_others(site: Site) -> None:
    """Git moves one after the other, and meanwhile somebody else may move the branch to the same commit."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    others = [f"HEAD:refs/heads/q/{n}" for n in range(BESIDE_MAX + 1)]
    assert "may change 10 other refs at most" in clone.push("HEAD:main", *others).err
    assert clone.push("HEAD:main", *others[1:]).code == 0
    assert clone.push(*others).code == 0


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("source", ["main", "master"])
def test_symbolic_ref_is_what_it_leads_to(site: Site, source: str, running: bool) -> None:
    """A push to another name of the source branch is judged as one to the branch, which nobody deletes by it."""
    settings = site.root / "pai.toml"
    settings.write_text(settings.read_text().replace('branch = "main"', f'branch = "{source}"'))
    clone = site.clone()
    sha = clone.pushed({"models/a.yaml": binding("a")})
    site.bare("symbolic-ref", "refs/heads/master", "refs/heads/main")
    site.bare("symbolic-ref", "refs/heads/old", "refs/heads/master")
    with site.daemon() if running else contextlib.nullcontext():
        clone.commit({"bad.yaml": "x: 1\n"})
        for name in ("old", "master", "main"):
            assert "1 problem" in clone.push(f"HEAD:refs/heads/{name}").err
            assert f"branch {source} is what Pai enforces" in clone.push(f":refs/heads/{name}").err
        assert site.bare("rev-parse", "main") == sha
        clone.commit({"bad.yaml": None})
        assert clone.push("HEAD:refs/heads/old").code == 0
    assert site.bare("rev-parse", "main") == clone.head


def test_symbolic_ref_to_a_ref_of_pai_cannot_be_pushed(site: Site) -> None:
    """Checkpoints are nobody's to move, by whatever name."""
    clone = site.clone()
    clone.pushed({"models/a.yaml": binding("a")})
    site.bare("symbolic-ref", "refs/heads/c", "refs/pai/checkpoints")
    assert "refs/pai/checkpoints belongs to Pai" in clone.push("HEAD:refs/heads/c").err


@pytest.mark.parametrize("ref", ["refs/heads/Main", "refs/HEADS/main", "refs/heads/MAIN/x", "refs/Replace/HEAD"])
@pytest.mark.parametrize("running", [False, True])
def test_ref_that_some_file_systems_take_for_another_is_refused(site: Site, ref: str, running: bool) -> None:
    """Where case does not matter (macOS), a main that is packed would be read from the new file."""
    clone = site.clone()
    first = clone.pushed({"models/a.yaml": binding("a")})
    bad = clone.commit({"bad.yaml": "x: 1\n"})
    with site.daemon() if running else contextlib.nullcontext():
        done = clone.push(f"HEAD:{ref.removesuffix('HEAD')}{bad if ref.endswith('HEAD') else ''}")
    assert done.code != 0
    assert "would bar branch main" in done.err or "would show others other objects" in done.err
    site.bare("update-ref", "refs/heads/Main", first)
    assert clone.push(":refs/heads/Main").code == 0


@pytest.mark.parametrize("ref", ["refs/PAI/checkpoints", "refs/pai/Checkpoints", "refs/Pai"])
def test_ref_of_pai_cannot_be_pushed_nor_deleted_by_another_spelling(site: Site, ref: str) -> None:
    """Where case does not matter, that would be the one of the checkpoints."""
    clone = site.clone()
    clone.pushed({"models/a.yaml": binding("a")})
    assert f"{ref} belongs to Pai" in clone.push(f"HEAD:{ref}").err
    site.bare("update-ref", ref, clone.head)
    assert f"{ref} belongs to Pai" in clone.push(f":{ref}").err


@pytest.mark.parametrize(
    ("branch", "ref"),
    [("main", "refs/heads/MAIN"), ("main", "refs/Heads/main"), ("straße", "refs/heads/STRASSE")],
)
def test_other_spelling_of_the_source_branch_is_the_branch_where_both_are_one_file(
    tmp_path: Path, branch: str, ref: str
) -> None:
    """So that it is judged, and not deleted; here two names of one file stand for such a file system."""
    for name in (f"refs/heads/{branch}", ref):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / f"refs/heads/{branch}").write_text("1" * 40)
    update = RefUpdate("1" * 40, "0" * 40, ref)
    assert resolved([update], tmp_path, branch) == [update]
    with pytest.raises(Refused, match="would bar branch"):
        is_judged(ref, False, branch)
    os.link(tmp_path / f"refs/heads/{branch}", tmp_path / ref)
    (found,) = resolved([update], tmp_path, branch)
    assert found.ref == f"refs/heads/{branch}"
    with pytest.raises(Refused, match="cannot be deleted"):
        is_judged(found.ref, found.deleted, branch)


def test_ref_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    """Git's client does not do so; of one who does, git moves the ref and says that it did not."""
    one, other = (RefUpdate("0" * 40, sign * 40, "refs/heads/main") for sign in "12")
    with pytest.raises(Refused, match="refs/heads/main is named twice"):
        resolved([one, other], tmp_path, "main")
    assert resolved([one], tmp_path, "main") == [one]
