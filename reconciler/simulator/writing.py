"""Writing JSON and events: what all formats have in common.

Invariants: equal values give equal bytes. `twice` writes the lesser usage first, under the same name in the same
object, so that a reader who takes the last member is right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from zlib import crc32

import msgspec

from reconciler.simulator.shapes import Json, SimulatedAnswer

encode = msgspec.json.encode

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
KEPT_TOKENS = 4096
"""Replies up to this size are kept and sent again; larger ones are made each time."""

T = TypeVar("T")


def stamp(answer: SimulatedAnswer) -> str:
    """Give letters and digits that belong to this answer, for its ids."""
    return f"{crc32(encode(answer)):08x}{answer.input:06x}{answer.output:06x}"


def event(value: object) -> bytes:
    """Write one server-sent event without a name."""
    return b"data: " + encode(value) + b"\n\n"


def named_event(name: str, data: bytes) -> bytes:
    """Write one server-sent event with a name."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def pretty(value: object) -> bytes:
    """Write JSON as OpenAI and Gemini do when they do not stream."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def with_usage(
    answer: SimulatedAnswer,
    body: Json,
    name: str,
    usage: Callable[[SimulatedAnswer, int], Json],
    write: Callable[[object], bytes],
) -> bytes:
    """Write a reply with its usage as the answer's mode says: once, not at all, or a lesser one before the true one."""
    usages = [usage(answer, visible) for visible in answer.tellings]
    written = write({**body, name: usages[-1]} if usages else body)
    for less in usages[:-1]:
        written = b'{"' + name.encode() + b'": ' + encode(less) + b"," + written[1:]
    return written


def kept(make: Callable[[SimulatedAnswer], T]) -> Callable[[SimulatedAnswer], T]:
    """Keep what is made of small answers, the last thousand of them."""
    cached = lru_cache(1024)(make)
    return lambda answer: cached(answer) if answer.output <= KEPT_TOKENS else make(answer)
