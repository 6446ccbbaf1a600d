"""OpenRouter, which speaks OpenAI's words and Anthropic's, in front of many others' models."""

from __future__ import annotations

import re

from reconciler.providers.provider import CHAT_IMAGES, MESSAGES_IMAGES, RESPONSES_IMAGES, Provider, acts

_UNLIMITED = ("siliconflow",)
"""Its `max_tokens` is for what follows the thinking, of which there may be 32,768 tokens more
(docs.siliconflow.com/en/userguide/capabilities/reasoning). OpenRouter says of it that it keeps the limit of no request:
an answer of 1,024 tokens at most had 26,000 (LostRuins/lite.koboldai.net#166)."""

_WISHES = (
    *("order", "only", "ignore", "allow_fallbacks", "require_parameters", "data_collection", "zdr", "quantizations"),
    *("enforce_distillable_text", "sort", "max_price", "preferred_min_throughput", "preferred_max_latency"),
)
"""What `provider` may hold (openrouter.ai/docs, "Provider Routing"). `options` would go to who answers, unread."""

_BUDGETED = re.compile(r"anthropic|claude|^openrouter/", re.IGNORECASE)
"""Models whose effort becomes a budget of thinking, which may be above the output limit (decision 0097)."""

_ACTS_THERE = re.compile(r":online|@|^perplexity/|^openrouter/fusion|multi-?agent", re.IGNORECASE)
"""Models that search, and presets, whose content is not known. Fusion asks several models, which search, and is charged
as all of them; Grok's multi-agent ones read a prompt of 40 tokens as 39,263."""


OPENROUTER = Provider(
    name="openrouter",
    title="OpenRouter",
    origin="https://openrouter.ai",
    paths={
        "chat": "/api/v1/chat/completions",
        "responses": "/api/v1/responses",
        "embeddings": "/api/v1/embeddings",
        "messages": "/api/v1/messages",
        "messages.count": "/api/v1/messages/count_tokens",
    },
    hidden=1024,
    hidden_tools=2048,
    image=lambda _: 2833 + 5667 * 8,
    # Not in the results of tools: who turns them into chat may write them out (CommandCodeAI/command-code#902: an image
    # of 10 kB had 9,744 tokens there, and 216 in a message).
    images={"chat": CHAT_IMAGES, "messages": MESSAGES_IMAGES, "responses": RESPONSES_IMAGES},
    named_by_vendor=True,
    rules={"chat": "chat.once", "messages": "messages.elsewhere"},
    acts=lambda model: acts(model) or _ACTS_THERE.search(model) is not None,
    thinking=(("thinking", "budget_tokens"), ("reasoning", "max_tokens")),
    thinking_least=1024,  # openrouter.ai/docs, "Reasoning Tokens": what Anthropic's models think at least
    efforts=lambda model: _BUDGETED.search(model) is not None,
    unlimited=_UNLIMITED,
    wishes=_WISHES,
    rerouting=("models", "route"),
    elements=True,
    rewrites=True,
    unrolls=True,
    remembers=False,
)
