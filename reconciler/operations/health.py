"""Readiness: can this workspace do its work, and if not wholly, why.

Ready means that the log is writable and that the source has been read once; with an unreachable source a workspace
stays ready while a last state is in force, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconciler.core.diagnostics import printable
from reconciler.core.errors import SourceUnavailable
from reconciler.core.health import Following, Health
from reconciler.core.state import Head
from reconciler.core.steering import SteeredState, standing_orders
from reconciler.evidence.guard import ROLLBACK, examine
from reconciler.evidence.published import key_of
from reconciler.workspace import Workspace

WAITS = "no daemon runs"
"""How the reason begins that a commit waits for somebody to look."""


def judge_health(
    revision: str,
    judged: Head | None,
    log_problem: str,
    source_problem: str,
    *,
    source_read: bool,
    head: str,
    in_force: bool = False,
    fault: str = "",
    orders: Sequence[str] = (),
    held: str = "",
) -> Health:
    """Put together what the log, the source and the state say; problems are "" where there is none.

    `judged` is the last commit that was given an outcome, `in_force` whether there was one when this began; `head` is
    the branch's tip if it is known, else "". `fault` is anything else that keeps the work from being done, `orders`
    what an operator ordered of the reconciling, `held` the commit that `head` took the place of by a force-push that is
    held.
    """
    reasons = [fault] if fault else []
    if log_problem.startswith(ROLLBACK):
        reasons.append(log_problem)
    elif log_problem:
        reasons.append(f"the log is not writable: {log_problem.removeprefix('the log is not writable: ')}")
    if source_problem:
        reasons.append(f"the source cannot be read: {source_problem}")
    elif not source_read and not fault:
        reasons.append("the source has not been read yet")
    reasons += orders
    if judged is not None and judged.outcome == "rejected":
        problems = f"{judged.problems} problem{'s' * (judged.problems != 1)}"
        stays = "" if orders else ", the last accepted one in force"
        reasons.append(f"commit {judged.commit[:7]} is refused ({problems}){stays}: pai reconcile")
    if held:
        reasons.append(
            f"the branch was rewritten, from {held[:7]} to {head[:7]}, and source.rewrite = hold keeps the last state "
            f"in force: pai reconcile --accept-rewrite {head}"
        )
    tip = head or (judged.commit if judged else "")
    return Health(not log_problem and not fault and (source_read or in_force), reasons, revision, tip)


def in_words(health: Health) -> str:
    """Say in one line whether a workspace is ready, and if not, why."""
    return "ready" if health.ready else f"not ready: {printable('; '.join(health.reasons))}"


def unreachable(following: Following | None) -> str:
    """Say what keeps a remote from being fetched, since when, and what is known; "" if nothing does."""
    if following is None or not following.problem:
        return ""
    last = f"last good fetch {following.fetched}" if following.fetched else "never fetched"
    since = f"since {following.since}, " if following.since else ""
    then = f", next try {following.next}" if following.next else ""
    return f"{following.problem} ({since}{last}{then})"


def standalone_health(workspace: Workspace, state: SteeredState) -> Health:
    """Say how things stand when no daemon runs: from the log, what was vouched for, and the branch's tip."""
    from reconciler.source.git import Repository
    from reconciler.source.mirror import last_seen

    head = problem = held = ""
    following = None
    if workspace.repository is None:
        seen = last_seen(workspace.mirror)
        following = Following(workspace.settings.shown["source.repo"], "", "", seen.fetched if seen else "", "")
    branch = workspace.settings.source_branch
    try:
        if following is not None and not following.fetched:
            raise SourceUnavailable("the remote has never been fetched: pai reconcile, or pai serve")
        repository = Repository.open(workspace.local_repository())
        head = repository.tip(branch) or ""
        known_head = state.head.commit if state.head else None
        if workspace.settings.source_rewrite == "hold" and head and known_head:
            held = known_head if repository.walk(head, known_head).relation == "rewritten" else ""
        if not head and (state.head is not None or repository.missing(branch)):
            problem = f"branch {branch} does not exist"
    except SourceUnavailable as error:
        problem = error.message
    judged, known, orders = state.head, state.head is not None, standing_orders(state)
    finding = examine(workspace, key_of(workspace))
    rollback = finding.rollback
    health = judge_health(
        state.revision, judged, rollback, problem, source_read=not problem, head=head, in_force=known, orders=orders,
        held=held,
    )  # fmt: skip
    ready, reasons = health.ready, [*health.reasons, *filter(None, [finding.warning])]
    if not problem and not orders and not held and head != (judged.commit if judged else ""):
        reasons = [f"{WAITS}, and commit {head[:7]} is not reconciled yet: pai reconcile, or pai serve", *reasons]
        ready = known and not rollback
    return msgspec.structs.replace(health, source=following, ready=ready, reasons=reasons)
