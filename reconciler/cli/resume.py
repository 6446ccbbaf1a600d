"""Let the reconciling go on after pai suspend: the commits that came meanwhile get their outcomes."""

from __future__ import annotations

import argparse

from reconciler.cli.steering import print_pass, reason_option, steer
from reconciler.operations.orders import Resume


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai resume`."""
    reason_option(parser)


def run(args: argparse.Namespace) -> int:
    """Resume the reconciling; return when what waited is in force."""
    passed = steer(args, Resume(args.message))
    print("the reconciling goes on")
    print_pass(passed)
    return 0
