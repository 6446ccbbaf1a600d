"""What pin, unpin, suspend, resume and rollback share: giving the order, and saying what a pass made of it."""

from __future__ import annotations

import argparse

from reconciler.cli.actor import actor_of
from reconciler.cli.output import note, print_diagnostics
from reconciler.cli.progress import Progress
from reconciler.cli.reconcile import sentence
from reconciler.core.diagnostics import has_errors
from reconciler.operations.orders import Passed
from reconciler.operations.session import session
from reconciler.operations.verb import A, Verb
from reconciler.workspace import Workspace


def reason_option(parser: argparse.ArgumentParser) -> None:
    """Declare `-m REASON`."""
    parser.add_argument("-m", "--message", default="", metavar="REASON", help="why; it is recorded and shown")


def order(workspace: Workspace, verb: Verb[A]) -> A:
    """Give an order as who is at the keyboard; return when it is in force."""
    actor = actor_of(workspace)
    with Progress("reconciling"), session(workspace, actor) as open_session:
        return open_session.call(verb)


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
