"""What the log says of a push over HTTP: that it was admitted, before git moves the branch, or withdrawn after all.

Between the two no other push over HTTP is admitted. Git's report says what became of the push; without a report the
branch's tip does. A crash between the two leaves it admitted, as if git were still to move the branch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice

import pygit2

from reconciler.core import events as ev
from reconciler.core.errors import CouldNotRun, PaiError, Refused
from reconciler.core.state import State
from reconciler.operations.first_token import require_in_force
from reconciler.operations.pushers import Ended, Pushes
from reconciler.recorder import Recorder
from reconciler.source.git import Repository
from reconciler.workspace import Workspace

NO_COMMIT = "0" * 40
TURN_S = 30.0
"""How long a push over HTTP waits for another one to end."""
LATER_MAX = 500
"""Commits that others may have put on top of a push by the time that it is looked at."""

log = logging.getLogger("pai.push")


def admit(
    workspace: Workspace, recorder: Recorder, pushes: Pushes, number: str, updates: Sequence[tuple[str, str, str]]
) -> None:
    """Record a push that has a number, if it is to move the source branch.

    Raises Refused, also if its token is no longer in force, CouldNotRun, and what recording raises.
    """
    caller = pushes.caller(number)
    if caller is None:
        raise Refused("it does not come through this daemon", "unset PAI_PUSH, and push again")
    branch = workspace.settings.source_branch
    moves = [(old, new) for old, new, ref in updates if ref == f"refs/heads/{branch}"]
    if not moves:
        return recorder.read(lambda state: require_in_force(state, caller))
    # Of two pushes of one commit the one that moves the branch is recorded, and the other never.
    with pushes.let_in(number, moves, TURN_S) as free:
        if not free:
            raise CouldNotRun("another push takes too long", "push again")
        tip = Repository.open(workspace.local_repository()).tip(branch)
        if any(old != (tip or NO_COMMIT) for old, _ in moves):
            raise Refused(f"branch {branch} moved meanwhile", "fetch, and push again")
        drafts = [
            ev.Draft(caller.name, f"branch/{branch}", ev.PushAdmitted(from_=old, to=new, key=caller.key))
            for old, new in moves
        ]

        def decide(state: State) -> list[ev.Draft]:
            require_in_force(state, caller)
            return drafts

        recorder.record(decide)
    return None


def settle(workspace: Workspace, recorder: Recorder, pushes: Pushes, number: str, reported: bool | None = None) -> None:
    """End a push whose git has ended: withdraw it if git did not move the branch, and let the next one in. Never fails.

    `reported` is git's own word for that; without it the branch tells, which another may have moved to the same commit.
    """
    ended = pushes.close(number)
    if ended is None:
        return
    try:
        branch = workspace.settings.source_branch
        if ended.moves and not (_moved(workspace, branch, ended) if reported is None else reported):
            recorder.record(lambda state: _withdrawn(state, branch, ended))
    except (PaiError, pygit2.GitError, OSError) as error:
        log.warning("a push that git refused stays admitted on the log: %s", error)
    finally:
        pushes.end(number)


def _moved(workspace: Workspace, branch: str, ended: Ended) -> bool:
    """Tell whether the branch is where the push was to move it, or further."""
    repository = Repository.open(workspace.local_repository())
    tip = repository.tip(branch)
    later = set(islice(repository.first_parents(tip), LATER_MAX)) if tip else set()
    return any(new in later for _, new in ended.moves)


def _withdrawn(state: State, branch: str, ended: Ended) -> list[ev.Draft]:
    """Give the events that take back what is admitted still, and has had no outcome by another way."""
    admitted = {(push.pusher, push.old, push.new) for push in state.pushes}
    caller = ended.caller
    return [
        ev.Draft(caller.name, f"branch/{branch}", ev.PushWithdrawn(from_=old, to=new, key=caller.key))
        for old, new in ended.moves
        if (caller.name, old, new) in admitted
    ]
