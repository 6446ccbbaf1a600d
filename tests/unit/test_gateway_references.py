"""Schemas whose references a provider writes out are bounded by what they become; what does not show is not guessed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Needs
from reconciler.gateway.judging import references
from reconciler.gateway.judging.references import unrolled
from reconciler.providers import PROVIDERS
from tests.support_judging import NEEDS


def written(node: Any, root: Any) -> Any:
    """Write the references of a schema out, as Gemini does."""
    if isinstance(node, list):
        return [written(item, root) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref", node.get("ref"))
    if isinstance(reference, str):
        found = root
        for part in reference.split("/")[1:]:
            part = part.replace("%20", " ").replace("~1", "/").replace("~0", "~")
            found = found[int(part)] if isinstance(found, list) else found[part]
        return written(found, root)
    return {name: written(item, root) for name, item in node.items()}


def size(value: Any) -> int:
    """Give the bytes of JSON without blanks."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def doubling(levels: int) -> dict[str, Any]:
    """Give a schema that is twice as long with each level."""
    to = [{"$ref": f"#/$defs/d{level + 1}"} for level in range(levels)]
    defs: dict[str, Any] = {f"d{level}": {"properties": {"a": to[level], "b": to[level]}} for level in range(levels)}
    defs[f"d{levels}"] = {"type": "string", "description": "words, \u00bd of them"}
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": defs}


PLACE = {"type": "object", "properties": {"at": {"type": "string"}}}
SCHEMAS: list[dict[str, Any]] = [
    doubling(1),
    doubling(10),
    {"$defs": {"Place": PLACE}, "properties": {name: {"$ref": "#/$defs/Place"} for name in "abc"}},
    {"definitions": {"a/b c~": PLACE}, "items": {"$ref": "#/definitions/a~1b%20c~0"}},
    {"properties": {"first": PLACE, "others": {"items": {"$ref": "#/properties/first"}}}},
    {"prefixItems": [PLACE, {"$ref": "#/prefixItems/0"}]},
    {"defs": {"Place": PLACE}, "anyOf": [{"ref": "#/defs/Place"}, {"ref": "#/defs/Place"}]},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_schema_is_bounded_by_what_its_references_become(schema: dict[str, Any]) -> None:
    """Of 148,059 characters Gemini made 8,113,056 tokens (discuss.ai.google.dev/t/97650)."""
    grown = unrolled([{"function": {"name": "f", "parameters": schema}}])
    assert grown is not None
    assert size(schema) + grown >= size(written(schema, schema))


def test_definition_that_refers_to_itself_is_written_out_some_times() -> None:
    """A tree's nodes have nodes: that is usual, and the provider stops somewhere."""
    node = {"properties": {"children": {"items": {"$ref": "#/$defs/Node"}}}}
    grown = unrolled({"schema": {"$ref": "#/$defs/Node", "$defs": {"Node": node}}})
    assert grown is not None
    assert references.TIMES * size(node) < grown < 3 * references.TIMES * size(node)  # its own place counts, too
    assert unrolled({"schema": {"properties": {"again": {"$ref": "#"}}}})


@pytest.mark.parametrize(
    "schema",
    [
        doubling(40),
        {"$defs": {"N": {"anyOf": [{"$ref": "#/$defs/N"}] * 9}}, "$ref": "#/$defs/N"},
        {"$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"items": {"$ref": "#/$defs/A"}}}, "$ref": "#/$defs/A"},
        {"items": {"$ref": "#/$defs/missing"}},
        {"items": {"$ref": "#place"}, "$anchor": "place"},
        {"items": {"$ref": "https://example.com/place.json"}},
        {"prefixItems": [{"$ref": "#/prefixItems/x"}]},
        {"items": {"$dynamicRef": "#node"}},
        {"$defs": {}, "items": {"$id": "inner", "$defs": {"a": PLACE}, "items": {"$ref": "#/$defs"}}},
    ],
)
def test_size_that_does_not_show_is_not_guessed(schema: dict[str, Any]) -> None:
    """What has no end, is larger than any model reads, or is found by other rules than those of a pointer."""
    assert unrolled({"schema": schema}) is None


def test_reference_outside_of_a_schema_is_not_guessed() -> None:
    """A field that nobody knows here may hold a schema there."""
    assert unrolled({"json_schema": {"shape": {"$ref": "#/$defs/x"}}}) is None
    assert unrolled({"metadata": {"ref": "#12"}}) == 0


def test_word_that_is_no_reference_is_none() -> None:
    """A property may be called as a reference is; true and false are schemas, too."""
    assert unrolled({"parameters": {"properties": {"$ref": {"type": "string"}, "ref": PLACE}}}) == 0
    assert unrolled({"parameters": {"$id": "a", "$defs": {"any": True}, "items": {"$ref": "#/$defs/any"}}}) == 0


def test_schemas_that_are_larger_than_any_are_not_read() -> None:
    """Unless nothing is referred to in them."""
    schema = {"description": "a" * references.READ_BYTES_MAX}
    assert unrolled([{"parameters": schema}, {"parameters": SCHEMAS[0]}])
    assert unrolled([{"parameters": schema | SCHEMAS[0]}]) is None
    assert unrolled([{"parameters": SCHEMAS[0] | {"description": "a" * 1_000_000}}] * 5) is None


def nested(levels: int) -> dict[str, Any]:
    """Give a schema of which each part is a definition, and refers to the one within."""
    found: dict[str, Any] = {}
    for level in range(levels):
        found = {"p": found, "$ref": "#" + "/p" * (levels - level)}
    return found


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"a": {}}, "anyOf": [{"$ref": "#/$defs/a"}] * 20_000},
        {"$defs": {str(n): {} for n in range(9000)}, "anyOf": [{"$ref": f"#/$defs/{n}"} for n in range(9000)]},
        {"$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(9000)} | {"9000": {}}, "$ref": "#/$defs/0"},
        {"anyOf": [{"$ref": "#/anyOf"}] * 20_000},
        nested(400),
    ],
)
def test_work_grows_as_the_text_does(schema: dict[str, Any]) -> None:
    """Whatever refers to what: a body of 400 KB took no longer than any other."""
    began = time.process_time()
    unrolled({"parameters": schema})
    assert time.process_time() - began < 1


def judged(operation: str, provider: str, model: str, place: str, schema: dict[str, Any]) -> Needs:
    """Judge a body with a schema, as the parameters of a tool or of the answer."""
    function: dict[str, Any] = {"name": "f", "parameters": schema}
    body: dict[str, Any] = {
        ("chat", "tool"): {"messages": [], "tools": [{"type": "function", "function": function}]},
        ("chat", "answer"): {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        ("responses", "late tool"): {
            "input": [{"type": "additional_tools", "tools": [{"type": "function"} | function]}]
        },
        ("responses", "answer"): {"text": {"format": {"type": "json_schema", "schema": schema}}},
        ("messages", "answer"): {"output_format": {"type": "json_schema", "schema": schema}},
        ("generate", "tool"): {"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}]},
        ("generate", "answer"): {"generationConfig": {"responseJsonSchema": schema}},
        ("generate", "snake"): {"generation_config": {"response_json_schema": schema}},
    }[operation, place]
    return NEEDS[operation](Body(json.dumps(body).encode().replace(b"$ref", b"$r\\u0065f")), PROVIDERS[provider], model)


@pytest.mark.parametrize(
    ("operation", "provider", "model", "place"),
    [
        ("generate", "gemini", "gemini-2.5-flash", "tool"),
        ("generate", "gemini", "gemini-2.5-flash", "answer"),
        ("generate", "gemini", "gemini-2.5-flash", "snake"),
        ("chat", "gemini", "gemini-2.5-flash", "tool"),
        ("chat", "gemini", "gemini-2.5-flash", "answer"),
        ("chat", "openrouter", "google/gemini-2.5-flash", "tool"),
        ("responses", "openrouter", "google/gemini-2.5-flash", "late tool"),
        ("responses", "openrouter", "google/gemini-2.5-flash", "answer"),
        ("messages", "openrouter", "google/gemini-2.5-flash", "answer"),
        ("chat", "openrouter", "~Google/gemini-flash-latest", "tool"),
        ("chat", "openrouter", "openrouter/auto", "tool"),
    ],
)
def test_references_count_wherever_a_schema_stands(operation: str, provider: str, model: str, place: str) -> None:
    """In the words of every API that reaches a model of Google's; one that has no end is counted there, or refused."""
    assert judged(operation, provider, model, place, doubling(14)).extra > size(doubling(1)) * 2**12
    endless = judged(operation, provider, model, place, {"items": {"$ref": "#place"}})
    assert "references" in (endless.uncertain if "tool" in place else endless.unbounded)


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-4o"), ("openrouter", "vendor/model")])
def test_references_are_left_as_they_are_at_other_models(provider: str, model: str) -> None:
    """They read the schema as it is written: nothing is refused, and next to nothing added."""
    found = judged("chat", provider, model, "tool", doubling(40))
    assert (found.unbounded, found.uncertain) == ("", "")
    assert found.extra < 3 * size(doubling(40))
