"""litellm as a client."""

import json
from typing import Any

import litellm
from driving import KIND, drive, joined, look

HELLO = [{"role": "user", "content": "hello"}]
PARAMETERS = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
LOOK = {"type": "function", "function": {"name": "look", "description": look.__doc__, "parameters": PARAMETERS}}


def ask(binding: str, messages: list[Any], **more: Any) -> Any:
    """Ask the model."""
    return litellm.completion(f"{KIND}/{binding}", messages, **more)


def plain(binding: str) -> str:
    """Ask once."""
    return ask(binding, HELLO).choices[0].message.content


def tools(binding: str) -> str:
    """Ask, run the tool, tell what it found."""
    messages = [{"role": "user", "content": "call the tool"}]
    answer = ask(binding, messages, tools=[LOOK]).choices[0].message
    (call,) = answer.tool_calls
    found = {"role": "tool", "tool_call_id": call.id, "content": look(**json.loads(call.function.arguments))}
    return ask(binding, [*messages, answer, found], tools=[LOOK]).choices[0].message.content


def stream(binding: str) -> str:
    """Ask for a stream."""
    pieces = ask(binding, HELLO, stream=True)
    return joined([piece.choices[0].delta.content for piece in pieces if piece.choices[0].delta.content])


drive(plain, tools, stream)
