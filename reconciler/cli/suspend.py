"""Stop the reconciling: what is in force stays, whatever is pushed, until pai resume. The gateway goes on."""

from __future__ import annotations

import argparse

from reconciler.cli.output import note
from reconciler.cli.steering import reason_option, steer
from reconciler.operations.orders import Suspend


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai suspend`."""
    reason_option(parser)


def run(args: argparse.Namespace) -> int:
    """Suspend the reconciling."""
    told = steer(args, Suspend(args.message))
    print("the reconciling is suspended" + ("" if told.changed else " already"))
    note("what is pushed waits; pai resume goes on")
    return 0
