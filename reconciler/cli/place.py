"""Which workspace a command works in, and which folder it writes."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from reconciler.cli.output import note
from reconciler.core.errors import UsageError
from reconciler.workspace import Workspace, require_owner
from reconciler.workspace.paths import nearest, require_folder_name
from reconciler.workspace.settings import Settings
from reconciler.workspace.variables import unknown_variables


def find_workspace(named: Path | None, *, strict: bool = False) -> Workspace:
    """Find the workspace, and warn of what its settings have that this version does not know.

    Whoever changes something is `strict` and fails instead: it may be a protection. It has to be the folder's owner.

    Raises WorkspaceError, UsageError, Refused.
    """
    if strict and named is None and (here := nearest(Path.cwd())) is not None:
        require_owner(here, typed())  # the line to type first: naming another user's workspace would not help
    workspace = Workspace.find(named)
    if strict:
        require_owner(workspace.root, typed())
    if strict and workspace.settings.unknown:
        raise workspace.settings.unknown[0]
    warn(workspace.settings)
    return workspace


def typed() -> str:
    """Give the words of this command, to be typed again; those of a secret's value are left out."""
    words = sys.argv[1:]
    return "add secret ..." if any(word.startswith("--from-literal") for word in words) else shlex.join(words)


def warn(settings: Settings) -> None:
    """Say what was passed over."""
    for each in settings.unknown:
        note(f"warning: {each.message} ({each.hint})" if each.hint else f"warning: {each.message}")


def folder(text: str) -> Path:
    """Read the name of a folder that a command is to fill. Raises UsageError for an address."""
    return require_folder_name(Path(text))


def warn_of_variables() -> None:
    """Say which variables look like settings of ours and are none."""
    for line in unknown_variables(os.environ):
        note(f"warning: {line}")


def workspace_option(parser: argparse.ArgumentParser, dest: str = "workspace") -> None:
    """Declare `-w`, `--workspace DIR`."""
    text = "the workspace to use"
    parser.add_argument("-w", "--workspace", dest=dest, type=Path, action=_Once, metavar="DIR", help=text)


class _Once(argparse.Action):
    """Takes the workspace, which may be named again but not another one."""

    def __call__(self, _parser: object, args: argparse.Namespace, value: Any, _option: str | None = None) -> None:
        known = getattr(args, self.dest, None)
        if known is not None and os.path.realpath(known) != os.path.realpath(value):
            raise UsageError(f"two workspaces are named, {known} and {value}", "give --workspace once")
        setattr(args, self.dest, value)
