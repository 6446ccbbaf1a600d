"""List models, agents, secrets or keys as they are in force, or show one of them.

Of a secret only the names of its keys are shown, of a key neither the key nor its digest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from reconciler.cli.output import FORMATS, note, print_json, print_table, print_yaml
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import at_option, read_view
from reconciler.core.objects import MANIFEST_OF_KIND
from reconciler.core.steering import standing_orders
from reconciler.log.stamp import parse_time, wall_clock
from reconciler.views import Object, View, not_found

KINDS = {
    "models": "model",
    "model": "model",
    "agents": "agent",
    "agent": "agent",
    "secrets": "secret",
    "secret": "secret",
    "keys": "key",
    "key": "key",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai get`."""
    parser.add_argument("kind", choices=tuple(KINDS), metavar="models|agents|secrets|keys")
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("-o", "--output", choices=FORMATS, default="table")
    at_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print a list, or one object."""
    view = read_view(find_workspace(args.workspace), args.at)
    kind = KINDS[args.kind]
    objects = _all(view, kind) if args.name is None else [find(view, kind, args.name)]
    if args.output in ("json", "yaml"):
        listing: Object = {"apiVersion": "v1", "kind": "List", "items": objects}
        (print_json if args.output == "json" else print_yaml)(objects[0] if args.name else listing)
    elif args.output == "name":
        for each in objects:
            print(resource(kind, _name(each)))
    else:
        headers, row = _COLUMNS[kind]
        wide = args.output == "wide"
        if not objects:
            note("no secrets are stored" if kind == "secret" else f"no {kind}s are in force")
            return 0
        if kind in ("model", "agent"):
            for told in standing_orders(view.state):
                note(f"note: {told}")
        print_table(headers if wide else headers[: len(headers) - _WIDE[kind]], [row(each, wide) for each in objects])
    return 0


def find(view: View, kind: str, name: str) -> Object:
    """Give one object by kind and name. Raises NotFound with the nearest name."""
    try:
        match kind:
            case "model" | "agent":
                return view.object(kind, name)
            case "secret":
                return view.secret(name)
            case _:
                return view.issued_key(name)
    except KeyError:
        raise not_found(kind, name, [_name(each) for each in _all(view, kind)]) from None


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
    spec, status = item["spec"], item["status"]
    limit = _number(spec.get("maxTokensPerDay"))
    cells = [_name(item), spec["provider"], spec["model"], _number(status["usedTokensToday"]), limit, _ready(item)]
    if wide:
        reference = spec.get("apiKeySecretRef", {})
        secret = f"{reference['name']}:{reference.get('key', 'token')}" if reference else "-"
        cells += [_number(spec.get("maxTokensPerRequest")), secret, *_origin(item)]
    return cells


def _agent(item: Any, wide: bool) -> list[str]:
    cells = [_name(item), ",".join(item["spec"]["modelBindings"]), _ready(item)]
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
