"""Remove models and agents by one commit, secrets from the store, and keys, which are then no longer taken.

The rest of each file stays byte for byte. A model that an agent still uses is refused, naming the agent's line. A key
is named by its id, or as it is (`pak_...`); with --agent all keys of an agent go. With -f the objects that a file holds
go.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from reconciler.cli.place import find_workspace
from reconciler.cli.targets import (
    AGENT,
    KEY,
    OBJECTS,
    Target,
    manifest_kind,
    name_of,
    objects_of,
    resource_name,
    targets_argument,
    targets_of,
)
from reconciler.core.errors import NotFound, UsageError
from reconciler.workspace import Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai delete`."""
    targets_argument(parser, "models, agents, secrets or keys")
    parser.add_argument("-f", "--filename", action="append", metavar="FILE|DIR|-", help="the objects that are in it")
    parser.add_argument("--agent", metavar="A", help="with `key`: all keys of this agent")


def run(args: argparse.Namespace) -> int:
    """Remove what is named; return when it is no longer in force."""
    workspace = find_workspace(args.workspace, strict=True)
    targets = _targets(workspace, args)
    manifests = [target for target in targets if target.kind in OBJECTS]
    if manifests:
        _by_commit(workspace, manifests)
    _directly(workspace, [target for target in targets if target.kind not in OBJECTS])
    return 0


def _targets(workspace: Workspace, args: argparse.Namespace) -> list[Target]:
    if args.filename is not None:
        if args.words or args.agent is not None:
            raise UsageError("-f names what to delete, so nothing else can", "leave out the names, or -f")
        from reconciler.cli.files import judged_given

        return [Target(*key) for key in judged_given(args.filename, "deleted")[1].objects]
    if args.agent is not None:
        if [target for target in targets_of(args.words, "delete") if target != Target(KEY, "")]:
            raise UsageError("--agent is for keys, all of an agent", "write pai delete key --agent A")
        return _keys_of(workspace, name_of(args.agent, AGENT))
    return [_named(workspace, target) for target in objects_of(args.words, "delete")]


def _keys_of(workspace: Workspace, agent: str) -> list[Target]:
    from reconciler.cli.reading import read_state

    found = [Target(KEY, key.name) for key in read_state(workspace).issued() if key.agent == agent and not key.admin]
    if not found:
        raise NotFound(f"agent {agent} has no keys", "pai get keys lists them")
    return found


def _named(workspace: Workspace, target: Target) -> Target:
    """Give what is meant: a key that is named as it is has an id."""
    from reconciler.core.keys import digest, looks_like_key

    if target.kind != KEY or not looks_like_key(target.name):
        return target
    from reconciler.cli.reading import read_state

    wanted = digest(target.name)
    found = next((key.name for key in read_state(workspace).issued() if key.digest == wanted), None)
    if found is None:
        raise NotFound("no such key is in force", "it may have been revoked already; pai get keys lists them")
    return Target(KEY, found)


def _by_commit(workspace: Workspace, targets: Sequence[Target]) -> None:
    from reconciler.authoring import Actions, Key, Proposal
    from reconciler.cli.change import commit_and_enforce, print_actions

    keys: list[Key] = [(manifest_kind(target.kind), target.name) for target in targets]

    def edit(proposal: Proposal) -> Actions:
        return [(key, proposal.remove(key)) for key in keys]

    def describe(_: Actions) -> str:
        if len(keys) == 1:
            return f"Delete {keys[0][0]} {keys[0][1]}"
        return f"Delete {len(keys)} objects\n\n" + "\n".join(resource_name(*key) for key in keys)

    print_actions(commit_and_enforce(workspace, edit, describe))


def _directly(workspace: Workspace, targets: Sequence[Target]) -> None:
    if not targets:
        return
    from reconciler.cli.actor import actor_of
    from reconciler.operations.orders import DeleteSecret, RevokeKey
    from reconciler.operations.session import session

    with session(workspace, actor_of(workspace)) as open_session:
        for kind, name in targets:
            open_session.call(RevokeKey(name) if kind == KEY else DeleteSecret(name))
            print(f"{kind}/{name} deleted")
