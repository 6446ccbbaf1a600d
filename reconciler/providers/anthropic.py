"""Anthropic, and its OpenAI-compatible chat endpoint."""

from __future__ import annotations

from reconciler.providers.provider import Provider


def _credentials(key: str, operation: str) -> dict[str, str]:
    """Give the header of the API that the operation belongs to: its own, or the OpenAI-compatible one."""
    return {"authorization": f"Bearer {key}"} if operation in ("chat",) else {"x-api-key": key}


ANTHROPIC = Provider(
    name="anthropic",
    title="Anthropic",
    paths={
        "chat": "/v1/chat/completions",
        "messages": "/v1/messages",
        "messages.count": "/v1/messages/count_tokens",
    },
    credentials=_credentials,
    hidden=64,
    hidden_tools=2048,
    image=lambda _: 4784,
    output_field="max_tokens",
    counts={"messages": "messages.count"},
)
