"""Commit manifests from a file, a folder or stdin (-f -), and return when they are in force.

An object that exists is edited where it is defined, changing only what differs; a new one goes to models/NAME.yaml or
agents/NAME.yaml. Prints one line an object: created, configured or unchanged.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reconciler.authoring import Actions, Document, Key, Proposal
from reconciler.cli.change import commit_and_enforce, print_actions, resource_name
from reconciler.cli.files import read_paths
from reconciler.cli.place import find_workspace
from reconciler.core.errors import Refused, UsageError
from reconciler.manifests import judge, read_manifests, rules


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai apply`."""
    parser.add_argument("-f", "--filename", required=True, action="append", metavar="FILE|DIR|-", help="what to apply")
    parser.add_argument("--dry-run", action="store_true", help="judge and print, commit nothing")
    parser.add_argument("-m", "--message", metavar="MSG", help="the commit's message")


def run(args: argparse.Namespace) -> int:
    """Apply everything as one commit."""
    workspace = find_workspace(args.workspace, strict=True)
    wanted = _wanted(args.filename)

    def edit(proposal: Proposal) -> Actions:
        return [(key, proposal.put(key, document)) for key, document in wanted.items()]

    def describe(actions: Actions) -> str:
        if args.message:
            return str(args.message)
        changed = [resource_name(*key) for key, action in actions if action != "unchanged"]
        return f"Apply {changed[0]}" if len(changed) == 1 else f"Apply {len(changed)} objects\n\n" + "\n".join(changed)

    print_actions(commit_and_enforce(workspace, edit, describe, dry_run=args.dry_run), dry_run=args.dry_run)
    return 0


def _wanted(names: list[str]) -> dict[Key, Document]:
    """Read and judge what is to be applied on its own, but for references, which the whole repository answers."""
    from reconciler.authoring import document_of

    files = read_paths([Path(name) for name in names if name != "-"])
    if "-" in names:
        files["stdin"] = read_manifests(sys.stdin.buffer.read())
    verdict = judge(files)
    errors = tuple(d for d in verdict.diagnostics if d.severity == "error" and d.rule != rules.NO_BINDING)
    if errors:
        raise Refused("these manifests are not valid, so nothing was committed", "correct the places above", errors)
    if not verdict.objects:
        raise UsageError(f"there are no manifests in {', '.join(names)}", "manifests end in .yaml or .yml")
    return {key: document_of(placed.manifest) for key, placed in verdict.objects.items()}
