"""Which workspace a command works in, and which folder it writes."""

from __future__ import annotations

from pathlib import Path

from reconciler.cli.output import note
from reconciler.workspace import Settings, Workspace, require_folder_name


def find_workspace(named: Path | None, *, strict: bool = False) -> Workspace:
    """Find the workspace, and warn of what its settings have that this version does not know.

    Whoever changes something is `strict` and fails instead: it may be a protection.

    Raises WorkspaceError, UsageError.
    """
    workspace = Workspace.find(named)
    if strict and workspace.settings.unknown:
        raise workspace.settings.unknown[0]
    warn(workspace.settings)
    return workspace


def warn(settings: Settings) -> None:
    """Say what was passed over."""
    for each in settings.unknown:
        note(f"warning: {each.message} ({each.hint})" if each.hint else f"warning: {each.message}")


def folder(text: str) -> Path:
    """Read the name of a folder that a command is to fill. Raises UsageError for an address."""
    return require_folder_name(Path(text))
