"""Git as a child of a program that has much open, and that a remote has say very much."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from reconciler.source.bare import init_bare
from reconciler.source.gitrun import SAID_BYTES_MAX, GitRunner

MIB = 1024 * 1024


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Give an empty repository."""
    init_bare(tmp_path / "r", "main")
    return tmp_path / "r"


def test_git_runs_however_many_files_are_open(repository: Path) -> None:
    """Each connection of an agent is one; with more than 1,023 the daemon still follows its remote."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 2048:
        pytest.skip("so many files may not be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, before[1]))
    opened = [os.dup(0) for _ in range(1100)]
    try:
        ran = GitRunner(repository, 20, MIB).run("rev-parse", "--is-bare-repository")
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (ran.code, ran.out) == (0, "true\n")


def test_what_is_said_without_end_takes_no_room(repository: Path) -> None:
    """It is on no disk, its end is kept, and who goes on has its time and no more."""
    runner = GitRunner(repository, 1.5, 64 * MIB)
    ran = runner.run("-c", "alias.flood=!yes flood >&2", "flood")
    assert ran.late
    assert "flood\nflood" in ran.err[-100:]
    assert len(ran.err) <= SAID_BYTES_MAX


def test_last_words_are_heard_behind_many(repository: Path) -> None:
    """What git says last, just before it ends, is where the reason stands."""
    runner = GitRunner(repository, 20, MIB)
    ran = runner.run("-c", "alias.much=!yes much | head -c 300000 >&2; echo why >&2; exit 3", "much")
    assert (ran.code, ran.late) == (3, False)
    assert ran.err.endswith("much\nwhy\n")
