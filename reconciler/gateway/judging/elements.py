"""How much longer tools and calls become where a model's template writes them as elements, or as JSON in many lines.

Those of Qwen3-Coder, Nemotron 3, Seed-OSS and DeepSeek-V3.2 write elements, and Claude's: around a member stand tags
(`<parameter name="key" string="true">value</parameter>`), and in definitions its name stands twice
(`<key>value</key>`). Those of Llama 3.1 to 4, Granite and GLM-4 write each tool by `tojson(indent=4)`. What `tojson`
writes, which Llama's does with the results of tools, too, is safe in HTML (MiniJinja, which ai-dynamo/dynamo and
mistral.rs use) and of nothing but ASCII (Jinja's own) unless a server sees to it. Pure.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from reconciler.gateway.growth import escaped, normalized
from reconciler.gateway.packing import plain_bytes

PARAMETER_TOKENS: Final = 24
"""What stands around one parameter, or one argument: about 17 tokens in DeepSeek-V3.2, 13 in Qwen3-Coder."""
TAG_BYTES: Final = len("\n<></>")
LINE_TOKENS: Final = 3
"""A line's end, what begins it, and a bracket or a comma that stands on it."""
LEVELS: Final = 4
"""Of indentation by four: as many blanks are a token at least, in all tokenizers that have tokens of blanks."""
MEMBERS_MAX: Final = 10_000
CHARACTERS_MAX: Final = 1024 * 1024
"""Of arguments that come as text. With more, or more signs of members, each sign counts as one: to make them takes
memory."""

ANSWERING: Final = ("tool", "function", "ipython")
"""Roles of messages that hold what a tool said."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def defined(tools: Any, *, is_packed: bool = False) -> int:
    """Give how many tokens definitions may grow by, as elements or in lines; `is_packed`: their texts are."""
    found = lines = 0
    again: list[str] = []
    rest = [(tools, False, 1)]
    while rest:
        value, parameters, level = rest.pop()
        if value:
            lines += (len(value) + 1) * (LINE_TOKENS + level // LEVELS)
        if isinstance(value, list):
            rest += [(item, False, level + 1) for item in value if isinstance(item, dict | list)]
            continue
        found += len(value) * (PARAMETER_TOKENS if parameters else TAG_BYTES)
        again += value
        for name, item in value.items():
            if isinstance(item, str):
                if name == "type":  # which stands behind the name, and in a list of arguments
                    again.append(item)
            elif isinstance(item, dict | list):
                rest.append((item, name == "properties", level + 1))
    return max(lines, found + normalized("\n".join(again).encode("latin-1" if is_packed else "utf-8")))


def called(item: dict[str, Any]) -> int:
    """Give how many tokens the arguments of a call may grow by, 0 if an item is none."""
    call = item.get("function_call")
    found = called(call) if isinstance(call, dict) and "function_call" not in call else 0
    return found + arguments(item.get("arguments")) + arguments(item.get("input"))


def arguments(given: Any) -> int:
    """Give how many tokens arguments may grow by, as an object or as its text."""
    if isinstance(given, str) and given.lstrip()[:1] == "{":
        if (signs := given.count(":")) > MEMBERS_MAX or len(given) > CHARACTERS_MAX:
            return PARAMETER_TOKENS * signs
        try:
            given = _members.decode(given)
        except (ValueError, RecursionError):
            return 0
    return PARAMETER_TOKENS * len(given) if isinstance(given, dict) else 0


def quoted(value: Any, *, is_packed: bool = False) -> int:
    """Give how many bytes a value may grow by where it is written by `tojson`; `is_packed`: its texts are."""
    return sum(map(escaped, plain_bytes(value, is_packed=is_packed))) if value else 0


def tells(item: dict[str, Any]) -> list[str]:
    """Name the members of an item that hold calls, and what tools said: they are written by `tojson` with all below."""
    names = ["arguments", "input", "output", "function_call"]
    if item.get("role") in ANSWERING or item.get("type") == "tool_result":
        names.append("content")
    return names
