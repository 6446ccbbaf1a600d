"""Subtree hashes of a log on the disk: kept with every append, found wrong when they are, made anew when missing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.errors import LogDamaged
from reconciler.log.check.whole import check
from reconciler.log.sqlite.store import SqliteBackend, SqliteReader, open_reader
from reconciler.log.tree import Tree
from reconciler.recorder import Recorder
from reconciler.tlog.merkle import Frontier
from reconciler.tlog.proofs import verify_consistency, verify_inclusion
from tests.support_log import binding, decide, new_log

SIZE = 1000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 1,000 events that were recorded in batches of all sizes."""
    path = new_log(tmp_path_factory.mktemp("whole"))
    with Recorder(SqliteBackend(path)) as recorder:
        left, step = SIZE - 1, 1
        while left:
            recorder.record(decide(*(binding("m", n + 1) for n in range(min(step, left)))))
            left -= min(step, left)
            step = step * 3 % 97
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to be changed."""
    path = tmp_path / "log.db"
    path.write_bytes(whole.read_bytes())
    return path


def roots(reader: SqliteReader) -> Callable[[int], bytes]:
    """Give a function that computes the root of the first so many events from the leaves alone."""
    leaves = [stored.leaf for stored in reader.read()]

    def root(size: int) -> bytes:
        tree = Frontier()
        tree.extend(leaves[:size])
        return tree.root()

    return root


def change(path: Path, statement: str) -> None:
    """Change the file behind Pai's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def test_tree_of_stored_hashes_proves_every_event(whole: Path) -> None:
    """Roots, frontiers and proofs from stored hashes are those of the leaves, at sizes on and off the tiles' edges."""
    with contextlib.closing(open_reader(whole)) as reader:
        tree, root = Tree(reader), roots(reader)
        leaves = [stored.leaf for stored in reader.read()]
        for size in (1, 2, 255, 256, 257, 511, 512, 768, 769, 999, SIZE):
            assert tree.root(size) == tree.frontier(size).root() == root(size)
            assert verify_consistency(size, SIZE, tree.consistency(size, SIZE), root(size), root(SIZE))
            for at in {0, size // 2, size - 1}:
                assert verify_inclusion(leaves[at], at, size, tree.inclusion(at, size), root(size))


def test_root_beyond_the_log_is_damage(whole: Path) -> None:
    """Nobody gets a root of more events than there are."""
    with contextlib.closing(open_reader(whole)) as reader, pytest.raises(LogDamaged, match="position 1000"):
        Tree(reader).root(SIZE + 1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subtrees SET hash = zeroblob(32) WHERE n = 1",
        "UPDATE subtrees SET hash = x'00' WHERE n = 1",
        "DELETE FROM subtrees WHERE n = 1",
        "UPDATE subtrees SET tier = 5 WHERE n = 1",
    ],
)
def test_wrong_subtree_hash_is_noticed(copy: Path, statement: str) -> None:
    """The check names the positions that a wrong or missing subtree hash stands for."""
    change(copy, statement)
    with contextlib.closing(open_reader(copy)) as reader:
        assert [p.message for p in check(reader)] == [
            "the stored hash of the subtree of positions 256 to 511 is not theirs"
        ]


@pytest.mark.parametrize("statement", ["DROP TABLE subtrees", "DELETE FROM subtrees WHERE n = 1"])
def test_missing_subtree_hashes_are_made_at_the_next_start(copy: Path, statement: str) -> None:
    """A log that an older program made has no table of them: it reads, and opening it for writing makes it whole."""
    change(copy, statement)
    with contextlib.closing(open_reader(copy)) as reader:
        root = roots(reader)
        with pytest.raises(LogDamaged, match="a hash of the tree is missing"):
            Tree(reader).root(SIZE)
    with Recorder(SqliteBackend(copy)):
        pass
    with contextlib.closing(open_reader(copy)) as reader:
        assert Tree(reader).root(SIZE) == root(SIZE)
        assert check(reader) == []
