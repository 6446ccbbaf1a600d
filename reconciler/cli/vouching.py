"""Having a checkpoint that covers what is asked for: the newest one, or a new one from the daemon or the workspace."""

from __future__ import annotations

from reconciler.cli.output import note
from reconciler.workspace import Workspace


def sign(workspace: Workspace) -> None:
    """Have a checkpoint of the whole log signed. Raises what the verb raises, wherever it runs."""
    from reconciler.operations.orders import SignCheckpoint
    from reconciler.operations.session import session

    with session(workspace) as open_session:
        problem = open_session.call(SignCheckpoint()).problem
    if problem:
        note(f"warning: the checkpoint is signed, but not published yet: {problem}")
