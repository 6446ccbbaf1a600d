"""What is in force, and whether it can serve: one agent's models, or the whole workspace."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import msgspec

from reconciler.audit.views import View
from reconciler.cli.get import find, resource
from reconciler.cli.output import FORMATS, print_data
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import at_option, read_view
from reconciler.cli.targets import name_of
from reconciler.core.diagnostics import printable
from reconciler.core.health import Health
from reconciler.core.objects import AgentSpec
from reconciler.core.state import State
from reconciler.core.steering import standing_orders
from reconciler.operations.asking import ask_daemon
from reconciler.operations.health import judge_health
from reconciler.operations.orders import AskHealth
from reconciler.workspace import Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai status`."""
    parser.add_argument("agent", nargs="?", metavar="AGENT")
    parser.add_argument("-o", "--output", choices=FORMATS, default="table")
    parser.add_argument("--exit-code", action="store_true", help="exit 1 if it is not ready")
    at_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print the status of an agent's models, or of everything."""
    workspace = find_workspace(args.workspace)
    view = read_view(workspace, args.at)
    if args.agent is None:
        names = sorted(view.state.models)
    else:
        agent: Any = find(workspace, view, "agent", name_of(args.agent, "agent"))
        names = AgentSpec.of(agent["spec"]).model_bindings
    health = _health(workspace, view, args.at) if _needs_health(args) else None
    if health is not None and args.exit_code:
        ready = health.ready and all(_is_ready(view, name) for name in names if args.agent is not None)
    else:
        ready = True
    _print(args.output, view, names, health, whole=args.agent is None)
    return 0 if ready else 1


def _needs_health(args: argparse.Namespace) -> bool:
    return args.exit_code or args.output in ("json", "yaml") or (args.agent is None and args.output != "name")


def _is_ready(view: View, name: str) -> bool:
    item: Any = view.object("model", name)
    return all(condition["status"] == "True" for condition in item["status"]["conditions"])


def _print(output: str, view: View, names: Sequence[str], health: Health | None, *, whole: bool) -> None:
    """Print models, and with `whole` how the workspace stands."""
    if output == "name":
        for name in names:
            print(resource("model", name))
        return
    if output in ("table", "wide"):
        if whole and health is not None:
            _print_health(health, view.state)
        print("Models:")
        for name in names:
            print(printable(view.status_line(name)))
        return
    assert health is not None, "it was asked for"
    told = {
        "revision": health.revision or None,
        "head": health.head or None,
        "ready": health.ready,
        "reasons": health.reasons,
        **({"source": msgspec.to_builtins(health.source)} if health.source else {}),
        "models": [view.object("model", name) for name in names],
    }
    print_data(told, output)


def _health(workspace: Workspace, view: View, at: str | None) -> Health:
    if at is not None:
        return _health_then(view.state)
    health = ask_daemon(workspace, AskHealth())
    if health is not None:
        return health
    from reconciler.operations.health import standalone_health

    return standalone_health(workspace, view.state)


def _health_then(state: State) -> Health:
    """Say how things stood as far as the log tells: whether the source could be read then, nobody knows."""
    return judge_health(state.revision, state.head, "", "", source_read=True, head="", orders=standing_orders(state))


def _print_health(health: Health, state: State) -> None:
    pinned = " (pinned)" if state.pin is not None and state.pin.commit == health.revision else ""
    print(f"Revision: {health.revision or 'none'}{pinned}")
    print(f"Head:     {health.head or 'none'}")
    if health.source is not None:
        fetched = health.source.fetched or "never"
        print(printable(f"Source:   {health.source.remote} (last fetched: {fetched})"))
    print(f"Ready:    {'yes' if health.ready else 'no'}")
    for reason in health.reasons:
        print(printable(f"- {reason}"))
