"""What a kind, or a field of it, is for: the words of its schema. Such as `pai explain model.spec.maxTokensPerDay`."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.cli.targets import KIND_OF, OBJECTS, manifest_kind
from reconciler.core.errors import NotFound, UsageError
from reconciler.core.objects import API_VERSION, MANIFEST_OF_KIND
from reconciler.core.text import nearest

WIDTH = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai explain`."""
    parser.add_argument("what", metavar="TYPE[.FIELD ...]", help="such as model, agent.spec or model.spec.model")
    parser.add_argument("--recursive", action="store_true", help="the fields of the fields, too")


def run(args: argparse.Namespace) -> int:
    """Print what the schema says."""
    from reconciler.manifests.schema import schema_of

    word, *path = _parts(args.what)
    kind = KIND_OF.get(word.lower())
    if kind not in OBJECTS:
        raise UsageError(f"there is no TYPE {word!r} with a schema", f"TYPE is one of {', '.join(OBJECTS)}")
    manifest = manifest_kind(kind)
    schema = schema_of(manifest)
    node: Any = schema
    for depth, name in enumerate(path):
        fields = _fields(schema, node)
        if name not in fields:
            near = nearest(name, fields)
            hint = f"did you mean {near}?" if near else f"it has {', '.join(fields) or 'no fields of its own'}"
            raise NotFound(f"{'.'.join([word, *path[:depth]])} has no field {name}", hint)
        node = _resolved(schema, fields[name])
    print(f"KIND:     {MANIFEST_OF_KIND[manifest]}\nVERSION:  {API_VERSION}\n")
    if path:
        print(f"FIELD:    {path[-1]} <{_type(schema, node)}>\n")
    print("DESCRIPTION:")
    for line in _about(node):
        print(f"    {line}")
    if fields := _fields(schema, node):
        print("\nFIELDS:")
        for line in _listing(schema, node, fields, "  ", recursive=args.recursive):
            print(line)
    return 0


def _parts(what: str) -> list[str]:
    """Take TYPE.FIELD.FIELD apart, where TYPE may be `modelbinding.pai.io`."""
    parts = what.split(".")
    full = ".".join(parts[:3])
    return [full, *parts[3:]] if full.lower() in KIND_OF else parts


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        found: Any = schema
        for name in str(node["$ref"]).removeprefix("#/").split("/"):
            found = found[name]
        node = found
    return node


def _fields(schema: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of an object, or of a list's items."""
    node = _resolved(schema, node)
    if "items" in node:
        node = _resolved(schema, node["items"])
    return dict(node.get("properties", {}))


def _type(schema: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    node = _resolved(schema, node)
    kind = node.get("type", "any")
    if kind == "array":
        return f"[]{_type(schema, node.get('items', {}))}"
    if kind == "object" and isinstance(node.get("additionalProperties"), dict):
        return f"map[string]{_type(schema, node['additionalProperties'])}"
    return str(kind)


def _about(node: Mapping[str, Any]) -> Iterator[str]:
    yield from textwrap.wrap(str(node.get("description", node.get("title", ""))), WIDTH)
    if "enum" in node:
        yield f"One of: {', '.join(map(str, node['enum']))}."
    if "const" in node:
        yield f"Always {node['const']}."
    if "default" in node:
        yield f"Default: {node['default']}."
    if node.get("examples"):
        yield from textwrap.wrap(f"Examples: {', '.join(map(_example, node['examples']))}.", WIDTH)


def _example(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _listing(
    schema: Mapping[str, Any], node: Mapping[str, Any], fields: Mapping[str, Any], indent: str, *, recursive: bool
) -> Iterator[str]:
    """Yield the lines of the fields below a node."""
    inner = _resolved(schema, node)
    inner = _resolved(schema, inner["items"]) if "items" in inner else inner
    for name, each in fields.items():
        found = _resolved(schema, each)
        required = " -required-" if name in inner.get("required", ()) else ""
        yield f"{indent}{name} <{_type(schema, found)}>{required}"
        if not recursive:
            yield from (f"{indent}    {line}" for line in _about(found))
            yield ""
        else:
            yield from _listing(schema, found, _fields(schema, found), indent + "  ", recursive=True)
