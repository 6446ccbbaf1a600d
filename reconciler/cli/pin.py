"""Put an earlier revision in force and keep it there, whatever is pushed, until pai unpin.

The revision must have been in force before. It is read back from the log, so this works while git is away; it is in
force at once, survives restarts, and is recorded with who ordered it and why.
"""

from __future__ import annotations

import argparse

from reconciler.cli.actor import order
from reconciler.cli.output import note
from reconciler.cli.place import find_workspace
from reconciler.cli.progress import Progress
from reconciler.cli.steering import reason_option
from reconciler.operations.orders import Pin
from reconciler.workspace import Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai pin`."""
    parser.add_argument("revision", metavar="REVISION", help="a commit that was accepted; its beginning is enough")
    reason_option(parser)


def run(args: argparse.Namespace) -> int:
    """Pin the revision; return when it is in force."""
    pin(find_workspace(args.workspace, strict=True), args.revision, args.message)
    return 0


def pin(workspace: Workspace, revision: str, reason: str) -> None:
    """Pin a revision and say so."""
    with Progress("reconciling"):
        pinned = order(workspace, Pin(revision, reason))
    already = "" if pinned.changed else " already"
    print(f"revision {pinned.commit[:7]} is pinned{already} and in force")
    note("what is pushed waits; pai unpin follows the branch again")
