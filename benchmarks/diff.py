"""How long `pai diff` takes to say what one changed file of 10,000 does, as a whole process with nothing cached.

The clone is packed, as clones that came over a network are. What is measured with: the same command on two equal trees
costs what starting costs; judging both commits in full is what it would take without comparing by trees.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.manifests import write_manifests
from benchmarks.site import AGENTS, MODELS, call, pai
from benchmarks.table import Row, at_most, note
from reconciler.review.compare import in_full
from reconciler.source.git import Repository

FIGURE_S = 0.5


def run(quick: bool) -> list[Row]:
    """Measure it in a clone of its own."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder)
        for path in write_manifests(clone, MODELS, AGENTS):
            changed = clone / path
        call("git", "init", "--quiet", "--initial-branch=main", cwd=clone)
        call("git", "config", "gc.auto", "0", cwd=clone)
        for text in ("r0", "r1"):
            changed.write_text(changed.read_text().replace("revision: r0", f"revision: {text}"))
            call("git", "add", "--all", cwd=clone)
            call("git", "commit", "--quiet", "--message", text, cwd=clone)
        call("git", "repack", "-a", "-d", "--quiet", cwd=clone)
        count = 5 if quick else 21
        before = _cpu_s()
        times = _times(clone, count, "HEAD~1", "HEAD")
        cpu = (_cpu_s() - before) / count
        start = statistics.median(_times(clone, 5, "--help"))
        full = _in_full(clone)
    middle = statistics.median(times)
    name = "`pai diff` of one file in 10,000, whole process"
    return [
        at_most(f"{name}, p50", middle, FIGURE_S, "s", full, "judging both in full, in process"),
        note(f"{name}, slowest", max(times), "s"),
        note(f"{name}, CPU, mean", cpu, "s"),
        note("`pai diff --help`", start, "s"),
    ]


def _times(clone: Path, count: int, *words: str) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        call(pai(), "diff", *words, cwd=clone)
        times.append(time.perf_counter() - started)
    return times


def _cpu_s() -> float:
    """Give the CPU seconds of all processes that have ended: what is left of the time where others work, too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _in_full(clone: Path) -> float:
    repository = Repository.open(clone)
    base, head = repository.resolve("HEAD~1"), repository.resolve("HEAD")
    started = time.perf_counter()
    in_full(repository, ".", base, head)
    return time.perf_counter() - started
