"""How long `pai serve` takes over 10,000 manifests that it has never seen, and what memory.

From starting the process to `/readyz` 200 and the revision readable on the log; the log is new and nothing is kept of
what was read. Beside it: PyYAML's own C loader reading the same files, with no check at all.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import sys
import time

from benchmarks.site import Site, call, pai, site
from benchmarks.table import Row, at_most
from reconciler.log.replay import projected
from reconciler.log.sqlite.store import open_reader

MEMORY_MB = 250
LOAD = """
import pathlib, sys, yaml
for path in pathlib.Path(sys.argv[1]).rglob("*.yaml"):
    yaml.load(path.read_bytes(), yaml.CSafeLoader)
"""
"""A program that reads the manifests below a folder with PyYAML, and does nothing with them."""


def _start(place: Site) -> tuple[float, float]:
    """Start on a new log with nothing kept; give seconds and megabytes."""
    shutil.rmtree(place.workspace / "data")
    call("git", "update-ref", "-d", "refs/pai/checkpoints", cwd=place.repository)  # else the new log is a rollback
    call(pai(), "init", place.workspace)
    with place.serving() as served, contextlib.closing(open_reader(place.database)) as log:
        state = projected(log)
        assert len(state.models) + len(state.agents) == len(place.files)
        return served.in_force_s, served.peak_mb


def run(quick: bool) -> list[Row]:
    """Start three times, or once, and give the medians."""
    with site() as place:
        starts = [_start(place) for _ in range(1 if quick else 3)]
        before = time.perf_counter()
        call(sys.executable, "-c", LOAD, place.clone)
        loaded = time.perf_counter() - before
    seconds = statistics.median(start[0] for start in starts)
    name, files = "cold start, 10,000 manifests", "PyYAML alone"
    return [
        at_most(f"{name}: to ready and in force", seconds, 3, "s", loaded, files),
        at_most(f"{name}: most memory until then", max(start[1] for start in starts), MEMORY_MB, "MB"),
    ]
