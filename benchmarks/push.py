"""How long a one-file push into 10,000 manifests takes until it is in force, and what the hook costs.

A real `git push` through the real hook into the repository of a real `pai serve`. The clock starts when the ref is
moved (the change time that the file system gives the ref's file: early by up to one kernel tick, never late) and stops
when a reader of the log finds the revision there: SQLite shows it to others only after it is on the disk. Every other
push goes past the hook, so that the hook's price is a difference of pairs from the same minutes. A push starts as soon
as the one before is in force: less rest than any team gives it.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import NamedTuple

from benchmarks.site import BRANCH, WITHOUT_HOOK, Site, environment, percentile, site
from benchmarks.table import Row, at_most, note
from reconciler.core.events import RevisionAccepted, decode
from reconciler.log.sqlite.store import SqliteReader, open_reader

POLL_S = 0.000_5
TIMEOUT_S = 30.0


class Push(NamedTuple):
    """One push, in milliseconds: from the moved ref to in force, from `git push` to in force, `git push` itself."""

    in_force: float
    from_start: float
    process: float


def run(quick: bool) -> list[Row]:
    """Measure 120 pairs of pushes, or 15."""
    with site() as place, place.serving(), contextlib.closing(open_reader(place.database)) as log:
        pairs = [_pair(place, log, number) for number in range(1, 16 if quick else 121)]
    return _rows([hooked for hooked, _ in pairs], [bare for _, bare in pairs])


def _pair(place: Site, log: SqliteReader, number: int) -> tuple[Push, Push]:
    """Push once with and once without the hook, beginning with either in turns."""
    if number % 2:
        bare = _push(place, log, 2 * number, WITHOUT_HOOK)
        return _push(place, log, 2 * number + 1), bare
    return _push(place, log, 2 * number), _push(place, log, 2 * number + 1, WITHOUT_HOOK)


def _push(place: Site, log: SqliteReader, number: int, *options: str) -> Push:
    commit = place.commit(number)
    size = log.size()
    command = ["git", "push", "--quiet", *options, "origin", BRANCH]
    started = time.time()
    process = subprocess.Popen(command, cwd=place.clone, env=environment())
    in_force = ended = 0.0
    while not (in_force and ended):
        if not in_force and log.size() > size:
            in_force = time.time()
        if not ended and process.poll() is not None:
            ended = time.time()
        if time.time() > started + TIMEOUT_S:
            raise SystemExit("error: a push did not come into force")
        time.sleep(POLL_S)
    moved = (place.repository / "refs" / "heads" / BRANCH).stat().st_ctime
    last = decode(list(log.read(size))[-1].body).payload
    assert isinstance(last, RevisionAccepted)
    assert last.commit == commit
    return Push((in_force - moved) * 1000, (in_force - started) * 1000, (ended - started) * 1000)


def _rows(hooked: list[Push], bare: list[Push]) -> list[Row]:
    in_force = [push.in_force for push in (*hooked, *bare)]
    process = [push.process for push in hooked]
    without = [push.process for push in bare]
    both = [with_hook - alone for with_hook, alone in zip(process, without, strict=True)]
    median, alone = percentile(process, 50), percentile(without, 50)
    git, name = "`git push`", "one file into 10,000: "
    return [
        at_most(f"{name}ref moved to in force, p50", percentile(in_force, 50), 40, "ms", median, git),
        at_most(f"{name}ref moved to in force, p99", percentile(in_force, 99), 150, "ms", median, git),
        at_most(f"{name}the same p50, against {git}", percentile(in_force, 50), median, "ms", median, git),
        note(f"{name}{git} to in force, p50", percentile([push.from_start for push in hooked], 50), "ms"),
        at_most(f"{name}the hook (difference of pairs), p50", percentile(both, 50), 300, "ms", alone, git + " without"),
        note(f"{name}the hook (difference of pairs), p95", percentile(both, 95), "ms"),
        note(f"{name}{git} with the hook, p50", median, "ms"),
        note(f"{name}{git} without the hook, p50", alone, "ms"),
    ]
