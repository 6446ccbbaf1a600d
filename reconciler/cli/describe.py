"""Everything about one model or agent: spec, conditions, usage, where it is defined, last changes."""

from __future__ import annotations

import argparse
from typing import Any

from reconciler.audit.in_force import InForce, Wanted
from reconciler.audit.lines import describe
from reconciler.audit.terms import EventRow
from reconciler.audit.versions import versions_of
from reconciler.cli.output import FORMATS, print_data
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import at_option, objects, open_reading
from reconciler.cli.targets import OBJECTS, Target, manifest_kind, objects_of, resource_name, targets_argument
from reconciler.core.diagnostics import printable
from reconciler.core.objects import Kind
from reconciler.core.steering import standing_orders
from reconciler.core.text import cut, value_text
from reconciler.workspace import Workspace

CHANGES_SHOWN = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai describe`."""
    targets_argument(parser, "models or agents")
    parser.add_argument("-o", "--output", choices=FORMATS, default="table")
    at_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print each object and its last changes."""
    workspace = find_workspace(args.workspace)
    targets = objects_of(args.words, "describe", OBJECTS)
    answer = objects(workspace, [Wanted(*target) for target in targets], args.at)
    items = {kind: iter(answer.of(kind)) for kind in OBJECTS}
    found: list[tuple[Target, Any]] = [(target, next(items[target.kind])) for target in targets]
    if args.output == "name":
        for target, _ in found:
            print(resource_name(*target))
        return 0
    whole: list[dict[str, object]] = []
    for number, (target, item) in enumerate(found):
        changes = _changes(workspace, manifest_kind(target.kind), target.name, answer.position)
        if args.output in ("table", "wide"):
            print("\n" * bool(number), end="")
            _print(item, changes, answer)
        else:
            whole.append({**item, "changes": changes})
    if whole:
        listing = {"apiVersion": "v1", "kind": "List", "items": whole}
        print_data(whole[0] if len(whole) == 1 else listing, args.output)
    return 0


def _changes(workspace: Workspace, kind: Kind, name: str, before: int) -> list[EventRow]:
    """Give the last events that changed the object, not those of the requests that name it."""
    with open_reading(workspace) as reading:
        return list(reading.search(versions_of(kind, name), CHANGES_SHOWN, before=before))


def _print(item: Any, changes: list[EventRow], answer: InForce) -> None:
    status = item["status"]
    _line("Name", item["metadata"]["name"])
    _line("Kind", item["kind"])
    for field in ("labels", "annotations"):
        for key, value in item["metadata"].get(field, {}).items():
            _line(field.capitalize(), f"{key}={value}")
    print("Spec:")
    _tree(item["spec"], "  ")
    if "usedTokensToday" in status:
        used = f"{status['usedTokensToday']:,} used, {status['reservedTokens']:,} reserved"
        left = f", {status['remainingTokens']:,} left" if "remainingTokens" in status else ""
        _line("Today", f"{used}{left}; resets {status['resetsAt']}")
    for condition in status["conditions"]:
        reason = f"{condition['reason']}: {condition['message']}" if condition["message"] else condition["reason"]
        _line(condition["type"], f"{condition['status']} ({reason})")
    _line("Defined", f"{status['source']['path']}:{status['source']['line']}")
    _line("Revision", status["revision"])
    for each in standing_orders(answer):
        _line("Note", each)
    print("Changes:")
    for row in changes:
        kind = row.type.removesuffix(".v1").partition(".")[2]
        print(
            printable(f"  {row.seq:>6}  {row.time[:19].replace('T', ' ')}  {kind:<8} {describe(row)}  {cut(row.actor)}")
        )


def _line(label: str, value: str) -> None:
    print(printable(f"{label + ':':<13}{value}"))


def _tree(value: Any, indent: str) -> None:
    for key, item in value.items():
        if isinstance(item, dict):
            print(printable(f"{indent}{key}:"))
            _tree(item, indent + "  ")
        elif isinstance(item, list) and all(not isinstance(each, dict | list) for each in item):
            print(printable(f"{indent}{key}: {', '.join(map(value_text, item))}"))
        else:
            print(printable(f"{indent}{key}: {value_text(item)}"))
