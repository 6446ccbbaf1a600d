"""Prompts of nothing but text, as most are: told apart by the parser, which is quicker than looking. Pure.

Invariant: what is told apart here holds no field and no kind but those that stand below.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reconciler.gateway.body import VALUES_MAX, numbers_in
from reconciler.gateway.growth import blocks, rendered
from reconciler.gateway.judging.elements import ANSWERING, arguments, quoted
from reconciler.gateway.packing import packed


class _PlainPart(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    type: Literal["text", "input_text", "output_text"] = "text"
    cache_control: dict[str, str] | None = None


class _PlainCall(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: str = ""


class _PlainToolCall(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    function: _PlainCall
    type: Literal["function"] = "function"


class _PlainMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: str = ""
    content: str | list[_PlainPart] | None = None
    parts: list[_PlainPart] | None = None
    type: Literal["message", "text"] = "message"
    text: str = ""
    name: str | None = None
    refusal: str | None = None
    tool_call_id: str = ""
    tool_calls: list[_PlainToolCall] | None = None


_PLAIN = msgspec.json.Decoder(str | list[_PlainMessage] | _PlainMessage | None)


def plain(raw: Any, *, elements: bool, quotes: bool) -> int | None:
    """Give by how much a prompt of nothing but text may grow when it is written anew, None if it is another one."""
    if numbers_in(raw) is not None:  # tokens to be embedded: they may be many
        return 0
    text = memoryview(raw)
    if len(text) > VALUES_MAX and sum(block.count(b"{") for block in blocks(text)) > VALUES_MAX:
        return None  # too many messages to be made, or words with braces
    other = packed(text)
    try:
        found = _PLAIN.decode(text if other is None else other)
    except (ValueError, RecursionError):
        return None
    messages = found if isinstance(found, list) else [found]
    calls = [call for message in messages if isinstance(message, _PlainMessage) for call in message.tool_calls or ()]
    more = sum(arguments(call.function.arguments) for call in calls) if elements else 0
    more += rendered(text) if calls else 0
    if quotes:
        texts = [call.function.arguments for call in calls]
        for message in messages:
            texts += _said(message) if isinstance(message, _PlainMessage) else ()
        more += sum(quoted(text, is_packed=other is not None) for text in texts)
    return more


def _said(message: _PlainMessage) -> list[str]:
    """Give what a tool said, if a message holds that."""
    if message.role not in ANSWERING:
        return []
    return [message.content] if isinstance(message.content, str) else [part.text for part in message.content or ()]
