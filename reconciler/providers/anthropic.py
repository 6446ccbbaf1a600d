"""Anthropic, and its OpenAI-compatible chat endpoint."""

from __future__ import annotations

from reconciler.providers.provider import CHAT_IMAGES, MESSAGES_IMAGES, Provider, places

_USER = "messages[] <user>.content[]"
_IN_BLOCKS = places(
    f"{_USER} tool_result.content[] image.source base64.data",
    f"{_USER} document.source content.content[] image.source base64.data",
    f"{_USER} tool_result.content[] document.source content.content[] image.source base64.data",
)
"""Images in the results of tools, and in documents that are made of blocks."""

ANTHROPIC = Provider(
    name="anthropic",
    title="Anthropic",
    origin="https://api.anthropic.com",
    paths={
        "chat": "/v1/chat/completions",
        "messages": "/v1/messages",
        "messages.count": "/v1/messages/count_tokens",
    },
    key_header="x-api-key",
    hidden=64,
    hidden_tools=2048,
    image=lambda _: 4784,
    images={"chat": CHAT_IMAGES, "messages": MESSAGES_IMAGES | _IN_BLOCKS},
    models=("claude-sonnet-4-6", "claude-haiku-4-5", "claude-opus-4-6"),
    default_model="claude-sonnet-4-6",
    caps={
        "claude-sonnet-4-6": 128_000,
        "claude-opus-4-6": 128_000,
        "claude-haiku-4-5": 64_000,
        "claude-3-5-sonnet": 8_192,
        "claude-3-5-haiku": 8_192,
        "claude-3-opus": 4_096,
        "claude-3-sonnet": 4_096,
        "claude-3-haiku": 4_096,
    },
    counts={"messages": "messages.count"},
    count_headers={"anthropic-version": "2023-06-01"},
    thinking=(("thinking", "budget_tokens"),),
    warms=True,
    elements=True,
)
