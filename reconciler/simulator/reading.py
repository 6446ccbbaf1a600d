"""Reading requests: what all formats have in common, and how input is counted.

A provider's own names stay in its own module. Nothing here answers or remembers anything.

Invariants: the same content counts the same, wherever members stand and however the JSON is spaced; a request never
counts more input tokens than its body has bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from reconciler.simulator.shapes import Declined, Json, Provider, SimulatedCall, SimulatedRequest

PER_MESSAGE = 3
"""Tokens that a message costs besides its content."""
UNKNOWN_MODEL = "no-such-model"
"""No provider has a model whose name holds this."""
FOREIGN = ("models", "provider", "route", "transforms")
"""Names that only OpenRouter knows; the others refuse a body that has them."""

T = TypeVar("T")
_NAMED = re.compile(r"call the tool (\w+) (\{.*\})")
_REASONING_MODELS: dict[Provider, re.Pattern[str]] = {
    "openai": re.compile(r"o\d|gpt-5"),
    "anthropic": re.compile(r"(?!)"),
    "gemini": re.compile(r"gemini-(2\.5|[3-9])"),
    "openrouter": re.compile(r"openai/(o\d|gpt-5)|google/gemini-(2\.5|[3-9])"),
}


def weigh(*values: Any) -> int:
    """Give the UTF-8 bytes of all text in the values: not the names of members, nor what `role` and `type` say."""
    total = 0
    stack = list(values)
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            total += len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
        elif isinstance(item, dict):
            stack += [value for name, value in item.items() if name not in ("role", "type")]
        elif isinstance(item, list):
            stack += item
    return total


def count(incoming: SimulatedRequest, messages: int, *content: Any) -> int:
    """Count the input tokens of the content: one for four bytes of text, some more for each message."""
    return min(-(-weigh(*content) // 4) + PER_MESSAGE * messages, len(incoming.raw))


def model_of(incoming: SimulatedRequest) -> str:
    """Give the model that the request names, which must exist; no member may be one that only others know."""
    model = incoming.model or text(incoming.body, "model")
    if UNKNOWN_MODEL in model:
        status = 400 if incoming.api in ("responses", "input_tokens") else 404
        raise Declined(status, f"The model {model} does not exist.", code="model_not_found", param="model")
    for name in FOREIGN if incoming.provider != "openrouter" else ():
        if name in incoming.body:
            raise Declined(400, f"Unknown member in the request: '{name}'.", code="unknown_parameter", param=name)
    return model


def _typed(body: Json, name: str, kind: type[T], what: str) -> T | None:
    """Give a member of just this type; None if it is absent or null."""
    value = body.get(name)
    if value is None or type(value) is kind:
        return value
    raise Declined(400, f"{name}: expected {what}.", code="invalid_type", param=name)


def _missing(name: str) -> Declined:
    return Declined(400, f"{name}: this member is required.", code="missing_required_parameter", param=name)


def text(body: Json, name: str) -> str:
    """Give a text member that must be there."""
    value = _typed(body, name, str, "a string")
    if not value:
        raise _missing(name)
    return value


def listed(body: Json, name: str) -> list[Any]:
    """Give a list of objects that must be there and hold something."""
    value = _typed(body, name, list, "an array of objects")
    if value is None:
        raise _missing(name)
    if not value:
        raise Declined(400, f"{name}: expected at least one item.", code="empty_array", param=name)
    if not all(isinstance(item, dict) for item in value):
        raise Declined(400, f"{name}: expected an array of objects.", code="invalid_type", param=name)
    return value


def maybe_listed(body: Json, name: str) -> list[Any]:
    """Give a list of objects; absent and null are an empty one."""
    return listed(body, name) if body.get(name) else []


def whole(body: Json, name: str, low: int = 1, high: int | None = None) -> int | None:
    """Give a whole number between `low` and `high`; None if it is not there."""
    value = _typed(body, name, int, "an integer")
    if value is not None and value < low:
        raise Declined(400, f"{name}: must be at least {low}.", code="integer_below_min_value", param=name)
    if value is not None and high is not None and value > high:
        raise Declined(400, f"{name}: must be at most {high}.", code="integer_above_max_value", param=name)
    return value


def yes(body: Json, name: str) -> bool:
    """Give a boolean; absent and null are false."""
    return _typed(body, name, bool, "a boolean") or False


def member(body: Json, name: str) -> Json:
    """Give an object; absent and null are an empty one."""
    return _typed(body, name, dict, "an object") or {}


def words_of(content: Any) -> str:
    """Give the text of a message's content: a string, or parts that may hold text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def last_words(messages: list[Any], content: str = "content") -> str:
    """Give the text of the last message if the user said it."""
    last = messages[-1]
    return words_of(last.get(content)) if last.get("role", "user") == "user" else ""


def reasons(provider: Provider, model: str) -> bool:
    """Tell whether the model reasons without being asked."""
    return _REASONING_MODELS[provider].match(model) is not None


def chosen(tools: list[Any], prompt: str, forced: bool) -> SimulatedCall | None:
    """Give a call of the tool that the prompt names, or of the first one if it names none, or the request demands one.

    A prompt asks by `call the tool`, or by `call the tool NAME {...}`: the braces are the arguments, or the free text.
    """
    named = _NAMED.search(prompt)
    if not forced and not named and "call the tool" not in prompt.lower():
        return None
    for tool in _unfolded(tools):
        if isinstance(tool, dict) and isinstance(tool.get("name"), str) and (not named or tool["name"] == named[1]):
            names = ("parameters", "input_schema", "parametersJsonSchema", "parameters_json_schema")
            schema: object = next((tool[name] for name in names if name in tool), None)
            free = tool.get("type") == "custom"
            said = _arguments(named[2], free) if named else json.dumps(_sample(schema))
            return SimulatedCall(tool["name"], said, free) if said else None
    return None


def _arguments(text: str, free: bool) -> str:
    """Give the arguments as they are sent; none if a tool that takes JSON is to get something else."""
    if free:
        return text if text.isascii() else ""
    try:
        return json.dumps(json.loads(text))
    except (ValueError, RecursionError):
        return ""


def _unfolded(tools: list[Any]) -> Iterator[Any]:
    """Give the tools, of a namespace those that it holds."""
    for tool in tools:
        inner = tool.get("tools") if isinstance(tool, dict) else None
        yield from inner if isinstance(inner, list) else [tool]


def _sample(schema: object) -> Json:
    """Give the least object that has what the schema requires, as far as its types are simple."""
    match schema:
        case {"properties": dict(properties), "required": list(required)}:
            return {name: _value(properties.get(name)) for name in required if isinstance(name, str)}
        case _:
            return {}


def _value(schema: object) -> object:
    match schema:
        case {"enum": [first, *_]}:
            return first
        case {"type": named}:
            kind = str(named).lower()
        case _:
            kind = ""
    return {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}.get(kind, "sea")
