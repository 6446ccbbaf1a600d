"""Reading trees, refs and commits of real repositories."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pygit2
import pytest

from reconciler.core.errors import NotFound, SourceUnavailable
from reconciler.core.events import Signature
from reconciler.source import tree_walk
from reconciler.source.git import CACHE_BYTES_MAX, Repository, TreeEntry
from reconciler.source.quarantine import quarantine_folders
from reconciler.source.tree_walk import TreeRefused

from .conftest import Git


def test_tip_follows_refs_loose_packed_and_collected(git: Git) -> None:
    """The tip is right whether its ref is loose, packed or swept by a garbage collection."""
    repository = Repository.open(git.folder)
    assert repository.tip("main") is None
    first = git.commit({"a.yaml": "1"})
    assert repository.tip("main") == first
    git("pack-refs", "--all")
    assert repository.tip("main") == first
    second = git.commit({"a.yaml": "2"})
    assert repository.tip("main") == second
    git("gc", "--quiet", "--prune=now")
    assert repository.tip("main") == second
    assert [repository.blob(e.oid) for e in repository.entries(second)] == [b"2"]


def test_tip_is_none_for_a_deleted_renamed_or_never_made_branch(git: Git) -> None:
    """A branch that is not there is None, and back again when it is made anew."""
    sha = git.commit({"a": "1"})
    git("checkout", "--quiet", "-b", "other")
    repository = Repository.open(git.folder)
    git("branch", "-m", "main", "team/main")
    assert (repository.tip("main"), repository.tip("team/main"), repository.tip("team")) == (None, sha, None)
    git("branch", "-D", "team/main")
    assert repository.tip("team/main") is None
    git("branch", "main")
    assert repository.tip("main") == sha


def test_missing_tells_no_commit_at_all_from_a_missing_branch(bare: Git, git: Git) -> None:
    """Only a repository without any commit is empty, whatever HEAD says."""
    assert Repository.open(bare.folder).missing("main") is None
    git.commit({"a": "1"})
    git("push", "--quiet", str(bare.folder), "main:side")
    repository = Repository.open(bare.folder)
    assert repository.tip("main") is None
    assert "its branches: side" in getattr(repository.missing("main"), "hint", "")


def test_open_reads_work_tree_bare_linked_work_tree_and_alternates(git: Git, tmp_path: Path) -> None:
    """The same commit is read through every shape a local repository can have."""
    sha = git.commit({"d/a.yaml": "1"})
    git("worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    git("clone", "--quiet", "--bare", str(git.folder), str(tmp_path / "clone.git"))
    git("clone", "--quiet", "--shared", str(git.folder), str(tmp_path / "shared"))
    for folder in (git.folder, git.folder / ".git", tmp_path / "linked", tmp_path / "clone.git", tmp_path / "shared"):
        repository = Repository.open(folder)
        assert repository.tip("main") == sha
        assert [e.path for e in repository.entries(sha)] == ["d/a.yaml"]
    assert Repository.open(tmp_path / "linked").git_dir == git.folder / ".git"


@pytest.mark.parametrize("url", ["https://u:secret@host/x.git", "ssh://host/x", "git@host:x.git", "file:///x"])
def test_open_refuses_remote_addresses_without_showing_them(url: str) -> None:
    """An address is told apart from a path, and its credentials are not repeated."""
    with pytest.raises(SourceUnavailable) as caught:
        Repository.open(Path(url))
    assert "remote" in caught.value.message
    assert caught.value.hint
    assert "secret" not in caught.value.message + caught.value.hint


def test_open_explains_what_is_no_readable_repository(tmp_path: Path, git: Git) -> None:
    """A missing folder, a plain folder, a folder inside a work tree and a SHA-256 repository each say what is wrong."""
    (git.folder / "inside").mkdir()
    for folder in (tmp_path / "missing", tmp_path, git.folder / "inside"):
        with pytest.raises(SourceUnavailable, match="is not a git repository"):
            Repository.open(folder)
    git("init", "--quiet", "--object-format=sha256", str(tmp_path / "sha256"))
    with pytest.raises(SourceUnavailable, match="SHA-256"):
        Repository.open(tmp_path / "sha256")


def test_vanished_repository_is_unavailable_and_not_without_branches(git: Git, tmp_path: Path) -> None:
    """A repository that is gone is an error, never an absent branch or an empty repository."""
    sha = git.commit({"a": "1"})
    repository = Repository.open(git.folder)
    shutil.move(git.folder, tmp_path / "away")
    for read in (lambda: repository.tip("main"), lambda: repository.missing("main"), lambda: repository.commit(sha)):
        with pytest.raises(SourceUnavailable):
            read()
    shutil.move(tmp_path / "away", git.folder)
    assert repository.tip("main") == sha


def test_broken_refs_and_objects_are_unavailable(git: Git) -> None:
    """Garbage in a ref, a flipped object and a missing object are errors with a hint, not crashes."""
    sha = git.commit({"a.yaml": "content"})
    blob = git("rev-parse", "HEAD:a.yaml")
    file = git.folder / ".git" / "objects" / blob[:2] / blob[2:]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-3] + b"xyz")
    repository = Repository.open(git.folder)
    with pytest.raises(SourceUnavailable, match="cannot be read") as caught:
        repository.blob(blob)
    assert caught.value.hint
    file.unlink()
    with pytest.raises(SourceUnavailable, match="is missing"):
        repository.blob(blob)
    with pytest.raises(TreeRefused, match="is not a blob"):
        repository.blob(sha)
    (git.folder / ".git" / "refs" / "heads" / "main").write_text("garbage\n")
    with pytest.raises(SourceUnavailable):
        repository.tip("main")


def test_tree_of_a_huge_name_is_refused_unread(git: Git) -> None:
    """A tree whose one name is huge packs to a thousandth; its size is looked at before it fills the memory."""
    git.commit({"a": "1"})
    raw = git.folder / "raw"
    raw.write_bytes(b"100644 " + b"a" * tree_walk.FOLDER_BYTES_MAX + b"\0" + b"x" * 20)
    tree = git("hash-object", "-t", "tree", "--literally", "-w", str(raw))
    sha = git("commit-tree", tree, "-m", "x")
    with pytest.raises(TreeRefused, match=f"more than 4,194,304 bytes of names .tree {tree}"):
        list(Repository.open(git.folder).entries(sha))


def test_malformed_tree_is_refused(git: Git) -> None:
    """Bytes that are no tree are refused instead of being half read."""
    git.commit({"a": "1"})
    raw = git.folder / "raw"
    raw.write_bytes(b"100644 name\0short")
    tree = git("hash-object", "-t", "tree", "--literally", "-w", str(raw))
    sha = git("commit-tree", tree, "-m", "x")
    with pytest.raises(TreeRefused, match="malformed"):
        list(Repository.open(git.folder).entries(sha))


def test_source_path_that_is_no_folder_is_refused(git: Git) -> None:
    """A link, at the path or on the way to it, is not taken for an empty folder; what is not there is one."""
    git.commit({"conf/models/a.yaml": "1"})
    (git.folder / "link").symlink_to("conf")
    sha = git.commit()
    repository = Repository.open(git.folder)
    for path in ("link", "link/models", "conf/models/a.yaml"):
        with pytest.raises(TreeRefused, match=f"the source path {path} is no folder: "):
            repository.require_folder(sha, path)
    for path in (".", "conf", "conf/models", "conf/none", "none/models"):
        repository.require_folder(sha, path)


def test_entries_list_every_kind_and_every_name(git: Git) -> None:
    """Files, executables, symlinks and submodules come with names of any bytes, in git's order."""
    blob = git("hash-object", "-w", "--stdin", stdin=b"x")
    commit = git.commit({"a": "1"})
    names = [b"sp ace.yaml", "ünï/é.yaml".encode(), b"new\nline", b"\xff\xfe.yaml", b"ctrl\x1b[2J"]
    lines = [b"100644 blob %s\t%s\0" % (blob.encode(), name) for name in names]
    lines += [b"100755 blob %s\trun.sh\0" % blob.encode(), b"120000 blob %s\tlink\0" % blob.encode()]
    lines.append(b"160000 commit %s\tsub\0" % commit.encode())
    for line in lines:
        git("update-index", "-z", "--index-info", stdin=line)
    git("commit", "--quiet", "-m", "names")
    sha = git("rev-parse", "HEAD")
    found = {e.path: e.kind for e in Repository.open(git.folder).entries(sha)}
    expected = {os.fsdecode(name): "file" for name in [*names, b"run.sh", b"a"]}
    assert found == {**expected, "link": "symlink", "sub": "submodule"}


def test_entries_are_relative_to_the_path_and_empty_without_it(git: Git) -> None:
    """The source path is a folder; anything else at that place holds nothing."""
    sha = git.commit({"conf/models/a.yaml": "1", "conf/b.yaml": "2", "c.yaml": "3"})
    repository = Repository.open(git.folder)
    for path in ("conf", "conf/", "./conf"):
        assert [e.path for e in repository.entries(sha, path)] == ["b.yaml", "models/a.yaml"]
    assert [e.path for e in repository.entries(sha, "conf/models")] == ["a.yaml"]
    for path in ("none", "c.yaml", "c.yaml/x", "conf/none"):
        assert list(repository.entries(sha, path)) == []
    assert repository.blob_at(sha, "conf/models/a.yaml") == b"1"
    assert [repository.blob_at(sha, path) for path in ("conf", "none/x", "c.yaml/x")] == [None, None, None]


def test_entries_of_a_tree_bomb_end_in_a_message(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few objects that stand for a billion files are refused before they fill the memory."""
    git.commit({"a": "1"})
    tree = git("rev-parse", "HEAD^{tree}")
    for _ in range(9):
        listing = b"".join(b"040000 tree %s\td%d\n" % (tree.encode(), i) for i in range(10))
        tree = git("mktree", stdin=listing)
    sha = git("commit-tree", tree, "-m", "bomb")
    monkeypatch.setattr(tree_walk, "ENTRIES_MAX", 10_000)
    repository = Repository.open(git.folder)
    with pytest.raises(TreeRefused, match=r"more than 10,000 files"):
        list(repository.entries(sha))
    with pytest.raises(TreeRefused, match=r"more than 10,000 files"):
        repository.changes(git("rev-parse", "HEAD"), sha, "d0")


def test_changes_agree_with_git_diff(git: Git) -> None:
    """Added, changed, removed, retyped and moved paths are those that git itself names."""
    old = git.commit({"a": "1", "b/x": "1", "b/y": "1", "c": "1", "deep/er/z": "1", "same/s": "1"})
    (git.folder / "c").unlink()
    (git.folder / "c").symlink_to("a")
    (git.folder / "b" / "y").rename(git.folder / "y")
    shutil.rmtree(git.folder / "b")
    new = git.commit({"a": "2", "b": "now a file", "deep/er/z": None, "deep/new": "1"})
    repository = Repository.open(git.folder)
    found = dict(repository.changes(old, new))
    listed = git("diff", "--no-renames", "--name-status", "-z", old, new).split("\0")[:-1]
    expected = dict(zip(listed[1::2], listed[::2], strict=True))
    assert found.keys() == expected.keys()
    assert {path for path, entry in found.items() if entry is None} == {p for p, s in expected.items() if s == "D"}
    assert found["c"] == TreeEntry("c", "symlink", git("rev-parse", f"{new}:c"))
    assert [path for path, _ in repository.changes(old, new, "deep")] == ["er/z", "new"]
    assert repository.changes(old, old) == []


def test_changes_ignore_the_executable_bit_alone(git: Git) -> None:
    """A mode change carries no manifest change."""
    old = git.commit({"a": "1"})
    (git.folder / "a").chmod(0o755)
    new = git.commit()
    assert Repository.open(git.folder).changes(old, new) == []


def test_changes_find_one_file_in_ten_thousand_flat_and_nested(bare: Git) -> None:
    """One touched file in 10,000 is the only change, in one folder or in a hundred."""
    files = {f"flat/{i}.yaml": f"{i}\n" for i in range(10_000)} | {f"n/{i % 100}/{i}.yaml": "" for i in range(10_000)}
    old = bare.fast_import(files)
    new = bare.fast_import({"flat/77.yaml": "new", "n/3/103.yaml": "new"}, parent=old)
    repository = Repository.open(bare.folder)
    assert [path for path, _ in repository.changes(old, new)] == ["flat/77.yaml", "n/3/103.yaml"]
    assert sum(1 for _ in repository.entries(new)) == 20_000


def test_size_is_known_without_reading_packed_and_loose(git: Git) -> None:
    """The size comes from the header, of a loose object and of a packed delta."""
    git.commit({"a": "x" * 100_000})
    git.commit({"a": "x" * 100_000 + "y"})
    oid = git("rev-parse", "HEAD~:a")
    repository = Repository.open(git.folder)
    assert repository.size(oid) == 100_000
    git("gc", "--quiet", "--aggressive")
    assert Repository.open(git.folder).size(oid) == 100_000
    with pytest.raises(SourceUnavailable, match="is missing"):
        repository.size("1" * 40)


def test_resolve_reads_any_revision_and_refuses_others(git: Git) -> None:
    """Branches, relatives, short ids and annotated tags end at a commit; the rest is NotFound."""
    first = git.commit({"a": "1"})
    second = git.commit({"a": "2"})
    git("tag", "-a", "v1", "-m", "tag", first)
    repository = Repository.open(git.folder)
    assert [repository.resolve(rev) for rev in ("main", "HEAD~1", "v1", second[:8])] == [second, first, first, second]
    for rev in ("nope", "HEAD~9", "HEAD:a", "", "a b", "f" * 40):
        with pytest.raises(NotFound):
            repository.resolve(rev)


def test_commit_tells_people_times_encoding_and_signature(git: Git) -> None:
    """A commit with an old encoding, a signature and a zone is read as it was meant."""
    tree = git("mktree")
    raw = (
        f"tree {tree}\nauthor J\xf6rg <> 1700000000 +0530\ncommitter C <c@d> 1700000000 -0800\nencoding ISO-8859-1\n"
        "gpgsig -----BEGIN SSH SIGNATURE-----\n AAAA\n -----END SSH SIGNATURE-----\n\nGr\xfc\xdfe\n"
    )
    sha = git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw.encode("latin-1"))
    info = Repository.open(git.folder).commit(sha)
    assert (info.author.name, info.author.email, info.author.time) == ("Jörg", "", "2023-11-15T03:43:20+05:30")
    assert info.committer.time == "2023-11-14T14:13:20-08:00"
    assert (info.message, info.signature, info.parents) == ("Grüße\n", Signature("ssh", False), ())


def test_commit_reads_a_huge_message_and_finds_its_trailer(git: Git) -> None:
    """A message of half a megabyte is no obstacle to its trailer."""
    message = "Subject\n\n" + "word " * 100_000 + "\n\npai-allow-deletions: yes\n"
    sha = git("commit-tree", git("mktree"), stdin=message.encode())
    repository = Repository.open(git.folder)
    assert repository.has_trailer(sha, "Pai-Allow-Deletions", "yes")
    assert not repository.has_trailer(sha, "Pai-Allow-Deletions", "no")
    assert len(repository.commit(sha).message) > 400_000


def test_quarantine_folders_understand_gits_quoting() -> None:
    """Git writes a folder with a colon or a quote in its name as a C string."""
    environment = {"GIT_OBJECT_DIRECTORY": "/q", "GIT_ALTERNATE_OBJECT_DIRECTORIES": r'/a:"/b:c\"d\303\274":/e'}
    assert list(quarantine_folders(environment)) == ["/q", "/a", '/b:c"dü', "/e"]
    assert list(quarantine_folders({})) == []


def test_what_libgit2_keeps_of_what_was_read_is_bounded() -> None:
    """A remote's history of a hundred thousand commits, which is read once, does not stay in the daemon's memory."""
    assert pygit2.settings.cached_memory[1] == CACHE_BYTES_MAX <= 16 * 1024 * 1024
