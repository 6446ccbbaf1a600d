"""Settings that the hook must share with the daemon, and cannot while they are in the daemon's environment only.

The hook runs in the environment of whoever pushes, which must not choose what is judged, so it reads `pai.toml` alone.
While a daemon answers, it asks that one, and its settings count; without a daemon, `pai.toml` does.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.errors import WorkspaceError
from reconciler.workspace import OF_THE_HOOK, Workspace


def hidden_from_the_hook(workspace: Workspace) -> Iterator[str]:
    """Say, a line each, what the hook will not know when no daemon runs; a remote source has no hook of ours."""
    if workspace.repository is None:
        return
    try:
        kept = Workspace.open(workspace.root, {}, OF_THE_HOOK).settings.shown
    except WorkspaceError as error:
        yield f"without this environment the hook refuses every push while no daemon runs: {error.message}"
        return
    for name in OF_THE_HOOK:
        here, there = workspace.settings.shown[name], kept[name]
        if there != here:
            yield (
                f"{name} is {here or 'empty'} by the environment and {there or 'empty'} in pai.toml, which the hook "
                "goes by while no daemon runs: write it into pai.toml"
            )
