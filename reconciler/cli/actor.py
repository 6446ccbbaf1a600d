"""Who is at the keyboard, for changes that are no commits."""

from __future__ import annotations

from reconciler.workspace import Workspace


def actor_of(workspace: Workspace) -> str:
    """Give the e-mail that git would put on a commit here, also while the config repository is away."""
    from reconciler.source import user_identity

    return user_identity(workspace.local_repository()).email
