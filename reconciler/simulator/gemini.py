"""Gemini's own API: generateContent, streamGenerateContent, countTokens.

It knows the shapes of this one API; what a reply says and costs is decided elsewhere.

Invariants: thoughts are in no candidate's count but in the total; every chunk of a stream tells the usage so far, the
last one all of it; the text of the last piece and the reason why it ended come together. Events end in CRLF CRLF;
without `alt=sse` the stream is one JSON array.
"""

from __future__ import annotations

import json
from typing import Any

from reconciler.simulator import reading
from reconciler.simulator.shapes import Declined, Flow, Json, SimulatedAnswer, SimulatedAsk, SimulatedRequest
from reconciler.simulator.writing import encode, pretty, stamp, with_usage

CANDIDATES_MAX = 8


def read(incoming: SimulatedRequest) -> SimulatedAsk:
    """Read a request, or decline it; the same for one that only wants its input counted."""
    model = reading.model_of(incoming)
    body = incoming.body
    if incoming.api == "countTokens" and "contents" not in body:
        body = reading.member(body, "generateContentRequest")
    contents = reading.listed(body, "contents")
    if not all(content.get("role", "user") in ("user", "model", "function") for content in contents):
        raise Declined(400, "Please use a valid role: user, model.")
    config = _member(body, "generationConfig", "generation_config")
    system = _member(body, "systemInstruction", "system_instruction")
    tools = reading.maybe_listed(body, "tools")
    prompt = reading.last_words(contents, "parts")
    calling = _member(_member(body, "toolConfig", "tool_config"), "functionCallingConfig", "function_calling_config")
    return SimulatedAsk(
        model=model,
        input=reading.count(incoming, len(contents) + bool(system), contents, system, tools),
        prompt=prompt,
        stream=incoming.api == "streamGenerateContent",
        limit=reading.whole(config, _either(config, "maxOutputTokens", "max_output_tokens")),
        choices=reading.whole(config, _either(config, "candidateCount", "candidate_count"), 1, CANDIDATES_MAX) or 1,
        thinks=_thinks(incoming, model, _member(config, "thinkingConfig", "thinking_config")),
        call=reading.chosen(_declared(tools), prompt, calling.get("mode") == "ANY"),
        sse="sse" in (incoming.query.get("alt"), incoming.query.get("$alt")),
    )


def _either(body: Json, name: str, old: str) -> str:
    """Give the one of two names that a member has; it may not be there in both at once."""
    if name in body and old in body:
        raise Declined(400, f"{name}: given twice, also as {old}.")
    return old if old in body else name


def _member(body: Json, name: str, old: str) -> Json:
    return reading.member(body, _either(body, name, old))


def _thinks(incoming: SimulatedRequest, model: str, thinking: Json) -> bool:
    if 0 in (thinking.get("thinkingBudget"), thinking.get("thinking_budget")):
        return False
    return bool(thinking) or reading.reasons(incoming.provider, model)


def _declared(tools: list[Json]) -> list[Any]:
    """Give all functions that the tools declare."""
    declared: list[Any] = []
    for tool in tools:
        found = tool.get("functionDeclarations", tool.get("function_declarations"))
        declared += found if isinstance(found, list) else []
    return declared


def usage(answer: SimulatedAnswer, visible: int, last: bool = True) -> Json:
    """Give the usage after so many visible tokens of each candidate."""
    said = answer.choices * visible
    thought = answer.choices * answer.reasoning
    numbers: Json = {"promptTokenCount": answer.input}
    if last or thought:
        numbers["candidatesTokenCount"] = said
    numbers["totalTokenCount"] = answer.input + (said + thought if last or thought else 0)
    if answer.cached:
        numbers["cachedContentTokenCount"] = answer.cached
    numbers["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": answer.input}]
    if answer.cached:
        numbers["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": answer.cached}]
    if thought:
        numbers["thoughtsTokenCount"] = thought
    elif last:
        numbers["candidatesTokensDetails"] = [{"modality": "TEXT", "tokenCount": said}]
    return numbers


def whole(answer: SimulatedAnswer) -> bytes:
    """Write the reply to a request that does not stream."""
    body = _reply(answer, answer.said, ended=True)
    return with_usage(answer, body, "usageMetadata", usage, pretty) + b"\n"


def _reply(answer: SimulatedAnswer, piece: str, *, ended: bool) -> Json:
    """Give a reply that says one piece, without its usage."""
    return {
        "candidates": [_candidate(answer, piece, index, ended) for index in range(answer.choices)],
        "modelVersion": answer.model,
        "responseId": stamp(answer),
    }


def _candidate(answer: SimulatedAnswer, piece: str, index: int, ended: bool) -> Json:
    parts: list[Json] = [{"text": piece}] if piece else []
    if answer.call:
        parts = [{"functionCall": {"name": answer.call.name, "args": json.loads(answer.call.arguments)}}]
    content: Json = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    candidate: Json = {"content": content}
    if ended:
        candidate["finishReason"] = "MAX_TOKENS" if answer.short else "STOP"
    return candidate | {"index": index}


def flow(answer: SimulatedAnswer) -> Flow:
    """Write the stream."""
    pieces = [""] if answer.call or not answer.visible else list(answer.pieces)
    replies = [_reply(answer, piece, ended=False) for piece in pieces[:-1]]
    ends = [_reply(answer, pieces[-1], ended=True) for _ in answer.tellings or [0]]
    if answer.usage != "none":
        for number, reply in enumerate(replies, 1):
            reply["usageMetadata"] = usage(answer, answer.spoken_after(number), last=False)
    for reply, visible in zip(ends, answer.tellings, strict=False):
        reply["usageMetadata"] = usage(answer, visible)
    write = _event if answer.sse else pretty
    written = [write(reply) for reply in (*replies, *ends)]
    if not answer.sse:
        written = [b"[" + written[0], *(b"\n,\r\n" + reply for reply in written[1:])]
        written[-1] += b"\n]"
    return Flow((), tuple(written[: len(replies)]), tuple(written[len(replies) :]))


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ": "), ensure_ascii=False).encode() + b"\r\n\r\n"


def failure(answer: SimulatedAnswer, chunks: int) -> bytes:
    """Write what ends a stream after so many pieces: an error; the pieces before told the usage."""
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    if answer.sse:
        return _event(error)
    return (b"\n,\r\n" if chunks else b"[") + encode(error) + b"\n]"
