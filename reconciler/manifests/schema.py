"""The JSON Schema files as a check: a fast yes or no, and for a no every error with its place.

The files in `schemas/` are the one truth about fields; this module adds places, names for what is wrong and hints.
jsonschema_rs screens (built once, on first use); jsonschema explains, and is imported only then.

Invariants: a document that the screen refuses gets at least one Problem; the work grows with the size of the document,
not with its square, so hints are looked for a bounded number of times and among a bounded number of its words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from collections.abc import Mapping as AbstractMapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from reconciler.core.objects import DAY_LIMIT, MANIFEST_OF_KIND, REQUEST_LIMIT, Kind
from reconciler.core.text import COMPARED_CHARACTERS_MAX, TEXT_MAX, alike
from reconciler.manifests import rules
from reconciler.manifests.facts import SAID_MAX, Problem, schema_folder
from reconciler.manifests.inline_keys import holds_key, is_literal_secret, mask, redact, redact_beginning
from reconciler.manifests.lookalikes import visible
from reconciler.manifests.nodes import Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

BUDGETS = (DAY_LIMIT, REQUEST_LIMIT)
HINTS_MAX = 1000
"""The most unknown fields of a document that get a "did you mean"; a file lists no more problems than that."""
ERRORS_MAX = 2000
"""The most schema errors of a document that are explained: two bytes can be an error, and one takes kilobytes."""
EXPLAINED_MAX = 10_000
"""The most problems made of those errors; a file lists 1,000 of them, and no more are counted."""
WORDS_MAX = 100
"""The most fields of a document that an unknown or missing one is compared with."""
_TYPE_WORDS = {"string": "text", "object": "a mapping", "array": "a list", "integer": "a whole number"}
_MISPLACED = {"maxTokens": "maxTokensPerRequest", "secretRef": "apiKeySecretRef", "apiKey": "apiKeySecretRef"}


class _Found(NamedTuple):
    """One schema error, where it is and what the reader needs to know."""

    rule: str
    node: Node
    message: str
    hint: str = ""
    text: str | None = None


def schema_of(kind: Kind) -> dict[str, object]:
    """Read the schema of one kind."""
    name = f"{MANIFEST_OF_KIND[kind].lower()}_v1.json"
    schema: dict[str, object] = json.loads((schema_folder() / name).read_bytes())
    return schema


@cache
def screen(kind: Kind) -> Callable[[object], bool]:
    """Give the fast check of one kind: True if the plain values of a document fit the schema."""
    import jsonschema_rs

    return jsonschema_rs.Draft7Validator(schema_of(kind)).is_valid


@cache
def _validator(kind: Kind) -> Validator:
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import ValidationError as Error
    from jsonschema.validators import extend

    def pattern(_: object, wanted: str, instance: object, __: object) -> Iterator[ValidationError]:
        # in JSON Schema `$` is the end of the text, in Python it is also the place before a last line break
        if isinstance(instance, str) and not re.search(wanted.replace("$", r"\Z"), instance):
            yield Error(f"{instance!r} does not match {wanted!r}")

    def unique_items(_: object, wanted: bool, instance: object, __: object) -> Iterator[ValidationError]:
        # jsonschema compares every two mappings; `wanted` is true in the schema files
        if wanted and isinstance(instance, list) and len(set(map(_written, instance))) < len(instance):
            yield Error("a list has an item twice")

    keywords = {"pattern": pattern, "uniqueItems": unique_items}
    strict: type[Validator] = extend(Draft7Validator, keywords)  # type: ignore[no-untyped-call]
    return strict(schema_of(kind))


def _written(value: object) -> str:
    """Write a plain value so that two are equal exactly if JSON says so, whatever the order of their fields."""
    return json.dumps(value, sort_keys=True)


def explain(kind: Kind, root: Mapping, taken: Collection[tuple[int, int]]) -> list[Problem]:
    """Turn every schema error of a document into a Problem, except at places `taken` by a problem already known."""
    problems: dict[tuple[int, int, str, str], Problem] = {}
    blamed = set(taken)
    found_all = map(_without_text, _validator(kind).iter_errors(cast("dict[str, Any]", root.value)))
    errors = sorted(islice(found_all, ERRORS_MAX), key=lambda error: (len(error.path), str(error.path)))
    for found in islice((each for error in errors for each in _translate(error, root, kind)), EXPLAINED_MAX):
        node = found.node
        place = node.line, node.column
        # one value, one problem; missing fields share the place of their mapping's key
        if found.rule != rules.MISSING_FIELD:
            if place in blamed:
                continue
            blamed.add(place)
        text = shown_text(node) if found.text is None else found.text
        problem = Problem(
            *place, "error", found.rule, redact_beginning(found.message, SAID_MAX), found.hint, redact(text)
        )
        problems.setdefault((*place, found.rule, found.message), problem)
    return list(problems.values())


def _without_text(error: ValidationError) -> ValidationError:
    """Drop what the error says in its own words, which may quote all of a document."""
    error.message = ""
    return error


def shown_text(node: Node) -> str:
    """Give what a problem shows of a node: the beginning of its first line, without what may be secret."""
    if not isinstance(node, Scalar):
        return ""
    return redact_beginning(node.text.split("\n", 1)[0], TEXT_MAX)


def _translate(error: ValidationError, root: Mapping, kind: Kind) -> Iterator[_Found]:
    path = list(error.absolute_path)
    node, key = _locate(root, path)
    dotted = _dotted(path)
    match error.validator:
        case "additionalProperties" if "propertyNames" not in error.absolute_schema_path:
            yield from _unknown(error, node, path, kind)
        case "required":
            yield from _missing(error, node, key, dotted)
        case "type":
            yield _wrong_type(error, node, path, dotted)
        case "uniqueItems":
            yield from _repeated(node, dotted)
        case _ if "propertyNames" in error.absolute_schema_path:
            yield _bad_key(error, node, dotted)
        case _:
            if dotted not in {f"spec.{name}" for name in BUDGETS}:
                yield _wrong_value(error, node, path, dotted)


def _locate(root: Mapping, path: list[str | int]) -> tuple[Node, Scalar | None]:
    """Find the node at `path`, and the key that holds it (None for list items and the document)."""
    node: Node = root
    key: Scalar | None = None
    for step in path:
        if isinstance(node, Mapping):
            key, node = node.keys[str(step)], node.items[str(step)]
        else:
            assert isinstance(node, Sequence)
            key, node = None, node.items[int(step)]
    return node, key


def _dotted(path: list[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _unknown(error: ValidationError, node: Node, path: list[str | int], kind: Kind) -> Iterator[_Found]:
    assert isinstance(node, Mapping)
    assert isinstance(error.schema, dict)
    allowed = error.schema.get("properties", {})
    unknown = [(name, key) for name, key in node.keys.items() if name not in allowed]
    for number, (name, key) in enumerate(unknown):
        full = _dotted([*path, name])
        if full == "metadata.namespace":
            yield _Found(rules.NAMESPACE, key, "metadata.namespace: Pai has no namespaces", "remove it")
        elif full == "status":
            yield _Found(rules.STATUS, key, "status is what Pai reports, not what a manifest says", "remove it")
        else:
            hint = _unknown_hint(name, allowed, kind, path) if number < HINTS_MAX else ""
            yield _Found(rules.UNKNOWN_FIELD, key, f"unknown field {full}", hint)


def _unknown_hint(name: str, allowed: AbstractMapping[str, object], kind: Kind, path: list[str | int]) -> str:
    if close := closest(name, allowed):
        return f"did you mean {close}?"
    if (wanted := _MISPLACED.get(name)) in allowed:
        return f"did you mean {wanted}?"
    for part, fields in _fields(kind).items():
        if (close := closest(name, fields)) and part != _dotted(path):
            return f"did you mean {part}.{close}?" if part else f"{close} belongs at the top of the document"
    return f"fields here: {', '.join(allowed)}"


@cache
def _fields(kind: Kind) -> dict[str, tuple[str, ...]]:
    """Name the fields of each part of a document, for those that stand in the wrong one."""
    parts: dict[str, tuple[str, ...]] = {}

    def walk(schema: dict[str, Any], path: str) -> None:
        if schema.get("$ref") == "#/definitions/metadata":
            schema = cast("dict[str, Any]", schema_of(kind)["definitions"])["metadata"]
        fields: dict[str, dict[str, Any]] = schema.get("properties", {})
        if fields:
            parts[path] = tuple(fields)
        for name, field in fields.items():
            walk(field, f"{path}.{name}" if path else name)

    walk(schema_of(kind), "")
    return parts


def _missing(error: ValidationError, node: Node, key: Scalar | None, dotted: str) -> Iterator[_Found]:
    assert isinstance(node, Mapping)
    assert isinstance(error.validator_value, list)
    if node.merged:
        return  # the merge key is the mistake, and may have meant to bring these fields
    at: Node = key or next(iter(node.keys.values()), node)
    where = dotted or "the document"
    for name in error.validator_value:
        if name not in node.value:
            close = closest(name, first_words(node, error.schema.get("properties", {})))  # type: ignore[union-attr]
            hint = f"{close} looks like it" if close else f"add {name}: below {dotted}" if dotted else f"add {name}:"
            yield _Found(rules.MISSING_FIELD, at, f"{where} lacks {name}", hint)


def _wrong_type(error: ValidationError, node: Node, path: list[str | int], dotted: str) -> _Found:
    wanted = str(error.validator_value)
    if path and path[-1] in BUDGETS:
        return _Found(rules.BUDGET, node, f"{dotted} must be a whole number", BUDGET_HINT)
    message = f"{dotted or 'the document'} must be {_TYPE_WORDS.get(wanted, wanted)}, not {_word(node)}"
    text = shown_text(node)
    hint = ""
    if wanted == "string" and isinstance(node, Scalar):
        hint = "write a value" if not node.text and node.plain else f'quote it: "{redact(text)}"'
    elif wanted == "array" and isinstance(node, Scalar) and isinstance(node.value, str):
        hint = f"write it as a list: [{redact(text)}]"
    elif dotted == "spec.apiKeySecretRef":
        hint = "write the secret's name below it, as name: NAME"
    if "apiKeySecretRef" in path and isinstance(node, Scalar) and is_literal_secret(node.text):
        text, hint = mask(node.text), "the key itself belongs into `pai add secret`, not into git"
    return _Found(rules.WRONG_TYPE, node, message, hint, text)


def _word(node: Node) -> str:
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    words = {str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return words.get(type(node.value), "null" if node.text else "empty")


def _repeated(node: Node, dotted: str) -> Iterator[_Found]:
    assert isinstance(node, Sequence)
    seen: set[str] = set()
    for item in node.items:
        if (written := _written(item.value)) in seen:
            yield _Found(
                rules.REPEATED_ITEM, item, f"{dotted} names {shown_text(item) or 'an item'} twice", "remove one"
            )
        seen.add(written)


def _bad_key(error: ValidationError, node: Node, dotted: str) -> _Found:
    assert isinstance(node, Mapping)
    key = node.keys[str(error.instance)]
    hint = "[prefix/]name: at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"
    return _Found(rules.LABELS, key, f"bad key {redact_beginning(key.text, TEXT_MAX)} in {dotted}", hint)


NAME_HINT = "lower-case letters, digits and '-', at most 63, a letter or digit at both ends"
_WHY = {"minLength": "empty", "maxLength": "longer than {} characters"}
_VALUE_HINTS = {
    "model": "the provider's model id, without spaces or line breaks",
    "key": "letters, digits, '-', '_' and '.'",
}
BUDGET_HINT = "write plain decimal digits from 1 to 9007199254740991, such as 1000000"


def _wrong_value(error: ValidationError, node: Node, path: list[str | int], dotted: str) -> _Found:
    text = shown_text(node)
    if error.validator == "minItems":
        return _Found(rules.WRONG_VALUE, node, f"{dotted} is empty", "name at least one", "[]")
    if error.validator == "enum":
        assert isinstance(error.validator_value, list)
        close = closest(text, error.validator_value)
        hint = f"did you mean {close}?" if close else f"one of {', '.join(error.validator_value)}"
        return _Found(rules.WRONG_VALUE, node, f"{dotted} has no value {text or 'like this'}", hint)
    if path[:2] == ["metadata", "labels"]:
        hint = "at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"
        return _Found(rules.LABELS, node, f"bad value of the label {path[-1]}", hint)
    if path[-1] == "name" or path[:2] == ["spec", "modelBindings"]:
        if "apiKeySecretRef" in path and isinstance(node, Scalar) and is_literal_secret(node.text):
            text = mask(node.text)
        hint = _name_hint(node)
        return _Found(rules.BAD_NAME, node, f"{dotted} is no name: {text or 'it is empty'}", hint, text)
    why = _WHY.get(str(error.validator), "not of the form that it needs").format(error.validator_value)
    return _Found(rules.WRONG_VALUE, node, f"{dotted} is {why}", _VALUE_HINTS.get(str(path[-1]), ""))


def _name_hint(node: Node) -> str:
    if isinstance(node, Scalar) and node.text.endswith("\n"):
        return "the value ends with a line break: write it on the line of its field"
    text = node.text if isinstance(node, Scalar) and not holds_key(node.text) else ""
    better = re.sub(r"[^a-z0-9-]+", "-", visible(text).lower()).strip("-")[:63].strip("-")
    return f"did you mean {better}? ({NAME_HINT})" if better and not is_literal_secret(text) else NAME_HINT


def first_words(node: Mapping, known: Collection[str]) -> list[str]:
    """Give the first fields of a mapping that are not `known`: those that a missing one may be meant by."""
    return list(islice((name for name in node.keys if name not in known), WORDS_MAX))


def closest(name: str, allowed: Collection[str]) -> str | None:
    """Give the allowed word that `name` most likely meant, whatever its case and separators; None if none is close."""
    import difflib

    plain = {re.sub(r"[^a-z0-9]", "", word.lower()): word for word in alike(name, allowed)}
    key = re.sub(r"[^a-z0-9]", "", name.lower())[:COMPARED_CHARACTERS_MAX]
    if key in plain:
        return plain[key]
    close = difflib.get_close_matches(key, plain, n=1, cutoff=0.7)
    return plain[close[0]] if close else None
