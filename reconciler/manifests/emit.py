"""Plain values as YAML text that every reader understands in the same way.

Strings are quoted wherever a YAML 1.1 or a YAML 1.2 reader would take the bare text for something else. Nothing here
looks at existing text; `edit` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache

from reconciler.manifests.scalars import plain_value

_PLAIN = re.compile(r"[\w./$][\w ./()+@%=$:~^-]*")
_OLD_BOOLEANS = frozenset(("y", "n", "Y", "N"))
_ORDER = {name: place for place, name in enumerate(("apiVersion", "kind", "metadata", "spec"))}
_METADATA_ORDER = {name: place for place, name in enumerate(("name", "labels", "annotations"))}
_KEY_MAX = 1000
"""libyaml looks for the colon within 1,024 characters; longer keys are written with a question mark."""


def render(document: Mapping[str, object], *, literal: bool = True) -> str:
    """Write a whole document in block style, in the usual order of fields, ending with a line break.

    With `literal` text of several lines is written as a block (`|`), otherwise as one quoted line.
    """
    ordered: dict[str, object] = {key: document[key] for key in sorted(document, key=lambda k: _ORDER.get(k, 9))}
    metadata = ordered.get("metadata")
    if isinstance(metadata, dict):
        ordered["metadata"] = {key: metadata[key] for key in sorted(metadata, key=lambda k: _METADATA_ORDER.get(k, 9))}
    if not ordered:
        return "{}\n"
    return "\n".join(block_lines(ordered, literal=literal)) + "\n"


def block_lines(value: object, *, literal: bool = False) -> list[str]:
    """Write a mapping or list that is not empty as lines without indentation."""
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            lines += entry_lines(scalar_text(key), item, literal=literal)
    else:
        assert isinstance(value, list | tuple)
        for item in value:
            lines += item_lines(item, literal=literal)
    return lines


def entry_lines(key: str, value: object, *, literal: bool = False) -> list[str]:
    """Write one field, its key already in the form that the file has."""
    if len(key) > _KEY_MAX:
        first, *rest = item_lines(value, literal=literal)
        return [f"? {key}", f":{first[1:]}", *rest]
    if _is_filled(value):
        return [f"{key}:", *(f"  {line}" if line else line for line in block_lines(value, literal=literal))]
    first, *rest = _leaf_lines(value, literal)
    return [f"{key}: {first}", *(f"  {line}" if line else line for line in rest)]


def item_lines(value: object, *, literal: bool = False) -> list[str]:
    """Write one list item."""
    first, *rest = block_lines(value, literal=literal) if _is_filled(value) else _leaf_lines(value, literal)
    return [f"- {first}", *(f"  {line}" if line else line for line in rest)]


def _is_filled(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple) and len(value) > 0


def _leaf_lines(value: object, literal: bool) -> list[str]:
    if literal and isinstance(value, str) and _fits_literal(value):
        mark = "|" if value.endswith("\n") else "|-"
        return [mark, *value.removesuffix("\n").split("\n")]
    return [flow_text(value)]


def _fits_literal(text: str) -> bool:
    lines = text.removesuffix("\n").split("\n")
    return (
        len(lines) > 1
        and lines[0][:1] not in ("", " ", "\t")
        and lines[-1].strip() != ""
        and all(line.isprintable() and line == line.rstrip() for line in lines)
    )


def flow_text(value: object) -> str:
    """Write any value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar_text(k, flow=True)}: {flow_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow_text(item) for item in value) + "]"
    return scalar_text(value, flow=True)


def scalar_text(value: object, *, flow: bool = False) -> str:
    """Write a single value; `flow` for a place between brackets."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    assert isinstance(value, str), f"{type(value).__name__} is no JSON value"
    return value if _is_bare(value, flow) else quoted(value)


def _is_bare(text: str, flow: bool) -> bool:
    if not _PLAIN.fullmatch(text) or not text.isprintable() or text.endswith((" ", ":")) or ": " in text:
        return False
    if text in _OLD_BOOLEANS or text.startswith("...") or (flow and ":" in text):
        return False
    return isinstance(plain_value(text), str) and _is_text_in_yaml_1_1(text)


def _is_text_in_yaml_1_1(text: str) -> bool:
    resolvers = _old_resolvers()
    return not any(pattern.match(text) for pattern in (*resolvers.get(text[0], ()), *resolvers.get("", ())))


@cache
def _old_resolvers() -> dict[str, tuple[re.Pattern[str], ...]]:
    from yaml.resolver import Resolver

    table = Resolver.yaml_implicit_resolvers
    return {first: tuple(pattern for _, pattern in pairs) for first, pairs in table.items() if first is not None}


def quoted(text: str, quote: str = '"') -> str:
    """Quote text; with single quotes only if that can hold it."""
    if quote == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    encoded = json.dumps(text, ensure_ascii=False)
    return encoded if encoded.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in encoded)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
