"""Embeddings as OpenAI, OpenRouter and Gemini give them, and the answers of the endpoints that only count.

Vectors are all alike: nobody compares them.

Invariants: an embedding has no output tokens; Gemini's older embedding models tell no usage at all.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from reconciler.simulator import gemini, messages, reading, responses
from reconciler.simulator.shapes import Declined, Json, SimulatedRequest
from reconciler.simulator.writing import encode, pretty

OPENAI_DIMENSIONS = 1536
GEMINI_DIMENSIONS = 3072
TELLS_USAGE = "gemini-embedding-2"


class Embedded(NamedTuple):
    """The reply, and what it costs."""

    model: str
    tokens: int
    body: bytes


@lru_cache(maxsize=64)
def _floats(dimensions: int) -> msgspec.Raw:
    return msgspec.Raw(encode([round(dimensions**-0.5, 8)] * dimensions))


@lru_cache(maxsize=64)
def _base64(dimensions: int) -> str:
    return base64.b64encode(struct.pack("<f", dimensions**-0.5) * dimensions).decode()


def openai(incoming: SimulatedRequest, usage: str) -> Embedded:
    """Answer a request in OpenAI's format."""
    body = incoming.body
    model = reading.model_of(incoming)
    inputs = _inputs(body.get("input"))
    default = GEMINI_DIMENSIONS if incoming.provider == "gemini" else OPENAI_DIMENSIONS
    dimensions = reading.whole(body, "dimensions", 1, 8192) or default
    form = body.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise Declined(400, "encoding_format: expected float or base64.", param="encoding_format")
    vector = _base64(dimensions) if form == "base64" else _floats(dimensions)
    tokens = sum(max(1, _tokens(item)) for item in inputs)
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(inputs))]
    reply: Json = {"object": "list", "data": data, "model": model}
    if usage != "none" and (incoming.provider != "gemini" or model.startswith(TELLS_USAGE)):
        reply["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Embedded(model, tokens, encode(reply))


def _inputs(value: Any) -> list[Any]:
    """Give the texts, or lists of tokens, that are to be embedded."""
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, int) for item in value):
            return [value]
        if all(isinstance(item, str | list) for item in value):
            return value
    raise Declined(400, "input: expected text, a list of texts, or tokens.", param="input")


def _tokens(item: Any) -> int:
    return len(item) if isinstance(item, list) else -(-reading.weigh(item) // 4)


def native(incoming: SimulatedRequest, usage: str) -> Embedded:
    """Answer Gemini's embedContent and batchEmbedContents."""
    model = reading.model_of(incoming)
    batch = incoming.api == "batchEmbedContents"
    requests = reading.listed(incoming.body, "requests") if batch else [incoming.body]
    tokens = 0
    vectors = []
    for request in requests:
        content = reading.member(request, "content")
        if not content:
            raise Declined(400, "content: this member is required.")
        dimensions = reading.whole(request, "outputDimensionality", 1, 8192) or GEMINI_DIMENSIONS
        vectors.append({"values": _floats(dimensions)})
        tokens += max(1, -(-reading.weigh(content.get("parts")) // 4))
    reply: Json = {"embeddings": vectors} if batch else {"embedding": vectors[0]}
    if usage != "none" and model.startswith(TELLS_USAGE):
        details = [{"modality": "TEXT", "tokenCount": tokens}]
        reply["usageMetadata"] = {"promptTokenCount": tokens, "promptTokenDetails": details}
        if not batch:
            reply["usageMetadata"] = {"promptTokenCount": tokens, "promptTokensDetails": details}
            reply["usageMetadata"]["totalTokenCount"] = tokens
    return Embedded(model, tokens, encode(reply))


def counted(incoming: SimulatedRequest) -> bytes:
    """Answer a request that only wants its input counted."""
    if incoming.api == "countTokens":
        tokens = gemini.read(incoming).input
        details = [{"modality": "TEXT", "tokenCount": tokens}]
        return pretty({"totalTokens": tokens, "promptTokensDetails": details}) + b"\n"
    if incoming.api == "count_tokens":
        return encode({"input_tokens": messages.read(incoming).input})
    return encode({"object": "response.input_tokens", "input_tokens": responses.read(incoming).input})


EMBEDDERS: dict[str, Callable[[SimulatedRequest, str], Embedded]] = {
    "embeddings": openai,
    "embedContent": native,
    "batchEmbedContents": native,
}
COUNTERS = ("countTokens", "count_tokens", "input_tokens")
