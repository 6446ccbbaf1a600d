"""Chat completions as OpenAI speaks them, and as Anthropic, Gemini and OpenRouter do on their compatible endpoints.

It knows the shapes of this one API; what a reply says and costs is decided elsewhere.

Invariants: OpenAI tells a stream's usage only if asked, in an extra chunk without choices while the others say null;
OpenRouter always tells it, in a chunk with a choice; Gemini hides thoughts in the total.
"""

from __future__ import annotations

from typing import Any

from reconciler.simulator import reading
from reconciler.simulator.shapes import CREATED, Declined, Flow, Json, SimulatedAnswer, SimulatedAsk, SimulatedRequest
from reconciler.simulator.writing import COMMENT, DONE, encode, event, pretty, stamp, with_usage

CHOICES_MAX = 128
_ID = {"openai": "chatcmpl-", "anthropic": "msg_", "gemini": "", "openrouter": f"gen-{CREATED}-"}


def read(incoming: SimulatedRequest) -> SimulatedAsk:
    """Read a request, or decline it."""
    body = incoming.body
    model = reading.model_of(incoming)
    messages = reading.listed(body, "messages")
    if not all(isinstance(message.get("role"), str) for message in messages):
        raise Declined(
            400, "messages: every message needs a role.", code="missing_required_parameter", param="messages"
        )
    stream = reading.yes(body, "stream")
    options = reading.member(body, "stream_options")
    if options and not stream and incoming.provider == "openai":
        raise Declined(400, "stream_options: only allowed with stream.", param="stream_options")
    tools = reading.maybe_listed(body, "tools")
    prompt = reading.last_words(messages)
    forced = body.get("tool_choice") not in (None, "auto", "none")
    functions = [tool.get("function") for tool in tools]
    return SimulatedAsk(
        model=model,
        input=reading.count(incoming, len(messages), messages, tools, body.get("response_format")),
        prompt=prompt,
        stream=stream,
        limit=_limit(incoming, model),
        choices=_choices(incoming),
        thinks=_thinks(incoming, model),
        call=reading.chosen(functions, prompt, forced),
        told=incoming.provider == "openrouter" or options.get("include_usage") is True,
    )


def _limit(incoming: SimulatedRequest, model: str) -> int | None:
    old = reading.whole(incoming.body, "max_tokens")
    new = reading.whole(incoming.body, "max_completion_tokens")
    if incoming.provider != "openai":
        return old if new is None else new
    if old is not None and new is not None:
        raise Declined(400, "max_tokens and max_completion_tokens exclude each other.", param="max_tokens")
    if old is not None and reading.reasons("openai", model):
        message = "max_tokens is not supported with this model. Use 'max_completion_tokens' instead."
        raise Declined(400, message, code="unsupported_parameter", param="max_tokens")
    return old if new is None else new


def _choices(incoming: SimulatedRequest) -> int:
    choices = reading.whole(incoming.body, "n", 1, CHOICES_MAX) or 1
    if incoming.provider == "anthropic" and choices != 1:
        raise Declined(400, "n: must be 1.", param="n")
    return choices


def _thinks(incoming: SimulatedRequest, model: str) -> bool:
    effort = incoming.body.get("reasoning_effort")
    if effort == "none":
        return False
    return bool(effort or incoming.body.get("reasoning")) or reading.reasons(incoming.provider, model)


def usage(answer: SimulatedAnswer, visible: int) -> Json:
    """Give the usage after so many visible tokens of each choice."""
    said = answer.choices * visible
    thought = answer.choices * answer.reasoning
    total = answer.input + said + thought
    completion = said if answer.provider == "gemini" else said + thought
    numbers: Json = {"prompt_tokens": answer.input, "completion_tokens": completion, "total_tokens": total}
    if answer.provider == "openai":
        numbers["prompt_tokens_details"] = {"cached_tokens": answer.cached, "audio_tokens": 0}
        numbers["completion_tokens_details"] = {
            "reasoning_tokens": thought,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    elif answer.provider == "openrouter":
        numbers |= {"cost": total / 1_000_000, "is_byok": False}
        numbers["prompt_tokens_details"] = {
            "cached_tokens": answer.cached,
            "cache_write_tokens": 0,
            "audio_tokens": 0,
            "video_tokens": 0,
        }
        numbers["cost_details"] = {
            "upstream_inference_cost": total / 1_000_000,
            "upstream_inference_prompt_cost": answer.input / 1_000_000,
            "upstream_inference_completions_cost": (said + thought) / 1_000_000,
        }
        numbers["completion_tokens_details"] = {"reasoning_tokens": thought, "image_tokens": 0, "audio_tokens": 0}
    return numbers


def whole(answer: SimulatedAnswer) -> bytes:
    """Write the reply to a request that does not stream."""
    body: Json = {"id": _ID[answer.provider] + stamp(answer), "object": "chat.completion", "created": CREATED}
    body["model"] = answer.model
    body["choices"] = [_whole_choice(answer, index) for index in range(answer.choices)]
    if answer.provider == "openai":
        body |= {"service_tier": "default", "system_fingerprint": "fp_simulated"}
        return with_usage(answer, body, "usage", usage, pretty) + b"\n"
    if answer.provider == "openrouter":
        body |= {"provider": "Simulator", "system_fingerprint": None}
        return b"\n         \n" + with_usage(answer, body, "usage", usage, encode)
    return with_usage(answer, body, "usage", usage, encode)


def _whole_choice(answer: SimulatedAnswer, index: int) -> Json:
    message: Json = {"role": "assistant"}
    if answer.call is None or answer.provider != "gemini":
        message["content"] = None if answer.call else answer.said
    if answer.call:
        message["tool_calls"] = [_tool_call(answer, answer.call.arguments)]
    choice: Json = {"index": index, "message": message, "finish_reason": _finish(answer)}
    if answer.provider == "openai":
        message |= {"refusal": None, "annotations": []}
        choice["logprobs"] = None
    elif answer.provider == "openrouter":
        message |= {"refusal": None, "reasoning": answer.thought or None}
        if answer.reasoning:
            message["reasoning_details"] = [_reasoning_detail(answer.thought)]
        choice |= {"logprobs": None, "native_finish_reason": _finish(answer)}
    return choice


def _finish(answer: SimulatedAnswer) -> str:
    if answer.call:
        return "tool_calls"
    return "length" if answer.short else "stop"


def _tool_call(answer: SimulatedAnswer, arguments: str) -> Json:
    assert answer.call is not None
    function = {"name": answer.call.name, "arguments": arguments}
    identity = "" if answer.provider == "gemini" else f"call_{stamp(answer)}"
    return {"id": identity, "type": "function", "function": function}


def _reasoning_detail(thought: str) -> Json:
    return {"type": "reasoning.text", "text": thought, "format": "simulator-v1", "index": 0}


def flow(answer: SimulatedAnswer) -> Flow:
    """Write the stream."""
    if answer.provider == "gemini":
        return _gemini_flow(answer)
    chunks = [
        b"".join(_chunk(answer, [_choice(answer, index, _delta(answer, piece))]) for index in range(answer.choices))
        for piece in answer.pieces
    ]
    finish = [
        _chunk(answer, [_choice(answer, index, _delta(answer, ""), _finish(answer))]) for index in range(answer.choices)
    ]
    return Flow((*_head(answer),), tuple(chunks), (*finish, *_usage_chunks(answer), DONE))


def _head(answer: SimulatedAnswer) -> list[bytes]:
    """Give each choice's first chunk; OpenRouter waits and thinks aloud before."""
    head = [COMMENT, COMMENT] if answer.provider == "openrouter" else []
    for index in range(answer.choices):
        delta: Json = {"role": "assistant", "content": "" if answer.call is None else None}
        if answer.call:
            delta["tool_calls"] = [{"index": 0, **_tool_call(answer, "")}]
        if answer.provider == "openai":
            delta["refusal"] = None
        head.append(_chunk(answer, [_choice(answer, index, delta)]))
        if answer.provider == "openrouter" and answer.reasoning:
            thought: Json = {"role": "assistant", "content": "", "reasoning": answer.thought}
            thought["reasoning_details"] = [_reasoning_detail(answer.thought)]
            head.append(_chunk(answer, [_choice(answer, index, thought)]))
    return head


def _delta(answer: SimulatedAnswer, piece: str) -> Json:
    if answer.provider == "openrouter" and not answer.call:
        return {"role": "assistant", "content": piece}
    if not piece:
        return {}
    if answer.call:
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    return {"content": piece}


def _choice(answer: SimulatedAnswer, index: int, delta: Json, finish: str | None = None) -> Json:
    choice: Json = {"index": index, "delta": delta}
    if answer.provider == "openai":
        choice["logprobs"] = None
    choice["finish_reason"] = finish
    if answer.provider == "openrouter":
        choice |= {"native_finish_reason": finish, "logprobs": None}
    return choice


def _chunk(answer: SimulatedAnswer, choices: list[Json], **more: Any) -> bytes:
    body: Json = {"id": _ID[answer.provider] + stamp(answer)}
    if answer.provider == "openrouter":
        body["provider"] = "Simulator"
    body |= {"object": "chat.completion.chunk", "created": CREATED, "model": answer.model}
    if answer.provider == "openai":
        body |= {"service_tier": "default", "system_fingerprint": "fp_simulated"}
    body["choices"] = choices
    if answer.told and answer.provider in ("openai", "anthropic"):
        body["usage"] = None
    return event(body | more)


def _usage_chunks(answer: SimulatedAnswer) -> list[bytes]:
    choices = [_choice(answer, 0, _delta(answer, ""))] if answer.provider == "openrouter" else []
    seen = answer.tellings if answer.told else []
    return [_chunk(answer, choices, usage=usage(answer, visible)) for visible in seen]


def _gemini_flow(answer: SimulatedAnswer) -> Flow:
    """Write the stream of Gemini's compatible endpoint: if asked, each chunk tells the usage so far."""
    pieces = list(answer.pieces)
    told = answer.told and answer.usage != "none"
    events = []
    for number, piece in enumerate(pieces or [""], 1):
        delta: Json = {"role": "assistant", "content": piece}
        if answer.call:
            delta = {"role": "assistant", "tool_calls": [_tool_call(answer, answer.said)]}
            number = len(pieces)
        last = number == max(1, len(pieces))
        choices = [
            {"delta": delta, "index": index} | ({"finish_reason": _finish(answer)} if last else {})
            for index in range(answer.choices)
        ]
        more = {"usage": usage(answer, answer.spoken_after(number))} if told else {}
        events.append(_chunk(answer, choices, **more))
        if last:
            break
    twice = (events[-1],) if told and answer.usage == "twice" else ()
    return Flow((), tuple(events[:-1]), (events[-1], *twice, DONE))


def failure(answer: SimulatedAnswer, chunks: int) -> bytes:
    """Write what ends a stream after so many pieces: an error, with the usage so far."""
    so_far = usage(answer, answer.spoken_after(chunks))
    if answer.provider == "openrouter":
        choices = [_choice(answer, 0, {"content": ""}, "error")]
        return _chunk(answer, choices, error={"code": 502, "message": "The provider went away."}, usage=so_far)
    if answer.provider == "gemini":
        return event({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}})
    error = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}
    return event({"error": error, "usage": so_far})
