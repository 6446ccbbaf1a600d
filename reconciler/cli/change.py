"""What the verbs that commit manifests share: make the commit, bring it into force, print one line an object."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from reconciler.authoring import Actions, Branch, Committed, Proposal, change
from reconciler.cli.output import note, print_diagnostics
from reconciler.cli.progress import Progress
from reconciler.cli.targets import resource_name
from reconciler.core.errors import CouldNotRun, Refused
from reconciler.core.pass_result import Result
from reconciler.log.past import accepted_state
from reconciler.log.replay import projected
from reconciler.manifests.facts import Facts
from reconciler.operations.orders import Reconcile, SendCommit
from reconciler.operations.session import Session, session
from reconciler.source.git import Repository
from reconciler.workspace import Workspace


def commit_and_enforce(
    workspace: Workspace,
    edit: Callable[[Proposal], Actions],
    describe: Callable[[Actions], str],
    *,
    dry_run: bool = False,
    given: Mapping[str, Facts] | None = None,
) -> Committed:
    """Commit what `edit` changes and return when it is in force. Raises Refused with diagnostics if it cannot be.

    With `given` what is wrong is told by its place in those files, from which the change was made.
    """
    with contextlib.ExitStack() as stack:
        with Progress("reconciling"):
            open_session = stack.enter_context(session(workspace))
            # First what is there already: a commit of an interrupted command, or a push that no daemon has seen.
            before = open_session.call(Reconcile())
            require_place(workspace, before, dry_run=dry_run)
        branch = branch_of(workspace, open_session)
        with contextlib.closing(workspace.log().reader()) as log:
            state = accepted_state(log, projected(log))
        with Progress("judging"):
            outcome = change(branch, state, edit, describe, dry_run=dry_run, given=given)
        if outcome.commit:
            enforce(open_session, branch.repository, outcome.commit)
    return outcome


def branch_of(workspace: Workspace, open_session: Session) -> Branch:
    """Give the source branch; a remote one is moved by whoever holds the log, with the credentials of the settings."""

    def send(commit: str, expected: str | None) -> bool:
        return open_session.call(SendCommit(commit, expected or "")).pushed

    settings, repository = workspace.settings, Repository.open(workspace.local_repository())
    return Branch(repository, settings.source_branch, settings.source_path, None if workspace.repository else send)


def require_place(workspace: Workspace, before: Result, *, dry_run: bool) -> None:
    """Refuse where a commit made here could not come into force."""
    if before.held:
        raise Refused(
            f"the branch was rewritten, from {before.held[:7]} to {before.head[:7]}, and source.rewrite is hold",
            f"pai reconcile --accept-rewrite {before.head} lets the new history come into force",
        )
    wanted = workspace.settings.source_require_signatures
    if wanted != "off" and not dry_run:
        raise Refused(
            f"source.require_signatures is {wanted}, and Pai does not sign commits",
            "commit with your own key, and push; pai apply --dry-run judges manifests without a commit",
        )


def enforce(open_session: Session, repository: Repository, commit: str) -> None:
    """Have the daemon (or this process) look at the repository; raise Refused unless the commit came into force.

    Raises CouldNotRun if that cannot be found out: the commit stands in any case.
    """
    try:
        result = open_session.call(Reconcile())
    except CouldNotRun as error:
        told = f"commit {commit[:7]} was made, but is not known to be in force: {error.message}"
        raise CouldNotRun(told, error.hint) from error
    if result.waits:
        raise Refused(f"commit {commit[:7]} was made, but is not in force: {result.waits}", "it gets its outcome then")
    if result.revision and repository.walk(result.revision, commit).relation in ("same", "forward", "merged"):
        print_diagnostics([d for d in result.diagnostics if d.severity == "warning"], to_stderr=True)
        return
    if result.head == commit:
        errors = tuple(d for d in result.diagnostics if d.severity == "error")
        raise Refused(f"commit {commit[:7]} was made, but is refused", "correct it with a further commit", errors)
    raise Refused(
        f"commit {commit[:7]} was made, but is not in force: the branch was moved to {result.head[:7]} meanwhile",
        "look at the branch with git log, and run the command again",
    )


def print_actions(outcome: Committed, *, dry_run: bool = False) -> None:
    """Print `modelbinding.pai.io/NAME created` a line, and the commit on stderr."""
    suffix = " (dry run)" if dry_run else ""
    for (kind, name), action in outcome.actions:
        print(f"{resource_name(kind, name)} {action}{suffix}")
    if outcome.commit:
        note(f"commit {outcome.commit[:7]} is in force")
