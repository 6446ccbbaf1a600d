"""Anthropic's Messages API, which OpenRouter speaks as well.

It knows the shapes of this one API; what a reply says and costs is decided elsewhere.

Invariants: `input_tokens` leaves out what the cache held or took; the numbers of message_delta are totals, not
increments, and the last one is true. Thoughts are blocks before the text and count as output.
"""

from __future__ import annotations

import json

from reconciler.simulator import reading
from reconciler.simulator.shapes import Declined, Flow, Json, SimulatedAnswer, SimulatedAsk, SimulatedRequest
from reconciler.simulator.writing import COMMENT, encode, named_event, stamp, with_usage

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_MARK = b'"cache_control"'
_EMPTY: dict[str, Json] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}
"""What a block begins with in a stream, by its type."""


def read(incoming: SimulatedRequest) -> SimulatedAsk:
    """Read a request, or decline it; one that only wants its input counted needs no limit."""
    body = incoming.body
    model = reading.model_of(incoming)
    limit = reading.whole(body, "max_tokens")
    if limit is None and incoming.api == "messages":
        raise Declined(400, "max_tokens: this member is required.", param="max_tokens")
    messages = reading.listed(body, "messages")
    for message in messages:
        if message.get("role") not in ("user", "assistant", "system") or "content" not in message:
            raise Declined(400, "messages: every message needs content, and a role: user, assistant or system.")
    thinking = reading.member(body, "thinking")
    if thinking.get("type") == "enabled" and (reading.whole(thinking, "budget_tokens") or 0) >= (limit or 1 << 60):
        raise Declined(400, "max_tokens: must be greater than thinking.budget_tokens.", param="max_tokens")
    tools = reading.maybe_listed(body, "tools")
    prompt = reading.last_words(messages)
    forced = reading.member(body, "tool_choice").get("type") in ("any", "tool")
    return SimulatedAsk(
        model=model,
        input=reading.count(incoming, len(messages), messages, body.get("system"), tools),
        prompt=prompt,
        stream=reading.yes(body, "stream"),
        limit=limit,
        thinks=thinking.get("type") in ("enabled", "adaptive"),
        call=reading.chosen(tools, prompt, forced),
        cacheable=_MARK in incoming.raw,
    )


def usage(answer: SimulatedAnswer, visible: int) -> Json:
    """Give the usage after so many visible tokens."""
    numbers = _start_usage(answer)
    numbers["output_tokens"] = visible + answer.reasoning
    if answer.reasoning:
        numbers["output_tokens_details"] = {"thinking_tokens": answer.reasoning}
    return numbers


def _start_usage(answer: SimulatedAnswer) -> Json:
    return {
        "input_tokens": answer.input - answer.cached - answer.written,
        "cache_creation_input_tokens": answer.written,
        "cache_read_input_tokens": answer.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": answer.written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 1,
        "service_tier": "standard",
    }


def _delta_usage(answer: SimulatedAnswer, visible: int) -> Json:
    numbers = usage(answer, visible)
    del numbers["cache_creation"], numbers["service_tier"]
    return numbers


def whole(answer: SimulatedAnswer) -> bytes:
    """Write the reply to a request that does not stream."""
    body = _message(answer, _blocks(answer), _reason(answer))
    return with_usage(answer, body, "usage", usage, encode)


def _message(answer: SimulatedAnswer, content: list[Json], reason: str | None) -> Json:
    body: Json = {"model": answer.model, "id": f"msg_{stamp(answer)}", "type": "message", "role": "assistant"}
    return body | {"content": content, "stop_reason": reason, "stop_sequence": None}


def _reason(answer: SimulatedAnswer) -> str:
    if answer.call:
        return "tool_use"
    return "max_tokens" if answer.short else "end_turn"


def _blocks(answer: SimulatedAnswer) -> list[Json]:
    blocks: list[Json] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.thought, "signature": stamp(answer)})
    if answer.call:
        made = json.loads(answer.call.arguments)
        blocks.append({"type": "tool_use", "id": f"toolu_{stamp(answer)}", "name": answer.call.name, "input": made})
    elif answer.visible:
        blocks.append({"type": "text", "text": answer.said})
    return blocks


class _Events:
    """Writes the events of one stream, with the blanks before the last brace that the real ones have."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, kind: str, **members: object) -> bytes:
        self._number += 1
        body = encode({"type": kind, **members})
        return named_event(kind, body[:-1] + b" " * (self._number * 5 % 16) + b"}")

    def delta(self, index: int, kind: str, name: str, piece: str) -> bytes:
        """Write one piece of a block."""
        return self("content_block_delta", index=index, delta={"type": kind, name: piece})


def flow(answer: SimulatedAnswer) -> Flow:
    """Write the stream."""
    events = _Events()
    message = _message(answer, [], None)
    if answer.usage != "none":
        message["usage"] = _start_usage(answer)
    head = [COMMENT, COMMENT] if answer.provider == "openrouter" else []
    head.append(events("message_start", message=message))
    chunks: list[bytes] = []
    tail: list[bytes] = []
    for index, block in enumerate(_blocks(answer)):
        head.append(events("content_block_start", index=index, content_block={**block, **_EMPTY[block["type"]]}))
        if index == 0:
            head.append(PING)
        if block["type"] == "thinking":
            head.append(events.delta(index, "thinking_delta", "thinking", answer.thought))
            head.append(events.delta(index, "signature_delta", "signature", stamp(answer)))
            head.append(events("content_block_stop", index=index))
        else:
            kind, name = ("input_json_delta", "partial_json") if answer.call else ("text_delta", "text")
            chunks = [events.delta(index, kind, name, piece) for piece in answer.pieces]
            tail = [events("content_block_stop", index=index)]
    delta = {"stop_reason": _reason(answer), "stop_sequence": None}
    stop = events("message_stop")
    usages: list[Json] = [{"usage": _delta_usage(answer, visible)} for visible in answer.tellings] or [{}]
    tail += [events("message_delta", delta=delta, **told) for told in usages]
    return Flow(tuple(head), tuple(chunks), (*tail, stop))


def failure(answer: SimulatedAnswer, chunks: int) -> bytes:
    """Write what ends a stream after so many pieces: an error, which tells no usage."""
    del answer, chunks
    error = {"type": "overloaded_error", "message": "Overloaded"}
    return named_event("error", encode({"type": "error", "error": error}))
