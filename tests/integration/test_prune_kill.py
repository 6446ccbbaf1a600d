"""`pai prune` killed at any system call leaves a whole log or a pruned one, and the same command goes on from it."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from reconciler.core.state import State, dump
from reconciler.log.sqlite.store import open_reader
from tests.support import PAI, Site, copied
from tests.support_prune import CUT, busy

SYNCS = "fsync,fdatasync"
RENAMES = "rename,renameat,renameat2,unlink"
WRITES = "pwrite64"
POINTS = (
    *((SYNCS, n) for n in (1, 4, 9, 14, 19, 23, 25)),
    *((RENAMES, n) for n in (1, 2, 4, 7)),
    *((WRITES, n) for n in (1, 20, 40, 55, 65, 70, 75, 80, 85, 90, 130, 190)),
)


@pytest.fixture(scope="module")
def whole(team_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A busy log, only to be copied."""
    return busy(team_template, tmp_path_factory.mktemp("whole"))


def killed(site: Site, words: list[str], calls: str, when: int) -> bool:
    """Run a command that is killed at the entry of a thread's `when`-th such call; False if it came to its end."""
    strace = ["strace", "-f", "-qq", "-o", str(site.folder / "calls"), "-e", f"trace={calls}"]
    inject = ["-e", f"inject={calls}:signal=SIGKILL:when={when}"]
    done = subprocess.run(
        [*strace, *inject, PAI, *words],
        env=site.environment,
        cwd=site.root,
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode not in (0, 1)


def in_force(state: State) -> tuple[object, ...]:
    """Give what of a state the cut must not change."""
    return state.models, state.agents, state.secrets, state.keys, state.ledger, state.revision, state.head


@pytest.mark.parametrize(("calls", "when"), POINTS)
def test_killed_pruning_leaves_a_whole_log(whole: Site, tmp_path: Path, calls: str, when: int) -> None:
    """The log verifies and has everything in force, cut or not; the same command then ends what was begun."""
    site = copied(whole, tmp_path)
    words = ["prune", "--before", f"#{CUT}", "--export", str(tmp_path / "part")]
    before = whole.state()
    was_killed = killed(site, words, calls, when)

    assert was_killed, "this call never comes: the point is worth nothing"

    assert site.pai("verify").out.startswith("ok: ")
    assert in_force(site.state()) == in_force(before)
    with contextlib.closing(open_reader(site.database)) as log:
        first = log.first()
        assert first in (0, CUT)
        assert [event.seq for event in log.read(first)] == list(range(first, log.size()))
    done = site.run(*words)
    assert done.code == (1 if first else 0), (was_killed, done)
    assert site.pai("verify", "--with", tmp_path / "part").out.startswith("ok: ")
    assert in_force(site.state()) == in_force(before)
    assert dump(site.state())
