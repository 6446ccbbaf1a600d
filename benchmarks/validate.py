"""`pai validate` over 10,000 files, and check-jsonschema over the same ones in turns with it.

Whole processes, from starting one to its end; nothing of what was read is kept from one to the next. check-jsonschema
(from PyPI, in an environment of its own) checks less: fields by the schema, file by file, and nothing across files. It
takes one schema at a time, so it runs once for the models and once for the agents. Without it, PyYAML alone is told.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.cold_start import LOAD
from benchmarks.installed import from_pypi
from benchmarks.manifests import write_manifests
from benchmarks.site import AGENTS, MODELS, call, environment, pai
from benchmarks.table import Row, at_least, at_most, note
from reconciler.manifests.facts import schema_folder

OTHER = "check-jsonschema"


class Taken(NamedTuple):
    """What processes took: seconds on the clock, and of all CPUs."""

    wall_s: float
    cpu_s: float


def run(quick: bool) -> list[Row]:
    """Take turns five times, or once, and give the medians."""
    with tempfile.TemporaryDirectory(prefix="pai-benchmark-") as name:
        folder = Path(name)
        files = list(write_manifests(folder, MODELS, AGENTS))
        commands = {
            "pai": [[pai(), "validate"]],
            "staged": [[pai(), "validate", "--staged"]],
            "yaml": [[sys.executable, "-c", LOAD, "."]],
        }
        with contextlib.suppress(OSError):
            commands[OTHER] = _other(files)
        _commit(folder)
        taken: dict[str, list[Taken]] = {name: [] for name in commands}
        for _ in range(1 if quick else 5):
            for name, processes in commands.items():
                taken[name].append(_take(processes, folder))
    return _rows(taken, len(files))


def _other(files: Sequence[str]) -> list[list[str]]:
    try:
        command = str(from_pypi(OTHER, OTHER))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{OTHER} is left out: {error}", file=sys.stderr, flush=True)
        raise OSError from error
    kinds = {"modelbinding": "models/", "agentworkload": "agents/"}
    return [
        [command, "--schemafile", str(schema_folder() / f"{kind}_v1.json"), *(f for f in files if f.startswith(start))]
        for kind, start in kinds.items()
    ]


def _commit(folder: Path) -> None:
    call("git", "init", "--quiet", cwd=folder)
    call("git", "add", ".", cwd=folder)
    call("git", "commit", "--quiet", "--message", "all manifests", cwd=folder)


def _take(processes: Sequence[Sequence[str]], folder: Path) -> Taken:
    """Run processes one after the other, all of which must find nothing wrong."""
    before, started = os.times(), time.perf_counter()
    for command in processes:
        subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=True)
    wall_s, after = time.perf_counter() - started, os.times()
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    return Taken(wall_s, cpu_s)


def _rows(taken: dict[str, list[Taken]], files: int) -> list[Row]:
    middle = {
        name: Taken(statistics.median(t.wall_s for t in rounds), statistics.median(t.cpu_s for t in rounds))
        for name, rounds in taken.items()
    }
    own, name = middle["pai"], f"`pai validate`, {files:,} files"
    rows = [
        at_most(f"{name}", own.wall_s, 2.5, "s", middle["yaml"].wall_s, "PyYAML alone"),
        note(f"{name}: CPU of it", own.cpu_s, "s"),
        note(f"`pai validate --staged`, {files:,} files", middle["staged"].wall_s, "s"),
        note("`pai validate --staged`: CPU of it", middle["staged"].cpu_s, "s"),
    ]
    if OTHER in middle:
        other = middle[OTHER]
        rows += [
            at_least(f"{name}: files/s, times those of {OTHER}", other.wall_s / own.wall_s, 5, "x"),
            note(f"{name}: files per CPU second, likewise", other.cpu_s / own.cpu_s, "x"),
            note(f"{OTHER}, {files:,} files", other.wall_s, "s"),
        ]
    return rows
