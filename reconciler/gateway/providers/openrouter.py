"""OpenRouter, which speaks OpenAI's words and Anthropic's, in front of many others' models."""

from __future__ import annotations

from reconciler.gateway.calls import Provider

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
)
