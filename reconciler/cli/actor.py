"""Who is at the keyboard, for changes that are no commits."""

from __future__ import annotations

from reconciler.operations.operation import A, Operation
from reconciler.operations.session import session
from reconciler.workspace import Workspace


def actor_of(workspace: Workspace) -> str:
    """Give the e-mail that git would put on a commit here, also while the config repository is away."""
    from reconciler.source.git import user_identity

    return user_identity(workspace.local_repository()).email


def order(workspace: Workspace, verb: Operation[A]) -> A:
    """Have a verb carried out as who is at the keyboard; return when what it says is in force."""
    with session(workspace, actor_of(workspace)) as open_session:
        return open_session.call(verb)
