"""Commit manifests from a file, a folder or stdin (-f -), and return when they are in force.

An object that exists is edited where it is defined, changing only what differs; a new one goes as it is given, with its
comments, to models/NAME.yaml or agents/NAME.yaml. What `pai get -o yaml` prints is taken, too. Prints one line an
object: created, configured or unchanged.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from reconciler.authoring import Actions, Key, Proposal
from reconciler.cli.change import commit_and_enforce, print_actions, resource_name
from reconciler.cli.files import read_given_paths
from reconciler.cli.place import find_workspace
from reconciler.core.errors import Refused, UsageError
from reconciler.manifests import rules
from reconciler.manifests.given import Given, GivenDocument
from reconciler.manifests.judging import judge


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai apply`."""
    parser.add_argument("-f", "--filename", required=True, action="append", metavar="FILE|DIR|-", help="what to apply")
    parser.add_argument("--dry-run", action="store_true", help="judge and print, commit nothing")
    parser.add_argument("-m", "--message", metavar="MSG", help="the commit's message")


def run(args: argparse.Namespace) -> int:
    """Apply everything as one commit."""
    workspace = find_workspace(args.workspace, strict=True)
    given = read_given_paths([Path(name) for name in args.filename])
    wanted = _wanted(given, args.filename)

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


def _wanted(given: Mapping[str, Given], names: list[str]) -> dict[Key, GivenDocument]:
    """Judge what is to be applied on its own, but for references, which the whole repository answers."""
    verdict = judge({path: each.facts for path, each in given.items()})
    errors = tuple(d for d in verdict.diagnostics if d.severity == "error" and d.rule != rules.NO_BINDING)
    if errors:
        raise Refused("these manifests are not valid, so nothing was committed", "correct the places above", errors)
    if not verdict.objects:
        hint = "nothing came on stdin" if names == ["-"] else "manifests end in .yaml or .yml, and are not empty"
        raise UsageError(f"there are no manifests in {', '.join(names)}", hint)
    return {key: given[path].documents[key] for key, (path, _) in verdict.objects.items()}
