"""Commit manifests from a file, a folder or stdin (-f -), and return when they are in force.

An object that exists is edited where it is defined, changing only what differs; a new one goes as it is given, with its
comments, to models/NAME.yaml or agents/NAME.yaml. What `pai get -o yaml` prints is taken, too. Prints one line an
object: created, configured or unchanged.
"""

from __future__ import annotations

import argparse

from reconciler.authoring import Actions, Proposal
from reconciler.cli.change import commit_and_enforce, print_actions
from reconciler.cli.files import judged_given
from reconciler.cli.place import find_workspace
from reconciler.cli.targets import resource_name


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai apply`."""
    parser.add_argument("-f", "--filename", required=True, action="append", metavar="FILE|DIR|-", help="what to apply")
    parser.add_argument("--dry-run", action="store_true", help="judge and print, commit nothing")
    parser.add_argument("-m", "--message", metavar="MSG", help="the commit's message")


def run(args: argparse.Namespace) -> int:
    """Apply everything as one commit."""
    workspace = find_workspace(args.workspace, strict=True)
    given, verdict = judged_given(args.filename, "committed")
    wanted = {key: given[path].documents[key] for key, (path, _) in verdict.objects.items()}

    def edit(proposal: Proposal) -> Actions:
        return [(key, proposal.put(key, document.value, document.text)) for key, document in wanted.items()]

    def describe(actions: Actions) -> str:
        if args.message:
            return str(args.message)
        changed = [resource_name(*key) for key, action in actions if action != "unchanged"]
        return f"Apply {changed[0]}" if len(changed) == 1 else f"Apply {len(changed)} objects\n\n" + "\n".join(changed)

    outcome = commit_and_enforce(
        workspace, edit, describe, dry_run=args.dry_run, given={path: each.facts for path, each in given.items()}
    )
    print_actions(outcome, dry_run=args.dry_run)
    return 0
