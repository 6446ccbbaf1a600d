"""What pin, unpin, suspend, resume and rollback share: giving the order, and saying what a pass made of it."""

from __future__ import annotations

import argparse

import msgspec

from reconciler.cli.actor import actor_of
from reconciler.cli.output import note, print_diagnostics
from reconciler.cli.progress import Progress
from reconciler.cli.reconcile import sentence
from reconciler.core.diagnostics import has_errors
from reconciler.core.pass_result import Result
from reconciler.operations.session import Answer, session
from reconciler.workspace import Workspace


def reason_option(parser: argparse.ArgumentParser) -> None:
    """Declare `-m REASON`."""
    parser.add_argument("-m", "--message", default="", metavar="REASON", help="why; it is recorded and shown")


def order(workspace: Workspace, verb: str, reason: str, **arguments: object) -> Answer:
    """Give an order as who is at the keyboard; return when it is in force."""
    words = {"actor": actor_of(workspace), "reason": reason, **arguments}
    with Progress("reconciling"), session(workspace) as open_session:
        return open_session.call(verb, words)


def print_pass(answer: Answer) -> None:
    """Say what the pass found that followed an order, and what it could not do."""
    if answer["problem"]:
        note(f"warning: the source cannot be read, so what it holds waits: {answer['problem']}")
        return
    result = msgspec.convert(answer["result"], Result)
    print_diagnostics(result.diagnostics, to_stderr=has_errors(result.diagnostics))
    print(sentence(result))
    if result.waits:
        note(f"warning: {result.waits}")
    elif result.outcome == "rejected":
        note("warning: the branch's tip is refused; the last accepted revision stays in force")
