"""Put the manifests of an earlier revision back by one commit on the branch, judged before, and in force on return.

Where Pai cannot commit (the repository is away, is not writable, is a remote one without source.push, or wants signed
commits) the revision is pinned instead, which is in force just as well until pai unpin. The revision must have been in
force before.
"""

from __future__ import annotations

import argparse
import contextlib

from reconciler.audit.moments import acceptance
from reconciler.audit.terms import EventRow
from reconciler.authoring import roll_back
from reconciler.cli.change import branch_of, enforce, require_place
from reconciler.cli.output import note
from reconciler.cli.pin import pin
from reconciler.cli.place import find_workspace
from reconciler.cli.progress import Progress
from reconciler.cli.steering import reason_option
from reconciler.core.errors import Refused, SourceUnavailable
from reconciler.core.steering import standing_orders
from reconciler.log.replay import projected
from reconciler.operations.orders import Reconcile
from reconciler.operations.session import session
from reconciler.workspace import Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai rollback`."""
    parser.add_argument("revision", metavar="REVISION", help="a commit that was accepted; its beginning is enough")
    parser.add_argument(
        "--allow-deletions", action="store_true", help="also if more than half of the objects go; the commit says so"
    )
    reason_option(parser)


def run(args: argparse.Namespace) -> int:
    """Roll back; return when the revision's manifests are in force."""
    workspace = find_workspace(args.workspace, strict=True)
    with contextlib.closing(workspace.log().reader()) as log:
        row = acceptance(log, args.revision)
    commit = str(row.data["commit"])
    try:
        made = _committed(workspace, row, args.message, allow_deletions=args.allow_deletions)
    except SourceUnavailable as error:
        note(f"no commit can be made, so the revision is pinned: {error.message}")
        pin(workspace, commit, args.message)
        return 0
    if made:
        print(f"commit {made[:7]} puts revision {commit[:7]} back")
        note(f"commit {made[:7]} is in force")
    else:
        print(f"the branch has the manifests of revision {commit[:7]} already")
    return 0


def _committed(workspace: Workspace, row: EventRow, reason: str, *, allow_deletions: bool) -> str:
    """Make the commit and have it enforced; "" if nothing differs. Raises SourceUnavailable where that cannot be."""
    with Progress("rolling back"), session(workspace) as open_session:
        # First what is there already, so that the commit is judged as the successor of what it follows.
        before = open_session.call(Reconcile())
        with contextlib.closing(workspace.log().reader()) as log:
            state = projected(log)
        if orders := standing_orders(state):
            told = f"a commit would not come into force now: {'; '.join(orders)}"
            raise Refused(told, f"or pin it: pai pin {str(row.data['commit'])[:12]}")
        try:
            require_place(workspace, before, dry_run=False)
        except Refused as refusal:  # a commit of Pai's would not come into force; a pin does
            raise SourceUnavailable(refusal.message, refusal.hint) from refusal
        if workspace.repository is None and not workspace.settings.source_push:
            told = "source.repo is a remote, and source.push does not let Pai push there"
            raise SourceUnavailable(told, "set source.push = true, or push the commit yourself")
        branch = branch_of(workspace, open_session)
        made = roll_back(branch, state, row.data, reason, allow_deletions)
        if made:
            enforce(open_session, branch.repository, made)
    return made
