"""Recompute everything from the stored bytes and compare: hashes, positions, the Merkle tree, the state.

Names the first bad position of each kind of fault; exit code 1 if there is any. Only reads, also beside a daemon.
"""

from __future__ import annotations

import argparse
import contextlib

from reconciler.cli.output import note
from reconciler.cli.progress import Progress
from reconciler.core.diagnostics import printable
from reconciler.log.check import check
from reconciler.log.sqlite import open_reader
from reconciler.workspace import Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai verify`: none of its own."""
    parser.set_defaults()


def run(args: argparse.Namespace) -> int:
    """Print what is wrong, or how much was found right."""
    workspace = Workspace.find(args.workspace)
    with contextlib.closing(open_reader(workspace.database)) as log:
        size = log.size()
        with Progress("verifying", size) as progress:
            problems = check(log, checked=progress.add)
    for problem in problems:
        where = "" if problem.position is None else f"position {problem.position}: "
        print(printable(where + problem.message))
    if problems:
        note(f"error: {workspace.database} has been damaged or tampered with")
        note("hint: keep a copy for investigation, then restore the log from a backup")
        return 1
    print(f"ok: {size:,} events, hashes, positions, tree and state agree")
    return 0
