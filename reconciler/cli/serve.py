"""Run the daemon: it watches the config repository, brings every push into force and answers on the admin listener.

SIGTERM or SIGINT ends it in order, with exit code 0. A second daemon in the same workspace is refused.
"""

from __future__ import annotations

import argparse

from reconciler.cli.output import note
from reconciler.cli.place import find_workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai serve`: none of its own."""
    parser.set_defaults()


def run(args: argparse.Namespace) -> int:
    """Run the daemon until a signal ends it."""
    from reconciler.daemon.serve import serve

    serve(find_workspace(args.workspace, strict=True), note)
    return 0
