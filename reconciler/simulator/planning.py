"""From what a request asks to what is answered: how long the reply is, what is thought, what the cache held.

Invariants: thoughts and text of a choice together never pass the request's limit; a call that does not fit is not made.
The same request in the same state of the cache gives the same answer.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from msgspec import structs

from reconciler.simulator.shapes import SimulatedAnswer, SimulatedAsk, SimulatedRequest, SimulatorSettings, UsageTold

TOKENS_MAX = 1_000_000
"""The most that a prompt can ask for, all choices together."""
AUTOMATIC_CACHE_TOKENS = 1024
"""From this size on, OpenAI, Gemini and OpenRouter remember a prompt without being asked, in steps of 128 tokens."""
REMEMBERED = 4096

_LENGTH = re.compile(r"(\d{1,7}) tokens")


class PromptCache:
    """Which requests were seen before, the last few thousand of them."""

    def __init__(self) -> None:
        self._seen: dict[bytes, bool] = {}

    def knows(self, incoming: SimulatedRequest, credential: str) -> bool:
        """Tell whether this very request came before with this credential, and remember it."""
        key = blake2b(incoming.raw, digest_size=16, key=credential.encode()[:64]).digest() + incoming.provider.encode()
        known = self._seen.pop(key, False)
        self._seen[key] = True  # as the newest
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return known


def plan(
    ask: SimulatedAsk,
    incoming: SimulatedRequest,
    credential: str,
    settings: SimulatorSettings,
    cache: PromptCache,
    usage: UsageTold,
) -> SimulatedAnswer:
    """Decide the answer."""
    cached, written = _cached(ask, incoming, credential, cache)
    reasoning = settings.reasoning_tokens if ask.thinks else 0
    call = ask.call
    if call and ask.limit is not None and reasoning + call.tokens > ask.limit:
        call = None
    visible = call.tokens if call else _length(ask, settings)
    short = ask.limit is not None and reasoning + visible > ask.limit
    if ask.limit is not None and short:
        reasoning = min(reasoning, ask.limit)
        visible = ask.limit - reasoning
    prompt = ask.prompt if incoming.api == "responses_compact" else ""
    alike = structs.asdict(ask) | {"call": call, "prompt": prompt, "stream": False}  # one reply, streamed or not
    return SimulatedAnswer(
        **alike,
        provider=incoming.provider,
        api=incoming.api,
        cached=cached,
        written=written,
        visible=visible,
        reasoning=reasoning,
        short=short,
        chunks=settings.chunks,
        text=settings.text,
        usage=usage,
    )


def _length(ask: SimulatedAsk, settings: SimulatorSettings) -> int:
    found = _LENGTH.search(ask.prompt)
    return max(1, min(int(found[1]), TOKENS_MAX // ask.choices)) if found else settings.reply_tokens


def _cached(ask: SimulatedAsk, incoming: SimulatedRequest, credential: str, cache: PromptCache) -> tuple[int, int]:
    """Give the input tokens that the cache held, and those that it takes in."""
    if incoming.api == "messages":
        if not ask.cacheable:
            return 0, 0
        size = ask.input * 3 // 4
        return (size, 0) if cache.knows(incoming, credential) else (0, size)
    if ask.input < AUTOMATIC_CACHE_TOKENS:
        return 0, 0
    return (ask.input // 128 * 128, 0) if cache.knows(incoming, credential) else (0, 0)
