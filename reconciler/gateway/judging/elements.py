"""How much longer tools and calls become where a model's template writes them as elements, and not as JSON.

Those of Qwen3-Coder, Nemotron 3, Seed-OSS and DeepSeek-V3.2 do, and Claude's: around a member stand tags
(`<parameter name="key" string="true">value</parameter>`), and in definitions its name stands twice
(`<key>value</key>`). Pure.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from reconciler.gateway.growth import normalized

PARAMETER_TOKENS: Final = 24
"""What stands around one parameter, or one argument: about 17 tokens in DeepSeek-V3.2, 13 in Qwen3-Coder."""
TAG_BYTES: Final = len("\n<></>")
MEMBERS_MAX: Final = 10_000
"""Of arguments that come as text. With more signs of them each sign counts as one: to make them takes memory."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def defined(tools: Any) -> int:
    """Give how many tokens definitions may grow by."""
    found = 0
    again: list[str] = []
    rest = [(tools, False)]
    while rest:
        value, parameters = rest.pop()
        if isinstance(value, list):
            rest += [(item, False) for item in value if isinstance(item, dict | list)]
            continue
        for name, item in value.items() if isinstance(value, dict) else ():
            found += PARAMETER_TOKENS if parameters else TAG_BYTES
            again.append(name)
            if isinstance(item, dict | list):
                rest.append((item, name == "properties"))
            elif name == "type" and isinstance(item, str):  # which stands behind the name, and in a list of arguments
                again.append(item)
    return found + normalized("\n".join(again).encode())


def called(item: dict[str, Any]) -> int:
    """Give how many tokens the arguments of a call may grow by, 0 if an item is none."""
    call = item.get("function_call")
    found = called(call) if isinstance(call, dict) and "function_call" not in call else 0
    return found + arguments(item.get("arguments")) + arguments(item.get("input"))


def arguments(given: Any) -> int:
    """Give how many tokens arguments may grow by, as an object or as its text."""
    if isinstance(given, str) and given.lstrip()[:1] == "{":
        if (signs := given.count(":")) > MEMBERS_MAX:
            return PARAMETER_TOKENS * signs
        try:
            given = _members.decode(given)
        except (ValueError, RecursionError):
            return 0
    return PARAMETER_TOKENS * len(given) if isinstance(given, dict) else 0
