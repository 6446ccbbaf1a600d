"""Bring the log up to the branch's tip once. With a running daemon, the daemon is asked to look now.

Exit code 1 if the tip is refused; its problems are printed, and the last accepted revision stays in force. Exit code 1
too while another revision is pinned or the reconciling suspended: commits then get their outcomes afterwards.
"""

from __future__ import annotations

import argparse

from reconciler.cli.actor import actor_of
from reconciler.cli.output import print_diagnostics
from reconciler.cli.place import find_workspace
from reconciler.cli.progress import Progress
from reconciler.core.diagnostics import has_errors
from reconciler.core.errors import Refused
from reconciler.core.pass_result import Result
from reconciler.operations.orders import Reconcile
from reconciler.operations.session import session


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai reconcile`."""
    parser.add_argument(
        "--accept-rewrite",
        nargs="?",
        const="",
        metavar="COMMIT",
        help="let the tip of a force-push come into force that source.rewrite = hold keeps out, if it is this commit; "
        "without one, the command that does so is shown",
    )


def run(args: argparse.Namespace) -> int:
    """Do one pass and say what came of it."""
    workspace = find_workspace(args.workspace, strict=True)
    actor = "" if args.accept_rewrite is None else actor_of(workspace)
    with Progress("reconciling"), session(workspace, actor) as open_session:
        result = open_session.call(Reconcile(args.accept_rewrite))
    print_diagnostics(result.diagnostics, to_stderr=has_errors(result.diagnostics))
    print(sentence(result))
    if result.waits and result.head != result.revision:
        raise Refused(f"commit {result.head[:7]} is not followed: {result.waits}", "its outcome comes afterwards")
    if result.held:
        problem = f"the branch was rewritten, from {result.held[:7]} to {result.head[:7]}, and source.rewrite is hold"
        if result.meant:
            problem = (
                f"the branch's tip is {result.head} now, and not {result.meant}: another force-push or commit came"
            )
        raise Refused(problem, f"look at the new history, then: pai reconcile --accept-rewrite {result.head}")
    if result.outcome == "rejected":
        raise Refused("the branch's tip is refused", "correct the places above and push again")
    return 0


def sentence(result: Result) -> str:
    """Say in one line what came of a pass."""
    if not result.head:
        return "the repository has no commit yet; nothing is in force"
    head, in_force = result.head[:7], result.revision[:7] or "nothing"
    if result.waits:
        return f"nothing reconciled; in force: {in_force}"
    if result.held:
        return f"revision {head} held; in force: {in_force}"
    if result.outcome == "rejected":
        return f"revision {head} rejected; in force: {in_force}"
    if result.counts is None:
        return f"revision {head} is in force; nothing to do"
    c = result.counts
    changes = f"{c.created} created, {c.changed} changed, {c.deleted} deleted"
    return f"revision {head} accepted: {changes}; {c.bindings} models, {c.agents} agents in force"
