"""Drop the beginning of the log, once it is exported to a folder of its own and verified there.

WHEN is a time, a date (its beginning, UTC), 90d (ago) or #SEQ: what is older goes, in whole tiles of 256 events. What
is in force stays, with the events that it stands on; so do the hashes of all that goes, and every proof of what stays.
The export is the only copy then: keep it. `pai verify --with DIR` verifies log and exports together. An event
(log.pruned.v1) says who dropped what, and where it is. No daemon may run meanwhile; if it is interrupted, run it again.
"""

from __future__ import annotations

import argparse
import contextlib
from datetime import UTC, datetime

from reconciler.cli.actor import actor_of
from reconciler.cli.output import note
from reconciler.cli.place import find_workspace, folder
from reconciler.cli.progress import Progress


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai prune`."""
    parser.add_argument("--before", required=True, metavar="WHEN", help="a time, a date, 90d (ago) or #SEQ")
    parser.add_argument("--export", required=True, type=folder, metavar="DIR", help="a new or an empty folder")


def run(args: argparse.Namespace) -> int:
    """Prune, and say what is where now."""
    from reconciler.operations.pruning import find_cut, prune

    workspace, now = find_workspace(args.workspace, strict=True), datetime.now(UTC)
    with contextlib.closing(workspace.log().reader()) as log:
        count = find_cut(log, args.before, now) - log.first()
    with Progress("exporting", max(0, count)) as progress:
        done = prune(workspace, args.before, args.export, actor_of(workspace), now, progress.add)
    if done.warning:
        note(f"warning: the checkpoint is signed, but not published yet: {done.warning}")
    print(f"pruned: events #{done.begin} to #{done.first - 1} are in {args.export} alone, verified there")
    print(f"the log begins at #{done.first}; {done.kept:,} events from before stay, as what is in force stands on them")
    return 0
