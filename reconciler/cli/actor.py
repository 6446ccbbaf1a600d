"""Who is at the keyboard, for changes that are no commits."""

from __future__ import annotations

from reconciler.workspace import Workspace


def actor_of(workspace: Workspace) -> str:
    """Give the e-mail that git would put on a commit here."""
    from reconciler.source import Repository

    return Repository.open(workspace.local_repository()).identity().email
