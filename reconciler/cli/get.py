"""List models, agents, secrets or keys as they are in force, or show some of them.

Of a secret only the names of its keys are shown, of a key neither the key nor its digest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.audit.in_force import InForce, Object, Wanted
from reconciler.cli.output import FORMATS, note, print_data, print_table
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import at_option, objects
from reconciler.cli.selecting import selector
from reconciler.cli.targets import KIND_OF, resource_name, targets_argument, targets_of
from reconciler.core.errors import UsageError
from reconciler.core.objects import AgentSpec, BindingSpec
from reconciler.core.steering import standing_orders
from reconciler.log.stamp import parse_time, wall_clock


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai get`."""
    targets_argument(parser, f"models, agents, secrets, keys, several with commas, or all; {', '.join(KIND_OF)}")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="with these labels: k=v, k!=v, k, !k, k in (a,b)")
    parser.add_argument("-o", "--output", choices=FORMATS, default="table")
    parser.add_argument("--no-headers", action="store_true", help="print no line of headers")
    at_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print lists, or objects."""
    targets = targets_of(args.words, "get")
    single = len(targets) == 1 and targets[0].name != ""
    if args.selector is not None and any(target.name for target in targets):
        raise UsageError("labels and names at once", "leave out -l, or the names")
    selected = selector(args.selector or "")
    workspace = find_workspace(args.workspace)
    answer = objects(workspace, [Wanted(*target) for target in targets], args.at)
    kinds = dict.fromkeys(kind for kind, _ in targets)
    found = {kind: [each for each in answer.of(kind) if selected(each)] for kind in kinds}
    if args.output in ("json", "yaml"):
        items = [each for listed in found.values() for each in listed]
        listing: Object = {"apiVersion": "v1", "kind": "List", "items": items}
        print_data(items[0] if single else listing, args.output)
    elif args.output == "name":
        for kind, listed in found.items():
            for each in listed:
                print(resource_name(kind, name_in(each)))
    else:
        _tables(answer, found, wide=args.output == "wide", headers=not args.no_headers)
    return 0


def _tables(answer: InForce, found: Mapping[str, list[Object]], *, wide: bool, headers: bool) -> None:
    """Print a table a kind; with several the name says of which kind a line is, as kubectl does."""
    filled = {kind: listed for kind, listed in found.items() if listed}
    if not filled:
        kinds = [f"{kind}s" for kind in found]
        several = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]
        note("no secrets are stored" if kinds == ["secrets"] else f"no {several} are in force")
        return
    if "model" in filled or "agent" in filled:
        for told in standing_orders(answer):
            note(f"note: {told}")
    for number, (kind, listed) in enumerate(filled.items()):
        titles, row = _COLUMNS[kind]
        rows = [row(each, wide) for each in listed]
        if len(found) > 1:
            rows = [[resource_name(kind, cells[0]), *cells[1:]] for cells in rows]
        if number:
            print()
        print_table(titles if wide else titles[: len(titles) - _WIDE[kind]], rows, headed=headers)


def name_in(item: Any) -> str:
    """Give an object's name."""
    return str(item["metadata"]["name"])


def _ready(item: Any) -> str:
    condition = item["status"]["conditions"][0]
    return "True" if condition["status"] == "True" else f"False ({condition['message']})"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"


def _model(item: Any, wide: bool) -> list[str]:
    spec, used = BindingSpec.of(item["spec"]), item["status"]["usedTokensToday"]
    cells = [name_in(item), spec.provider, spec.model, _number(used), _number(spec.max_tokens_per_day), _ready(item)]
    if wide:
        secret = spec.api_key_secret_ref
        named = f"{secret.name}:{secret.key}" if secret else "-"
        cells += [_number(spec.max_tokens_per_request), named, *_origin(item)]
    return cells


def _agent(item: Any, wide: bool) -> list[str]:
    cells = [name_in(item), ",".join(AgentSpec.of(item["spec"]).model_bindings), _ready(item)]
    return cells + _origin(item) if wide else cells


def _key(item: Any, wide: bool) -> list[str]:
    del wide
    expires = item["expires"] or "never"
    if item["expires"] and parse_time(expires) <= wall_clock():
        expires += " (expired)"
    return [name_in(item), item["agent"] + " (admin)" * ("admin" in item), expires, ",".join(item["networks"]) or "any"]


def _origin(item: Any) -> list[str]:
    status = item["status"]
    return [status["revision"][:7], f"{status['source']['path']}:{status['source']['line']}"]


_MODEL = ("NAME", "PROVIDER", "MODEL", "USED TODAY", "PER DAY", "READY", "PER REQUEST", "SECRET", "REVISION", "SOURCE")
_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[Any, bool], list[str]]]] = {
    "model": (_MODEL, _model),
    "agent": (("NAME", "MODELS", "READY", "REVISION", "SOURCE"), _agent),
    "secret": (("NAME", "KEYS"), lambda item, _: [name_in(item), ",".join(item["keys"])]),
    "key": (("NAME", "AGENT", "EXPIRES", "NETWORKS"), _key),
}
_WIDE = {"model": 4, "agent": 2, "secret": 0, "key": 0}
"""How many of the columns only `-o wide` shows."""
