"""Templates that write tools and calls as elements, or in many lines, make no more of them than is counted."""

from __future__ import annotations

import json
import re
import tracemalloc
from typing import Any

import pytest

from reconciler.gateway.body import Body
from reconciler.gateway.judging import elements, look
from reconciler.providers import PROVIDERS


def qwen(schema: dict[str, Any]) -> str:
    """Write a function's parameters as Qwen3-Coder's template does."""

    def more(value: dict[str, Any], *handled: str) -> str:
        rest = {name: item for name, item in value.items() if name not in handled}
        return "".join(f"\n<{name}>{_text(item)}</{name}>" for name, item in rest.items())

    found = "\n<parameters>"
    for name, item in schema["properties"].items():
        found += f"\n<parameter>\n<name>{name}</name>" + more(item, "name", "type") + "\n</parameter>"
    return found + more(schema, "type", "properties") + "\n</parameters>"


def seed(schema: dict[str, Any]) -> str:
    """Write a function's parameters as Seed-OSS's template does."""
    names = list(schema["properties"])
    return ",".join(f"{name}: Any" for name in names) + "".join(f"\n\n    - {name} (Any) [-]: " for name in names)


def dsml(arguments: dict[str, Any]) -> str:
    """Write a call as DeepSeek-V3.2's template does, each of its own signs as one byte."""
    ways = ((name, "true" if isinstance(value, str) else "false", _text(value)) for name, value in arguments.items())
    return "\n".join(
        f'<DSML|parameter name="{name}" string="{way}">{value}</DSML|parameter>' for name, way, value in ways
    )


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def size(text: str) -> int:
    """Give the tokens of a text, of which the tags of a template have at most one for each three bytes."""
    for words in ("<parameter>\n<name>", "</name>", "\n</parameter>", '<DSML|parameter name="', "</DSML|parameter>"):
        text = text.replace(words, "x" * (len(words) // 3))
    for way in ("true", "false"):
        text = text.replace(f'" string="{way}">', "x" * 6)
    return len(text.encode())


SCHEMAS: list[dict[str, Any]] = [
    {"properties": {"x": {"q" * 20_000: 1}}},
    {"properties": {"é" * 5000: {}}},
    {"properties": {f"p{number}": {} for number in range(2000)}},
    {"properties": {f"p{number}": {"a": 1, "b": "c"} for number in range(500)}},
    {"properties": {"x": {"type": "object"}}, "k" * 9000: "v"},
]


@pytest.mark.parametrize("write", [qwen, seed])
@pytest.mark.parametrize("schema", SCHEMAS)
def test_definitions_that_are_written_as_elements_are_bounded(write: Any, schema: dict[str, Any]) -> None:
    """Names stand twice: of a body that is nothing but names twice as much was read as was reserved."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    raw = json.dumps({"tools": tools}, separators=(",", ":"), ensure_ascii=False).encode()
    body = Body(raw)
    assert body.size + look(body, "chat", PROVIDERS["openrouter"]).rendered >= size(write(schema))
    late = {"input": [{"type": "additional_tools", "tools": tools}]}
    assert (
        look(Body(json.dumps(late).encode()), "responses", PROVIDERS["openrouter"]).rendered
        >= look(body, "chat", PROVIDERS["openrouter"]).rendered
    )
    assert look(body, "chat", PROVIDERS["openai"]).rendered < look(body, "chat", PROVIDERS["openrouter"]).rendered


def within(levels: int, value: Any) -> Any:
    """Give a value in so many lists, one in the other."""
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        [within(50, 1)] * 100,
        [within(300, [])] * 20,
        within(200, [0] * 5000),
        within(200, [{}] * 5000),
        [{"a": [{"b": [{"c": {"d": [1, "e"]}}]}]}] * 300,
    ],
)
def test_definitions_that_are_written_in_lines_are_bounded(value: Any) -> None:
    """Llama's template indents by four: 400 lists, one in the other, were eight times what was reserved (cl100k)."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "default": value}}}
    raw = json.dumps({"tools": [tool]}, separators=(",", ":")).encode()
    tokens = len(re.sub(" {1,16}", " ", json.dumps(tool, indent=4)))
    assert tokens > 2 * len(raw)
    assert len(raw) + look(Body(raw), "chat", PROVIDERS["openrouter"]).rendered >= tokens


@pytest.mark.parametrize("provider", ["openrouter", "anthropic"])
@pytest.mark.parametrize("given", [{str(number): number for number in range(3000)}, {"a": "b", "c": [1, {"d": 2}]}])
@pytest.mark.parametrize("how", ["chat", "odd chat", "old chat", "responses", "messages"])
def test_calls_that_are_written_as_elements_are_bounded(provider: str, given: dict[str, Any], how: str) -> None:
    """In whatever words the call is told."""
    text = json.dumps(given, separators=(",", ":"))
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": text}}
    body: dict[str, Any] = {
        "chat": {"messages": [{"role": "assistant", "tool_calls": [call]}]},
        "odd chat": {"messages": [{"role": "assistant", "tool_calls": [call], "index": 0}]},
        "old chat": {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": text}}]},
        "responses": {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": text}]},
        "messages": {
            "messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": given}]}]
        },
    }[how]
    raw = json.dumps(body, separators=(",", ":")).encode()
    found = look(Body(raw), how.rsplit(maxsplit=1)[-1], PROVIDERS[provider])
    assert len(raw) + found.rendered >= size(dsml(given))


def test_arguments_of_very_many_members_are_not_taken_apart() -> None:
    """A text is no value of the body, however much stands in it: and of many members came 14 times as much."""
    given = json.dumps({str(number): 1 for number in range(300_000)}, separators=(",", ":"))
    tracemalloc.start()
    try:
        assert elements.arguments(given) == 300_000 * elements.PARAMETER_TOKENS
        assert tracemalloc.get_traced_memory()[1] < len(given)
    finally:
        tracemalloc.stop()
    assert elements.arguments("{" + ":" * 9) == 0
