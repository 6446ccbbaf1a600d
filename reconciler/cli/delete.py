"""Remove a model or an agent by a commit, or a secret from the store.

The rest of the file stays byte for byte. A model that an agent still uses is refused, naming the agent's line.
"""

from __future__ import annotations

import argparse

from reconciler.core.objects import Kind
from reconciler.workspace import Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai delete`."""
    parser.add_argument("kind", choices=("model", "agent", "secret"), metavar="model|agent|secret")
    parser.add_argument("name", metavar="NAME")


def run(args: argparse.Namespace) -> int:
    """Remove one thing; return when it is no longer in force."""
    workspace = Workspace.find(args.workspace)
    if args.kind == "secret":
        return _secret(workspace, args.name)
    from reconciler.authoring import Actions, Proposal
    from reconciler.cli.change import commit_and_enforce, print_actions

    kind: Kind = args.kind

    def edit(proposal: Proposal) -> Actions:
        return [((kind, args.name), proposal.remove((kind, args.name)))]

    print_actions(commit_and_enforce(workspace, edit, lambda _: f"Delete {kind} {args.name}"))
    return 0


def _secret(workspace: Workspace, name: str) -> int:
    from reconciler.daemon.session import session
    from reconciler.source import Repository

    actor = Repository.open(workspace.local_repository()).identity().email
    with session(workspace) as open_session:
        open_session.call("secret.delete", {"name": name, "actor": actor})
    print(f"secret/{name} deleted")
    return 0
