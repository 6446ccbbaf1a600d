"""Hints about repositories of other kinds, typed as they are printed."""

from __future__ import annotations

import os
import shlex

import pytest

from tests.support import Done, Git, Site, binding, run
from tests.support_remotes import HttpRemote, bare_remote


def made(site: Site, *words: str, name: str = "repo") -> Git:
    """Make a repository with one model."""
    Git(site.folder, site.environment)("init", "--quiet", "--initial-branch=main", *words, name)
    git = Git(site.folder / name, site.environment)
    git.commit({"models/a.yaml": binding("a")})
    return git


def hint_of(done: Done) -> str:
    """Give the hint that was printed, whole."""
    return done.err.partition("hint: ")[2].strip()


def typed(site: Site, hint: str) -> None:
    """Type the command that a hint ends with, and see it work."""
    words = shlex.split(hint[hint.index("git ") :])
    assert run(words, site.environment, site.folder).code == 0, words


def test_revision_that_is_not_there_is_answered_with_where_to_look(site: Site) -> None:
    """The hint names the repository: whoever typed it may stand elsewhere, in a workspace or beside it."""
    git = made(site, name="repo's own")
    for words, code in ((["diff", "nope", "HEAD"], 3), (["validate", "--rev", "nope"], 1)):
        for cwd in (git.folder, site.root):
            hint = hint_of(site.pai(*words, code=code, cwd=cwd))
            typed(site, hint.removesuffix(" lists them"))


VERBS = (["validate", "--rev", "HEAD"], ["diff", "HEAD", "HEAD"], ["validate", "--staged"], ["reconcile"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
@pytest.mark.parametrize("name", ["repo", "repo's own"])
@pytest.mark.parametrize("bare", [False, True], ids=["files", "bare"])
def test_repository_of_another_user_can_be_trusted_as_the_hint_says(
    site: Site, verb: list[str], name: str, bare: bool
) -> None:
    """What git wants named is the work tree, as it knows it, and not the folder `.git` or a path with dots."""
    del site.environment["GIT_CONFIG_GLOBAL"]
    git = made(site, name=name)
    if bare:
        if "--staged" in verb:
            return
        git("clone", "--quiet", "--bare", ".", "../bare of others")
        git = Git(site.folder / "bare of others", site.environment)
    for path in (git.folder, *git.folder.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    site.environment["PAI_SOURCE_REPO"] = f"../{git.folder.name}"
    cwd = site.root if verb == ["reconcile"] else git.folder
    typed(site, hint_of(site.pai(*verb, code=3, cwd=cwd)))
    site.pai(*verb, cwd=cwd)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
@pytest.mark.parametrize(
    ("extension", "said"),
    [("refStorage", "keeps its refs as a reftable"), ("somethingNew", "uses git's extension somethingnew")],
)
def test_extension_that_is_not_known_is_named(site: Site, verb: list[str], extension: str, said: str) -> None:
    """Also where this machine's git does not know it either; the way out is no `git fsck`."""
    git = made(site)
    git("config", "core.repositoryFormatVersion", "1")
    git("config", f"extensions.{extension}", "reftable")
    site.environment["PAI_SOURCE_REPO"] = str(git.folder)
    done = site.pai(*verb, code=3, cwd=site.root if verb == ["reconcile"] else git.folder)
    if "--staged" in verb:
        assert extension.lower() in done.err
    else:
        assert f"{said}" in done.err
        assert "refs migrate --ref-format=files" in done.err or "git clone --bare --no-local" in done.err


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_longer_object_ids_are_named_with_a_way_out(site: Site, verb: list[str]) -> None:
    """Git converts no such repository; a new one takes the same files."""
    git = made(site, "--object-format=sha256")
    site.environment["PAI_SOURCE_REPO"] = str(git.folder)
    done = site.pai(*verb, code=3, cwd=site.root if verb == ["reconcile"] else git.folder)
    assert "uses SHA-256 object ids" in done.err
    typed(site, hint_of(done) + " --quiet new")
    again = Git(site.folder / "new", site.environment)
    commit = again.commit({"models/a.yaml": binding("a")})
    again("branch", "--force", "-M", "main")
    site.environment["PAI_SOURCE_REPO"] = str(again.folder)
    site.pai("reconcile")
    assert site.state().revision == commit


def test_longer_object_ids_of_a_remote_are_named(site: Site) -> None:
    """They are no fault of the connection."""
    git = made(site, "--object-format=sha256")
    remote = bare_remote(site.folder / "srv", site.environment, "other.git")
    git("clone", "--quiet", "--bare", ".", str(remote.folder.parent / "team.git"))
    with HttpRemote(remote.folder.parent, site.environment) as server:
        site.environment["PAI_SOURCE_REPO"] = f"{server.url}/team.git"
        assert "uses SHA-256 object ids, which are not supported" in site.pai("reconcile", code=3).err


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "FILE://{}", "file://localhost{}"])
def test_file_url_is_answered_with_the_path(site: Site, form: str) -> None:
    """What the hint says to write works."""
    git = made(site, name="a repo")
    site.environment["PAI_SOURCE_REPO"] = form.format(str(git.folder).replace(" ", "%20"))
    done = site.pai("reconcile", code=3)
    assert "is a file URL, and a path is wanted" in done.err
    site.environment["PAI_SOURCE_REPO"] = hint_of(done).removeprefix("write ")
    site.pai("reconcile")
    assert site.state().revision == git.head


POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def test_pointer_in_place_of_a_manifest_is_named(site: Site) -> None:
    """By every judge alike; without the pattern the file itself is committed."""
    clone = site.clone()
    clone.write({".gitattributes": "*.yaml filter=lfs\n", "models/a.yaml": POINTER})
    said = "models/a.yaml:1:1: error PAI201 this is a pointer of Git LFS and not the manifest"
    assert said in site.pai("validate", cwd=clone.folder, code=1).out
    clone("add", ".")
    assert said in site.pai("validate", "--staged", cwd=clone.folder, code=1).out
    clone.commit()
    assert said in site.pai("validate", "--rev", "HEAD", cwd=clone.folder, code=1).out
    done = clone.push()
    assert said in done.err
    assert ".gitattributes" in done.err
    clone.write({".gitattributes": "", "models/a.yaml": binding("a")})
    clone.commit()
    assert clone.push().code == 0


@pytest.mark.parametrize("kind", ["split index", "sparse index", "encoding"])
def test_index_of_any_kind_is_judged(site: Site, kind: str) -> None:
    """What is staged is what git would commit, however the index holds it and whatever the files on disk are."""
    git = made(site)
    git.commit({"other/x.yaml": binding("x"), "deep/er/y.yaml": binding("y")})
    text: str | bytes = binding("new")
    if kind == "split index":
        git("update-index", "--split-index")
    elif kind == "sparse index":
        git("sparse-checkout", "set", "--sparse-index", "models")
    else:
        git.write({".gitattributes": "new.yaml working-tree-encoding=UTF-16\n"})
        text = binding("new").encode("utf-16")
    git.write({"models/new.yaml": text})
    git("add", "models")
    index = (git.folder / ".git" / "index").read_bytes()
    assert site.pai("validate", "--staged", cwd=git.folder).err == "ok: 4 objects\n"
    assert (git.folder / ".git" / "index").read_bytes() == index
    bad = binding("new").replace("maxTokensPerDay", "maxTokenPerDay")
    git.write({"models/new.yaml": bad.encode("utf-16") if kind == "encoding" else bad})
    git("add", "models")
    assert "models/new.yaml:8:3: error PAI209" in site.pai("validate", "--staged", cwd=git.folder, code=1).out
