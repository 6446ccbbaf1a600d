"""What pin, unpin, suspend, resume and rollback share: the reason, and saying what a pass made of the order."""

from __future__ import annotations

import argparse

from reconciler.cli.actor import order
from reconciler.cli.output import note, print_diagnostics
from reconciler.cli.place import find_workspace
from reconciler.cli.progress import Progress
from reconciler.cli.reconcile import sentence
from reconciler.core.diagnostics import has_errors
from reconciler.operations.operation import A, Operation
from reconciler.operations.orders import Passed


def reason_option(parser: argparse.ArgumentParser) -> None:
    """Declare `-m REASON`."""
    parser.add_argument("-m", "--message", default="", metavar="REASON", help="why; it is recorded and shown")


def steer(args: argparse.Namespace, verb: Operation[A]) -> A:
    """Have an order carried out in the workspace that is named; return when what it says is in force."""
    with Progress("reconciling"):
        return order(find_workspace(args.workspace, strict=True), verb)


def print_pass(passed: Passed) -> None:
    """Say what the pass found that followed an order, and what it could not do."""
    result = passed.result
    if result is None:
        note(f"warning: the source cannot be read, so what it holds waits: {passed.problem}")
        return
    print_diagnostics(result.diagnostics, to_stderr=has_errors(result.diagnostics))
    print(sentence(result))
    if result.waits:
        note(f"warning: {result.waits}")
    elif result.outcome == "rejected":
        note("warning: the branch's tip is refused; the last accepted revision stays in force")
