"""The Responses API as OpenAI and OpenRouter speak it.

It knows the shapes of this one API; what a reply says and costs is decided elsewhere.

Invariants: usage stands in the last event alone and is null before; the events of one stream are numbered from 0
without a gap. OpenAI names its events and has no [DONE]; OpenRouter does neither, and comments while it works.
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from reconciler.simulator import reading
from reconciler.simulator.shapes import CREATED, Declined, Flow, Json, SimulatedAnswer, SimulatedAsk, SimulatedRequest
from reconciler.simulator.writing import COMMENT, DONE, encode, event, named_event, pretty, stamp, with_usage

_SPOKEN = {
    "message": ("output_text", "text"),
    "function_call": ("function_call_arguments", "arguments"),
    "custom_tool_call": ("custom_tool_call_input", "input"),
}
"""By an item's type what the events of its text are named after, and the member that has all of it in the last."""


def read(incoming: SimulatedRequest) -> SimulatedAsk:
    """Read a request, or decline it; the same for one that only wants its input counted."""
    body = incoming.body
    model = reading.model_of(incoming)
    items = body.get("input")
    if not isinstance(items, str | list) or items == []:
        raise Declined(400, "input: expected text, or items.", code="missing_required_parameter", param="input")
    listed = reading.listed(body, "input") if isinstance(items, list) else [{"role": "user", "content": items}]
    prompt = reading.last_words(listed)
    tools = reading.maybe_listed(body, "tools")
    added = [item for item in listed if item.get("type") == "additional_tools"]
    offered = [*tools, *(tool for item in added for tool in reading.maybe_listed(item, "tools"))]
    forced = body.get("tool_choice") not in (None, "auto", "none")
    reasoning = reading.member(body, "reasoning")
    effort = reasoning.get("effort")
    content = (items, body.get("instructions"), tools, body.get("text"))
    return SimulatedAsk(
        model=model,
        input=reading.count(incoming, len(listed) + bool(body.get("instructions")), *content),
        prompt=prompt,
        stream=reading.yes(body, "stream"),
        limit=reading.whole(body, "max_output_tokens", 16 if incoming.provider == "openai" else 1),
        thinks=effort != "none" and (bool(reasoning) or reading.reasons(incoming.provider, model)),
        call=reading.chosen(offered, prompt, forced),
    )


def read_compaction(incoming: SimulatedRequest) -> SimulatedAsk:
    """Read a request to make its input shorter, or decline it: it neither streams nor has a limit.

    Nothing is kept of earlier responses: who only names one has an empty input.
    """
    if incoming.body.get("previous_response_id") and not incoming.body.get("input"):
        incoming = incoming._replace(body={**incoming.body, "input": ""})
    return structs.replace(read(incoming), stream=False, limit=None, call=None)


def usage(answer: SimulatedAnswer, visible: int) -> Json:
    """Give the usage after so many visible tokens."""
    output = visible + answer.reasoning
    total = answer.input + output
    numbers: Json = {
        "input_tokens": answer.input,
        "input_tokens_details": {"cached_tokens": answer.cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning},
        "total_tokens": total,
    }
    if answer.provider == "openrouter":
        numbers |= {"cost": total / 1_000_000, "is_byok": False}
        numbers["cost_details"] = {
            "upstream_inference_cost": total / 1_000_000,
            "upstream_inference_input_cost": answer.input / 1_000_000,
            "upstream_inference_output_cost": output / 1_000_000,
        }
    return numbers


def whole(answer: SimulatedAnswer) -> bytes:
    """Write the reply to a request that does not stream."""
    body = _response(answer, "incomplete" if answer.short else "completed", _items(answer, "completed"))
    if answer.provider == "openai":
        body["billing"] = {"payer": "developer"}
    if answer.provider == "openrouter":
        return b"\n         \n" + with_usage(answer, body, "usage", usage, encode)
    return with_usage(answer, body, "usage", usage, pretty)


def compaction(answer: SimulatedAnswer) -> bytes:
    """Write what is left of an input that was made shorter: what the user said, and one item for all else."""
    part = {"type": "input_text", "text": answer.prompt}
    said = {"id": f"msg_{stamp(answer)}", "type": "message", "status": "completed", "role": "user", "content": [part]}
    rest = {"id": f"cmp_{stamp(answer)}", "type": "compaction", "encrypted_content": answer.said}
    body: Json = {"id": f"resp_{stamp(answer)}", "object": "response.compaction", "created_at": CREATED}
    return with_usage(answer, body | {"output": [said, rest]}, "usage", usage, pretty)


def _response(answer: SimulatedAnswer, status: str, output: list[Json]) -> Json:
    """Give the response object without its usage."""
    prefix = f"gen-{CREATED}-" if answer.provider == "openrouter" else "resp_"
    body: Json = {"id": prefix + stamp(answer), "object": "response", "created_at": CREATED, "status": status}
    body |= {"completed_at": CREATED if status == "completed" else None, "background": False, "error": None}
    body["incomplete_details"] = {"reason": "max_output_tokens"} if status == "incomplete" else None
    body |= {"instructions": None, "max_output_tokens": answer.limit, "max_tool_calls": None, "model": answer.model}
    body |= {"output": output, "parallel_tool_calls": True, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    body |= {"previous_response_id": None, "prompt_cache_key": None, "safety_identifier": None}
    body |= {"reasoning": {"effort": None, "summary": None}, "service_tier": "default", "temperature": 1.0}
    body |= {"store": answer.provider == "openai", "text": {"format": {"type": "text"}}, "tool_choice": "auto"}
    body |= {"tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "metadata": {}}
    if answer.provider == "openai":
        body |= {"prompt_cache_retention": None, "user": None}
    return body


def _items(answer: SimulatedAnswer, status: str) -> list[Json]:
    """Give what the reply holds: thoughts that nobody sees, and a message or a call."""
    items = [{"id": f"rs_{stamp(answer)}", "type": "reasoning", "summary": []}] if answer.reasoning else []
    return [*items, _said(answer, status, answer.said)] if answer.visible else items


def _said(answer: SimulatedAnswer, status: str, said: str) -> Json:
    """Give the message or the call, as far as it is said."""
    call = answer.call
    if call is None:
        content = [_part(said)] if said else []
        item = {"id": f"msg_{stamp(answer)}", "type": "message", "status": status}
        return {**item, "content": content, "role": "assistant"}
    prefix, kind, field = ("ctc", "custom_tool_call", "input") if call.free else ("fc", "function_call", "arguments")
    item = {"id": f"{prefix}_{stamp(answer)}", "type": kind, "status": status, field: said}
    return {**item, "call_id": f"call_{stamp(answer)}", "name": call.name}


def _part(said: str) -> Json:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": said}


class _Events:
    """Writes the events of one stream, numbering them."""

    def __init__(self, answer: SimulatedAnswer, number: int = 0) -> None:
        self._named = answer.provider == "openai"
        self._number = number

    def __call__(self, kind: str, **members: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        return named_event(kind, encode(body)) if self._named else event(body)


def flow(answer: SimulatedAnswer) -> Flow:
    """Write the stream."""
    events = _Events(answer)
    begun = {**_response(answer, "in_progress", []), "usage": None}
    head = [COMMENT, COMMENT] if answer.provider == "openrouter" else []
    head += [events("response.created", response=begun), events("response.in_progress", response=begun)]
    items = _items(answer, "completed")
    if answer.reasoning:
        head += [events(f"response.output_item.{step}", output_index=0, item=items[0]) for step in ("added", "done")]
    spoken = _spoken(answer, events, items[-1], len(items) - 1) if answer.visible else Flow((), (), ())
    end = "incomplete" if answer.short else "completed"
    usages: list[Json | None] = [usage(answer, visible) for visible in answer.tellings]
    body = _response(answer, end, items)
    tail = [events(f"response.{end}", response={**body, "usage": told}) for told in usages or [None]]
    if answer.provider == "openrouter":
        tail.append(DONE)
    return Flow((*head, *spoken.head), spoken.chunks, (*spoken.tail, *tail))


def _spoken(answer: SimulatedAnswer, events: _Events, item: Json, place: int) -> Flow:
    """Write the events of the message or the call, which is `item` when it is done."""
    kind, member = _SPOKEN[item["type"]]
    at: Json = {"item_id": item["id"], "output_index": place}
    more: Json = {}
    head = [events("response.output_item.added", output_index=place, item=_said(answer, "in_progress", ""))]
    if answer.call is None:
        at["content_index"] = 0
        more["logprobs"] = []
        head.append(events("response.content_part.added", **at, part=_part("")))
    chunks = tuple(events(f"response.{kind}.delta", **at, delta=piece, **more) for piece in answer.pieces)
    tail = [events(f"response.{kind}.done", **at, **{member: answer.said}, **more)]
    if answer.call is None:
        tail.append(events("response.content_part.done", **at, part=_part(answer.said)))
    tail.append(events("response.output_item.done", output_index=place, item=item))
    return Flow(tuple(head), chunks, tuple(tail))


def failure(answer: SimulatedAnswer, chunks: int) -> bytes:
    """Write what ends a stream after so many pieces: a failed response with the usage so far."""
    so_far = usage(answer, answer.spoken_after(chunks))
    body = {**_response(answer, "failed", []), "usage": so_far}
    body["error"] = {"code": "server_error", "message": "The server had an error."}
    comments = 2 if answer.provider == "openrouter" else 0
    number = len(flow(answer).head) - comments + min(chunks, len(answer.pieces))
    ended = _Events(answer, number)("response.failed", response=body)
    return ended + DONE if answer.provider == "openrouter" else ended
