"""OpenRouter, which speaks OpenAI's words and Anthropic's, in front of many others' models."""

from __future__ import annotations

from reconciler.providers.provider import Provider

_UNLIMITED = ("siliconflow",)
"""Its `max_tokens` is for what follows the thinking, of which there may be 32,768 tokens more
(docs.siliconflow.com/en/userguide/capabilities/reasoning). OpenRouter says of it that it keeps the limit of no request:
an answer of 1,024 tokens at most had 26,000 (LostRuins/lite.koboldai.net#166)."""

OPENROUTER = Provider(
    name="openrouter",
    title="OpenRouter",
    paths={
        "chat": "/api/v1/chat/completions",
        "responses": "/api/v1/responses",
        "embeddings": "/api/v1/embeddings",
        "messages": "/api/v1/messages",
        "messages.count": "/api/v1/messages/count_tokens",
    },
    credentials=lambda key, _: {"authorization": f"Bearer {key}"},
    hidden=1024,
    hidden_tools=2048,
    image=lambda _: 2833 + 5667 * 8,
    output_field="max_tokens",
    counts={},
    unlimited=_UNLIMITED,
)
