"""What Pai's commands are, or what one of them does: as `pai --help` and `pai COMMAND --help`."""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai help`."""
    parser.add_argument("command", nargs="?", metavar="COMMAND")


def run(args: argparse.Namespace) -> int:
    """Print the text."""
    from reconciler.cli.main import help_text, parser_for, require_verb

    if args.command is not None:
        require_verb(args.command)
    print(help_text() if args.command is None else parser_for(args.command).format_help(), end="")
    return 0
