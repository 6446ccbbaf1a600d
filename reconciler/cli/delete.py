"""Remove a model or an agent by a commit, a secret from the store, or a key, which is then no longer taken.

The rest of the file stays byte for byte. A model that an agent still uses is refused, naming the agent's line.
"""

from __future__ import annotations

import argparse

from reconciler.cli.place import find_workspace
from reconciler.core.objects import Kind
from reconciler.workspace import Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai delete`."""
    parser.add_argument("kind", choices=("model", "agent", "secret", "key"), metavar="model|agent|secret|key")
    parser.add_argument("name", metavar="NAME")


def run(args: argparse.Namespace) -> int:
    """Remove one thing; return when it is no longer in force."""
    workspace = find_workspace(args.workspace, strict=True)
    if args.kind in _VERBS:
        return _directly(workspace, args.kind, args.name)
    from reconciler.authoring import Actions, Proposal
    from reconciler.cli.change import commit_and_enforce, print_actions

    kind: Kind = args.kind

    def edit(proposal: Proposal) -> Actions:
        return [((kind, args.name), proposal.remove((kind, args.name)))]

    print_actions(commit_and_enforce(workspace, edit, lambda _: f"Delete {kind} {args.name}"))
    return 0


_VERBS = {"secret": "secret.delete", "key": "key.revoke"}
"""What is no manifest, and the verb that removes it."""


def _directly(workspace: Workspace, kind: str, name: str) -> int:
    from reconciler.cli.actor import actor_of
    from reconciler.daemon.session import session

    actor = actor_of(workspace)
    with session(workspace) as open_session:
        open_session.call(_VERBS[kind], {"name": name, "actor": actor})
    print(f"{kind}/{name} deleted")
    return 0
