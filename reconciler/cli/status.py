"""What is in force, and whether it can serve: one agent's models, or the whole workspace."""

from __future__ import annotations

import argparse

from reconciler.audit.in_force import InForce, Object, Wanted
from reconciler.cli.get import name_in
from reconciler.cli.output import FORMATS, print_data
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import at_option, objects
from reconciler.cli.targets import name_of, resource_name
from reconciler.core.budget import Account
from reconciler.core.diagnostics import printable
from reconciler.core.health import Health
from reconciler.core.objects import AgentSpec, BindingSpec
from reconciler.core.standing import Standing
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
    if args.agent is None:
        found = objects(workspace, [Wanted("model")], args.at)
        names = [name_in(model) for model in found.models]
    else:
        name = name_of(args.agent, "agent")
        found = objects(workspace, [Wanted("agent", name), Wanted("model", agent=name)], args.at)
        names = AgentSpec.of(found.agents[0]["spec"]).model_bindings
    whole = args.agent is None
    needed = args.exit_code or args.output in ("json", "yaml") or (whole and args.output != "name")
    health = _health(workspace, found, args.at) if needed else None
    _print(args.output, names, found, health, whole=whole)
    if health is None or not args.exit_code:
        return 0
    return 0 if health.ready and (whole or all(map(_is_ready, found.models))) else 1


def _print(output: str, names: list[str], found: InForce, health: Health | None, *, whole: bool) -> None:
    """Print models, and with `whole` how the workspace stands."""
    if output == "name":
        for name in names:
            print(resource_name("model", name))
        return
    if output in ("table", "wide"):
        if whole and health is not None:
            _print_health(health, found)
        print("Models:")
        models = {name_in(model): model for model in found.models}
        for name in names:
            print(printable(line(models[name]) if name in models else f"- {name} — not ready: no such binding"))
        return
    assert health is not None, "it was asked for"
    told = {
        "revision": health.revision or None,
        "head": health.head or None,
        "ready": health.ready,
        "reasons": health.reasons,
        **({"source": health.source} if health.source else {}),
        "models": found.models,
    }
    print_data(told, output)


def _is_ready(model: Object) -> bool:
    return all(condition["status"] == "True" for condition in model["status"]["conditions"])


def line(model: Object) -> str:
    """Give a binding's line of `pai status` (SPEC section 4.1)."""
    spec, status = BindingSpec.of(model["spec"]), model["status"]
    account = Account("", status["usedTokensToday"], status["reservedTokens"])
    stands = Standing(spec.max_tokens_per_day, account)
    figure = f"{account.used:,}" if stands.limit is None else f"{account.used:,} / {stands.limit:,}"
    told = f"- {name_in(model)} ({spec.provider} / {spec.model}) — {figure} tokens today"
    if account.reserved:
        told += f" (+{account.reserved:,} reserved)"
    if stands.exhausted:
        told += " — exhausted until 00:00 UTC"
    problem = status["conditions"][0]["message"]
    return told + (f" — not ready: {problem}" if problem else "")


def _health(workspace: Workspace, found: InForce, at: str | None) -> Health:
    if at is not None:
        # As far as the log tells: whether the source could be read then, nobody knows.
        orders = standing_orders(found)
        return judge_health(found.revision, found.head, "", "", source_read=True, head="", orders=orders)
    health = ask_daemon(workspace, AskHealth())
    if health is not None:
        return health
    from reconciler.operations.health import standalone_health

    return standalone_health(workspace, found)


def _print_health(health: Health, found: InForce) -> None:
    pinned = " (pinned)" if found.pin is not None and found.pin.commit == health.revision else ""
    print(f"Revision: {health.revision or 'none'}{pinned}")
    print(f"Head:     {health.head or 'none'}")
    if health.source is not None:
        fetched = health.source.fetched or "never"
        print(printable(f"Source:   {health.source.remote} (last fetched: {fetched})"))
    print(f"Ready:    {'yes' if health.ready else 'no'}")
    for reason in health.reasons:
        print(printable(f"- {reason}"))
