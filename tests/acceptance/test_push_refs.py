"""Which refs a push may bring beside the source branch."""

from __future__ import annotations

import pytest

from reconciler.source.hook import REFS_MAX
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
