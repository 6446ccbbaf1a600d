"""Measure the figures that Pai promises and print them as one table.

    python -m benchmarks [--quick] [NAME ...]
    python -m benchmarks --against PYTHON [--rounds N] [--quick] [NAME ...]

Names: push, cold_start, restart, processes, append, budget, gateway, stories, validate, diff, webhooks, attacks; all if
none is given. A missed figure is marked, and the exit code is 0 all the same: this measures, it does not judge.
Machines differ: the last column says how many times as much as something that was measured in the same run. With
--against, another checkout's benchmarks run in turns with these, and the table compares them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import (
    against,
    append,
    attacks,
    budget,
    cold_start,
    diff,
    gateway,
    processes,
    push,
    restart,
    stories,
    validate,
    webhooks,
)
from benchmarks.table import Row, show

BENCHMARKS: Mapping[str, Callable[[bool], list[Row]]] = {
    "push": push.run,
    "cold_start": cold_start.run,
    "restart": restart.run,
    "processes": processes.run,
    "append": append.run,
    "budget": budget.run,
    "gateway": gateway.run,
    "stories": stories.run,
    "validate": validate.run,
    "diff": diff.run,
    "webhooks": webhooks.run,
    "attacks": attacks.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the figures that Pai promises.")
    parser.add_argument("--quick", action="store_true", help="a small part of the work: less certain, a minute")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument(
        "--against", type=Path, metavar="PYTHON", help="the interpreter of another checkout's environment"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds with --against (default: 3)")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if arguments.against is not None:
        names = arguments.names or list(BENCHMARKS)
        print(against.compare(arguments.against, names, max(1, arguments.rounds), quick=arguments.quick))
        return 0
    rows: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += BENCHMARKS[name](arguments.quick)
    print(show(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
