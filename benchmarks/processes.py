"""What a person waits for: whole `pai` processes, from starting one to its end.

Beside them the same interpreter doing nothing, in turns with them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.site import call, environment, pai, percentile, site
from benchmarks.table import Row, at_most, note

FEW_MODELS, FEW_AGENTS = 9, 1


def run(quick: bool) -> list[Row]:
    """Run each command 30 times, or 5."""
    with site(FEW_MODELS, FEW_AGENTS) as few, site() as many:
        for place in (few, many):
            call(pai(), "-w", place.workspace, "reconcile")
        commands = {
            "python -c pass": (sys.executable, "-c", "pass"),
            "pai --help": (pai(), "--help"),
            "pai get models, 9 models": (pai(), "-w", str(few.workspace), "get", "models"),
            "pai get models, 9,000 models": (pai(), "-w", str(many.workspace), "get", "models"),
        }
        times = _together(commands, few.workspace, 5 if quick else 30)
    bare, shown, *listed = ((name, percentile(values, 50)) for name, values in times.items())
    rows = [at_most(f"`{shown[0]}`, p50", shown[1], 0.25, "s", bare[1], "bare Python")]
    rows += [
        at_most(f"`pai get models`,{name.partition(',')[2]}, p50", p50, 0.4, "s", bare[1], "bare Python")
        for name, p50 in listed
    ]
    return [*rows, note(f"`{bare[0]}`, p50", bare[1], "s")]


def _together(commands: dict[str, tuple[str, ...]], folder: Path, count: int) -> dict[str, list[float]]:
    """Take turns, so that whatever else the machine does meets all of them; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(count + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - started)
    return {name: values[1:] for name, values in times.items()}
