"""Thousands of checkpoints on the ref: few files, nothing lost, nobody who waits."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import FileMode

from reconciler.source import packing, witness
from reconciler.source.bare import init_bare
from reconciler.source.packing import Packer, crowded
from reconciler.source.storing import store
from reconciler.source.writing import Author
from tests.support import until

COMMITS = 1200
ALLOWED = 1000
PAI = Author("Pai", "pai@localhost")


def loose(path: Path) -> int:
    """Count the loose objects of a repository."""
    return sum(len(files) for folder, _, files in os.walk(path / "objects") if len(Path(folder).name) == 2)


def files(path: Path) -> int:
    """Count all files of a repository."""
    return sum(len(found) for _, _, found in os.walk(path))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository that allows fewer loose objects than git does by default."""
    path = tmp_path / "config.git"
    init_bare(path, "main")
    subprocess.run(["git", "config", "--file", str(path / "config"), "gc.auto", str(ALLOWED)], check=True)
    return path


def publish(path: Path, top: str | None, n: int) -> str:
    """Publish one checkpoint."""
    return witness.publish(path, top, {"checkpoint": b"%d\n" % n, "vkey": b"key\n"}, f"Checkpoint {n}\n", PAI)


def test_thousands_of_checkpoints_are_few_files(repository: Path) -> None:
    """While they are published the repository is packed again and again; all of them stay, and git finds no fault."""
    packer, top = Packer(repository, pause_s=0.0, look_s=0.0), None
    most = 0
    for n in range(COMMITS):
        top = publish(repository, top, n)
        packer.tidy()
        most = max(most, loose(repository)) if n % 100 == 0 else most
    until("the last run to end", lambda: packer._running is None or not packer._running.is_alive())

    assert most < COMMITS * 3 - ALLOWED, "it was packed on the way"
    assert loose(repository) < 2 * ALLOWED
    assert [found.files["checkpoint"] for found in witness.history(repository)] == [
        b"%d\n" % n for n in reversed(range(COMMITS))
    ]
    done = subprocess.run(["git", "-C", str(repository), "fsck", "--full"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    top = publish(repository, top, COMMITS)
    newest = witness.newest(repository)
    assert newest is not None
    assert newest.commit == top


def test_owner_can_switch_packing_off(repository: Path) -> None:
    """`gc.auto=0` is the owner's word; a repository that is gone or empty is nobody's business."""
    top = None
    subprocess.run(["git", "config", "--file", str(repository / "config"), "gc.auto", "300"], check=True)
    for n in range(ALLOWED):
        top = publish(repository, top, n)
        if crowded(repository):
            break
    assert crowded(repository)
    subprocess.run(["git", "config", "--file", str(repository / "config"), "gc.auto", "0"], check=True)
    assert not crowded(repository)
    before = files(repository)
    Packer(repository).tidy()
    assert files(repository) == before
    assert not crowded(repository / "nowhere")


def test_missing_git_stops_nobody(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the git program checkpoints are published all the same."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(packing, "crowded", lambda _: True)
    packer = Packer(repository, pause_s=0.0, look_s=0.0)
    top = None
    for n in range(3):
        top = publish(repository, top, n)
        packer.tidy()
    assert len(list(witness.history(repository))) == 3


def test_object_that_git_moves_meanwhile_is_looked_for_again(repository: Path) -> None:
    """A tree that git packs between its writing and its commit's is written again; one that nobody has is an error."""
    repo = pygit2.Repository(str(repository))
    signature = pygit2.Signature("Pai", "pai@localhost")
    tries = 0

    def write(into: pygit2.Repository) -> pygit2.Oid:
        nonlocal tries
        tries += 1
        blob = into.create_blob(b"checkpoint")
        tree = into.TreeBuilder()
        tree.insert("checkpoint", blob, FileMode.BLOB)
        oid = tree.write()
        if tries < 3:
            (place,) = repository.glob(f"pai-objects-*/{str(oid)[:2]}")
            shutil.rmtree(place)
        return into.create_commit(None, signature, signature, "Checkpoint", oid, [])

    commit = store(repo, write)
    assert tries == 3
    assert repo[repo[commit].peel(pygit2.Tree)["checkpoint"].id].read_raw() == b"checkpoint"
    nowhere = pygit2.Oid(hex="1" * 40)
    with pytest.raises(KeyError, match="object not found"):
        store(repo, lambda into: into.create_commit(None, signature, signature, "Checkpoint", nowhere, []))
    assert not list(repository.glob("pai-objects-*"))
