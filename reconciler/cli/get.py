"""List models, agents, secrets or keys as they are in force, or show some of them.

Of a secret only the names of its keys are shown, of a key neither the key nor its digest.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.audit.views import Object, View, not_found
from reconciler.cli.output import FORMATS, note, print_data, print_table
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import at_option, or_what_waits, read_view
from reconciler.cli.selecting import selector
from reconciler.cli.targets import KIND_OF, OBJECTS, manifest_kind, targets_argument, targets_of
from reconciler.core.errors import NotFound, UsageError
from reconciler.core.objects import MANIFEST_OF_KIND, AgentSpec, BindingSpec, Kind
from reconciler.core.steering import standing_orders
from reconciler.log.stamp import parse_time, wall_clock
from reconciler.workspace import Workspace


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
    view = read_view(workspace, args.at)
    found: dict[str, list[Object]] = {}
    for kind, name in targets:
        objects = [find(workspace, view, kind, name)] if name else _all(view, kind)
        found.setdefault(kind, []).extend(each for each in objects if selected(each))
    if args.output in ("json", "yaml"):
        items = [each for objects in found.values() for each in objects]
        listing: Object = {"apiVersion": "v1", "kind": "List", "items": items}
        print_data(items[0] if single else listing, args.output)
    elif args.output == "name":
        for kind, objects in found.items():
            for each in objects:
                print(resource(kind, _name(each)))
    else:
        _tables(view, found, wide=args.output == "wide", headers=not args.no_headers)
    return 0


def _tables(view: View, found: Mapping[str, list[Object]], *, wide: bool, headers: bool) -> None:
    """Print a table a kind; with several the name says of which kind a line is, as kubectl does."""
    filled = {kind: objects for kind, objects in found.items() if objects}
    if not filled:
        kinds = [f"{kind}s" for kind in found]
        several = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]
        note("no secrets are stored" if kinds == ["secrets"] else f"no {several} are in force")
        return
    if "model" in filled or "agent" in filled:
        for told in standing_orders(view.state):
            note(f"note: {told}")
    for number, (kind, objects) in enumerate(filled.items()):
        titles, row = _COLUMNS[kind]
        rows = [row(each, wide) for each in objects]
        if len(found) > 1:
            rows = [[resource(kind, cells[0]), *cells[1:]] for cells in rows]
        if number:
            print()
        print_table(titles if wide else titles[: len(titles) - _WIDE[kind]], rows, headed=headers)


def find(workspace: Workspace, view: View, kind: str, name: str) -> Object:
    """Give one object by kind and name. Raises NotFound with its history, if it had one, or the nearest name."""
    try:
        match kind:
            case "model" | "agent":
                return view.object(kind, name)
            case "secret":
                return view.secret(name)
            case _:
                return view.issued_key(name)
    except KeyError:
        if kind in OBJECTS and _was_there(workspace, manifest_kind(kind), name):
            hint = f"pai history {kind} {name} shows what it was"
            raise NotFound(f"{kind} {name} is not in force", hint) from None
        with or_what_waits(workspace):
            raise not_found(kind, name, [_name(each) for each in _all(view, kind)]) from None


def _was_there(workspace: Workspace, kind: Kind, name: str) -> bool:
    from reconciler.audit.versions import versions

    with contextlib.closing(workspace.log().reader()) as log:
        return next(iter(versions(log, kind, name)), None) is not None


def _all(view: View, kind: str) -> list[Object]:
    match kind:
        case "model" | "agent":
            return view.objects(kind)
        case "secret":
            return view.secrets()
        case _:
            return view.issued_keys()


def resource(kind: str, name: str) -> str:
    """Give an object's name as `-o name` prints it."""
    match kind:
        case "model" | "agent":
            return f"{MANIFEST_OF_KIND[kind].lower()}.pai.io/{name}"
        case _:
            return f"{kind}/{name}"


def _name(item: Any) -> str:
    return str(item["metadata"]["name"])


def _ready(item: Any) -> str:
    condition = item["status"]["conditions"][0]
    return "True" if condition["status"] == "True" else f"False ({condition['message']})"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"


def _model(item: Any, wide: bool) -> list[str]:
    spec, used = BindingSpec.of(item["spec"]), item["status"]["usedTokensToday"]
    cells = [_name(item), spec.provider, spec.model, _number(used), _number(spec.max_tokens_per_day), _ready(item)]
    if wide:
        secret = spec.api_key_secret_ref
        named = f"{secret.name}:{secret.key}" if secret else "-"
        cells += [_number(spec.max_tokens_per_request), named, *_origin(item)]
    return cells


def _agent(item: Any, wide: bool) -> list[str]:
    cells = [_name(item), ",".join(AgentSpec.of(item["spec"]).model_bindings), _ready(item)]
    return cells + _origin(item) if wide else cells


def _secret(item: Any, wide: bool) -> list[str]:
    del wide  # a secret has nothing more to show
    return [_name(item), ",".join(item["keys"])]


def _key(item: Any, wide: bool) -> list[str]:
    del wide
    expires = item["expires"] or "never"
    if item["expires"] and parse_time(expires) <= wall_clock():
        expires += " (expired)"
    return [_name(item), item["agent"] + " (admin)" * ("admin" in item), expires, ",".join(item["networks"]) or "any"]


def _origin(item: Any) -> list[str]:
    status = item["status"]
    return [status["revision"][:7], f"{status['source']['path']}:{status['source']['line']}"]


_MODEL_HEADERS = (
    "NAME",
    "PROVIDER",
    "MODEL",
    "USED TODAY",
    "PER DAY",
    "READY",
    "PER REQUEST",
    "SECRET",
    "REVISION",
    "SOURCE",
)
_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[Any, bool], list[str]]]] = {
    "model": (_MODEL_HEADERS, _model),
    "agent": (("NAME", "MODELS", "READY", "REVISION", "SOURCE"), _agent),
    "secret": (("NAME", "KEYS"), _secret),
    "key": (("NAME", "AGENT", "EXPIRES", "NETWORKS"), _key),
}
_WIDE = {"model": 4, "agent": 2, "secret": 0, "key": 0}
"""How many of the columns only `-o wide` shows."""
