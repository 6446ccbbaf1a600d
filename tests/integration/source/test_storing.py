"""Objects that Pai writes: nobody who copies the repository meanwhile stumbles over them, and none is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pygit2
import pytest

from reconciler.core.errors import SourceUnavailable
from reconciler.source import witness
from reconciler.source.bare import init_bare
from reconciler.source.storing import store
from reconciler.source.writing import Author, move, signature_of

PAI = Author("Pai", "pai@localhost")
KILLED = """
import os, signal, sys, pygit2
from reconciler.source.storing import store

def write(into):
    into.create_blob(b"half")
    print("written", flush=True)
    signal.pause()

store(pygit2.Repository(sys.argv[1]), write)
"""

PUBLISHED = """
import sys
from pathlib import Path
from reconciler.core.errors import SourceUnavailable
from reconciler.source import witness
from reconciler.source.writing import Author, move, signature_of

witness.publish(Path(sys.argv[1]), None, {"checkpoint": b"1"}, "Checkpoint 1", Author("Pai", "pai@localhost"))
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with nothing in it."""
    path = tmp_path / "config.git"
    init_bare(path, "main")
    return path


def publish(path: Path, top: str | None, n: int) -> str:
    """Publish one checkpoint."""
    return witness.publish(path, top, {"checkpoint": b"%d\n" % n}, f"Checkpoint {n}\n", PAI)


def test_nothing_unfinished_stands_among_the_objects(repository: Path, tmp_path: Path) -> None:
    """`git clone FOLDER` copies what it finds there, and ends with an error if that is gone before it is copied."""
    found = tmp_path / "calls"
    calls = "trace=open,openat,creat,rename,renameat,renameat2,link,linkat"
    subprocess.run(["strace", "-f", "-e", calls, "-o", found, sys.executable, "-c", PUBLISHED, repository], check=True)
    lines = [line for line in found.read_text().splitlines() if f"{repository}/" in line]
    assert not [line for line in lines if "O_CREAT" in line and f"{repository}/objects" in line]
    assert len([line for line in lines if "rename" in line and f"{repository}/objects" in line]) == 3
    subprocess.run(["git", "-C", repository, "fsck", "--full", "--strict"], check=True)


def test_objects_are_on_the_disk_before_a_ref_names_them(repository: Path, tmp_path: Path) -> None:
    """Each is synced and moved in, then its folder is, and after all of them the ref is written and synced."""
    found = tmp_path / "calls"
    command = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=fsync,rename",
        "-o",
        found,
        sys.executable,
        "-c",
        PUBLISHED,
        repository,
    ]
    subprocess.run(command, check=True)
    lines = [line.split(maxsplit=1)[1] for line in found.read_text().splitlines() if f"{repository}/" in line]
    moved = [line.split('"')[1::2] for line in lines if "rename(" in line and "/pai-objects-" in line]
    assert len(moved) == 3
    synced = [line.split("<")[1].split(">")[0] for line in lines if line.startswith("fsync(")]
    ref = synced.index(f"{repository}/refs/pai/checkpoints.lock")
    for place, into in moved:
        at = synced.index(place)
        assert str(Path(into).parent) in synced[at:ref]
    assert f"{repository}/objects" in synced[:ref]
    assert f"{repository}/refs/pai" in synced[ref:]


def test_folder_of_a_writer_that_was_killed_is_removed(repository: Path) -> None:
    """But not that of one who still writes, however long that takes."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(repository)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        (left,) = repository.glob("pai-objects-*")
        os.utime(left, (time.time() - 3600,) * 2)
        top = publish(repository, None, 1)
        assert left.exists()
        writer.kill()
    publish(repository, top, 2)
    assert not left.exists()


def test_objects_of_a_linked_work_tree_are_in_the_common_folder(repository: Path, tmp_path: Path) -> None:
    """Where git looks for them, whichever of the work trees wrote them."""
    publish(repository, None, 1)
    subprocess.run(
        [
            "git",
            "-C",
            str(repository),
            "worktree",
            "add",
            "-q",
            "--detach",
            str(tmp_path / "tree"),
            witness.CHECKPOINTS,
        ],
        check=True,
    )
    oid = store(pygit2.Repository(str(tmp_path / "tree")), lambda into: into.create_blob(b"from the tree"))
    assert pygit2.Repository(str(repository))[oid].read_raw() == b"from the tree"


def test_shared_repository_stays_so(tmp_path: Path) -> None:
    """Its group can put objects into the folders that Pai makes, as into those of git."""
    subprocess.run(["git", "init", "-q", "--bare", "--shared=group", tmp_path / "shared"], check=True)
    store(pygit2.Repository(str(tmp_path / "shared")), lambda into: into.create_blob(b"shared"))
    (made,) = (tmp_path / "shared" / "objects").glob("??")
    assert made.stat().st_mode & 0o7777 == (tmp_path / "shared" / "objects").stat().st_mode & 0o7777 == 0o2775


def test_objects_elsewhere(repository: Path, tmp_path: Path) -> None:
    """A link to a folder on another disk is followed: objects are written there, and moved within it."""
    (tmp_path / "disk").mkdir()
    (repository / "objects").rename(tmp_path / "disk" / "objects")
    (repository / "objects").symlink_to(tmp_path / "disk" / "objects")

    def write(into: pygit2.Repository) -> pygit2.Oid:
        oid = into.create_blob(b"elsewhere")
        assert list((tmp_path / "disk").glob("pai-objects-*"))
        return oid

    oid = store(pygit2.Repository(str(repository)), write)
    assert pygit2.Repository(str(repository))[oid].read_raw() == b"elsewhere"
    assert not list((tmp_path / "disk").glob("pai-objects-*"))


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/pai/checkpoints", "refs/heads/a/b"])
@pytest.mark.parametrize("known", [False, True])
def test_repository_moved_away_leaves_no_folder_behind(repository: Path, ref: str, known: bool) -> None:
    """What stayed there, an empty `refs` or a lock, would be in the way of whoever moves the repository back."""
    commit = publish(repository, None, 1)
    repo = pygit2.Repository(str(repository))
    if known:
        repo[commit].peel(pygit2.Tree)  # so that libgit2 writes the ref, and asks for nothing
    away = repository.rename(repository.with_name("away.git"))
    with pytest.raises(SourceUnavailable, match="went away meanwhile"):
        move(repo, ref, None, pygit2.Oid(hex=commit), signature_of(PAI), "Say\n")
    assert not repository.exists()
    away.rename(repository)
    assert witness.publish(repository, commit, {"checkpoint": b"2"}, "Checkpoint 2\n", PAI)


def test_lock_that_was_left_is_removed_from_pais_own_refs(repository: Path) -> None:
    """It may have been moved away and back with its repository while a checkpoint was published."""
    first = publish(repository, None, 1)
    locks = [repository / f"{ref}.lock" for ref in ("refs/pai/checkpoints", "refs/heads/main")]
    for lock in locks:
        lock.parent.mkdir(exist_ok=True)
        lock.touch()
    with pytest.raises(SourceUnavailable, match="locked by another git process"):
        publish(repository, first, 2)
    for lock in locks:
        os.utime(lock, (time.time() - 60, time.time() - 60))
    publish(repository, first, 2)
    repo = pygit2.Repository(str(repository))
    with pytest.raises(SourceUnavailable, match="locked by another git process"):
        move(repo, "refs/heads/main", None, pygit2.Oid(hex=first), signature_of(PAI), "Say\n")
