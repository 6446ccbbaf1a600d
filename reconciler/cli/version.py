"""The version of this command, and of the daemon that runs the workspace, if one does."""

from __future__ import annotations

import argparse

from reconciler import __version__
from reconciler.cli.output import note, print_data
from reconciler.cli.place import find_workspace
from reconciler.core.errors import PaiError, WorkspaceError
from reconciler.operations.asking import ask_daemon
from reconciler.operations.orders import Ping


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai version`."""
    parser.add_argument("--client", action="store_true", help="the command's only")
    parser.add_argument("-o", "--output", choices=("table", "wide", "json", "yaml"), default="table")


def run(args: argparse.Namespace) -> int:
    """Print the versions."""
    daemon = None if args.client else _of_daemon(args)
    if args.output in ("json", "yaml"):
        print_data({"command": __version__, **({} if daemon is None else {"daemon": daemon})}, args.output)
        return 0
    print(f"pai {__version__}")
    if daemon is not None:
        print(f"daemon {daemon}")
        if daemon != __version__:
            note("warning: the daemon is of another version (restart it)")
    return 0


def _of_daemon(args: argparse.Namespace) -> str | None:
    """Ask the daemon; None if there is none, or no workspace."""
    try:
        workspace = find_workspace(args.workspace)
    except WorkspaceError:
        if args.workspace is not None:
            raise
        return None
    try:
        answer = ask_daemon(workspace, Ping())
    except PaiError as error:
        note(f"warning: {error.message} ({error.hint})")
        return None
    return None if answer is None else answer.version
