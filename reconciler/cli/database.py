"""The database that a log may be in, in place of a file: make its schema, move a log there or back.

pai database init postgresql://OWNER@HOST/DATABASE --node-role pai_node --node-password-file FILE
pai database move postgresql://pai_node@HOST/DATABASE
pai database move sqlite:data/log.db
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reconciler.cli.output import note
from reconciler.cli.place import find_workspace
from reconciler.cli.progress import Progress
from reconciler.core.errors import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words and options of `pai database`."""
    words = parser.add_subparsers(dest="word", required=True, metavar="init|move")
    init = words.add_parser("init", help="make the schema for a log, which stays as it is if it is there")
    init.add_argument("url", metavar="URL", help="postgresql://OWNER@HOST/DATABASE, of a user who may make a schema")
    init.add_argument("--node-role", default="", metavar="NAME", help="the user that pai serve connects as")
    init.add_argument("--node-password-file", type=Path, metavar="FILE", help="its password, if it is made now")
    move = words.add_parser("move", help="copy the workspace's log there, compare both, and close the one here")
    move.add_argument("to", metavar="URL", help="postgresql://USER@HOST/DATABASE with an empty schema, or sqlite:PATH")


def run(args: argparse.Namespace) -> int:
    """Make the schema, or move the log, and say what to do next."""
    return _init(args) if args.word == "init" else _move(args)


def _init(args: argparse.Namespace) -> int:
    from reconciler.log.open import prepare

    password = ""
    if args.node_password_file is not None:
        try:
            password = args.node_password_file.read_text().removesuffix("\n")
        except (OSError, ValueError) as error:
            raise UsageError(f"--node-password-file cannot be read: {error}", "name a file with one line") from error
    shown = prepare(args.url, args.node_role, password)
    print(f"schema ready in {shown}")
    note("next: set log.database to its URL with the node's user, then pai init, or pai database move URL")
    return 0


def _move(args: argparse.Namespace) -> int:
    from reconciler.operations.moving import move

    workspace = find_workspace(args.workspace)
    with Progress("moving") as progress:
        moved = move(workspace, args.to, progress.add)
    print(f"moved {moved.events:,} events to {moved.shown}, root {moved.root}")
    note(f'next: in pai.toml, under [log], database = "{moved.shown}"')
    return 0
