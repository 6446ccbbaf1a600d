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
    told = "init: make the schema for a log; move: copy the workspace's log there, compare both, close the one here"
    parser.add_argument("word", choices=("init", "move"), help=told)
    parser.add_argument("url", metavar="URL", help="postgresql://USER@HOST/DATABASE, to init of its owner; sqlite:PATH")
    parser.add_argument("--node-role", default="", metavar="NAME", help="init: the user that pai serve connects as")
    parser.add_argument("--node-password-file", type=Path, metavar="FILE", help="init: its password, if made now")


def run(args: argparse.Namespace) -> int:
    """Make the schema, or move the log, and say what to do next."""
    if args.word == "init":
        return _init(args)
    if args.node_role or args.node_password_file:
        raise UsageError("--node-role and --node-password-file are for pai database init", "see pai database --help")
    return _move(args)


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

    workspace = find_workspace(args.workspace, strict=True)
    with Progress("moving") as progress:
        moved = move(workspace, args.url, progress.add)
    print(f"moved {moved.events:,} events to {moved.shown}, root {moved.root}")
    note(f'next: in pai.toml, under [log], database = "{moved.shown}"')
    return 0
