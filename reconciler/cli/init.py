"""Make a workspace: pai.toml, config.git with its hook, the log and the secret store. Safe to run twice.

The folder may hold other things; what is there already is kept, what is missing is added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reconciler.cli.output import note


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai init`."""
    parser.add_argument("dir", nargs="?", type=Path, metavar="DIR", help="where to make it (default: .)")


def run(args: argparse.Namespace) -> int:
    """Make or complete the workspace and say what to do next."""
    from reconciler.operations.install import install

    workspace = install(args.dir or args.workspace or Path())
    print(f"workspace ready in {workspace.root}")
    note(f"config repository: {workspace.repository or workspace.settings.shown['source.repo']}")
    if workspace.repository is None:
        note("next: pai add secret for source.secret, then pai reconcile, then pai serve")
    else:
        note("next: git clone it, add manifests, git push; or pai add model; then pai serve")
    return 0
