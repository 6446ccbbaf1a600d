"""The same benchmarks in two checkouts, in turns: what a change costs, on a machine whose speed drifts.

    python -m benchmarks --against ../older/.venv/bin/python [--quick] [--rounds N] NAME ...

Both checkouts run their own benchmarks, so a figure is compared only where both print a row of that name. A round runs
both, and begins with either in turns. The table gives the middle of each side and the middle of the rounds' ratios.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.site import environment

_ROOT = "import reconciler, pathlib; print(pathlib.Path(reconciler.__file__).parents[1])"
_NUMBER = re.compile(r"(-?[\d,.]+(?:e[+-]?\d+)?) (.+)")

Figures = dict[str, tuple[float, str]]
"""By the name of a row: what was measured, and its unit."""


def compare(other: Path, names: Sequence[str], rounds: int, *, quick: bool) -> str:
    """Run the benchmarks here and in the checkout that the interpreter `other` belongs to; give the table."""
    pythons = (Path(sys.executable), other)
    roots = [Path(_run(python, Path.cwd(), "-P", "-c", _ROOT).strip()) for python in pythons]
    if roots[0] == roots[1]:
        raise SystemExit(f"error: {other} belongs to this checkout\nhint: name the Python of another one's environment")
    options = ["--quick"] if quick else []
    found: tuple[list[Figures], list[Figures]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            print(f"round {number + 1} of {rounds}, {roots[side]} ...", file=sys.stderr, flush=True)
            found[side].append(read_table(_run(pythons[side], roots[side], "-m", "benchmarks", *options, *names)))
    return _shown(*found)


def read_table(text: str) -> Figures:
    """Read the rows of a table that `benchmarks.table.show` made."""
    figures: Figures = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and (number := _NUMBER.fullmatch(cells[2])):
            figures[cells[1]] = (float(number[1].replace(",", "")), number[2])
    return figures


def _shown(here: list[Figures], there: list[Figures]) -> str:
    names = [name for name in here[0] if all(name in figures for figures in (*here, *there))]
    lines = ["| what | here | there | here / there | least - most |", "| --- | --- | --- | --- | --- |"]
    for name in names:
        ours, others = [figures[name][0] for figures in here], [figures[name][0] for figures in there]
        unit = here[0][name][1]
        ratios = [a / b for a, b in zip(ours, others, strict=True) if b]
        told = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} - {max(ratios):.2f}" if ratios else " | "
        lines.append(
            f"| {name} | {statistics.median(ours):.4g} {unit} | {statistics.median(others):.4g} {unit} | {told} |"
        )
    return "\n".join(lines)


def _run(python: Path, root: Path, *arguments: str) -> str:
    command = [str(python), *arguments]
    done = subprocess.run(command, cwd=root, env=environment(), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} gave {done.returncode} in {root}")
    return done.stdout
