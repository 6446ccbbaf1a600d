"""Follow the branch again after pai pin: the commits that came meanwhile get their outcomes, the tip comes into force.

Where the branch has nothing new, or cannot be read now, the last accepted revision is in force again.
"""

from __future__ import annotations

import argparse

from reconciler.cli.steering import print_pass, reason_option, steer
from reconciler.operations.orders import Unpin


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai unpin`."""
    reason_option(parser)


def run(args: argparse.Namespace) -> int:
    """Undo the pin; return when what follows from it is in force."""
    unpinned = steer(args, Unpin(args.message))
    print(f"revision {unpinned.commit[:7]} is no longer pinned")
    print_pass(unpinned)
    return 0
