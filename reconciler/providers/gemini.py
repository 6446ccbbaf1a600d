"""Google's Gemini API, and its OpenAI-compatible endpoints."""

from __future__ import annotations

from reconciler.providers.provider import CHAT_IMAGES, Provider, places

_TILE = 258
_TILES_MAX = 32
_PARTS = [f"{role}.parts[]" for role in ("", "<user>", "<model>", "<function>")]
_INLINE = (".inlineData .data", ".inline_data .data")
_GENERATE = places(
    *(f"contents[] {parts} {data}" for parts in _PARTS for data in _INLINE),
    *(
        f"contents[] {parts} {response} .parts[] {data}"
        for parts in _PARTS
        for response in (".functionResponse", ".function_response")
        for data in _INLINE
    ),
)
_EMBED = places(
    *(f"{at} {parts} {data}" for at in ("content", "requests[] .content") for parts in _PARTS for data in _INLINE)
)
"""Parts have no type, and a text part has no other data."""

GEMINI = Provider(
    name="gemini",
    title="Gemini",
    origin="https://generativelanguage.googleapis.com",
    paths={
        "chat": "/v1beta/openai/chat/completions",
        "embeddings": "/v1beta/openai/embeddings",
        "generate": "/{version}/models/{model}:{method}",
        "generate.count": "/{version}/models/{model}:countTokens",
        "embed": "/{version}/models/{model}:{method}",
    },
    key_header="x-goog-api-key",
    hidden=64,
    hidden_tools=1024,
    image=lambda _: _TILE * _TILES_MAX,
    images={"chat": CHAT_IMAGES, "generate": _GENERATE, "embed": _EMBED},
    version="v1beta",
    models=("gemini-2.5-flash", "gemini-2.0-flash", "gemini-2.5-pro"),
    default_model="gemini-2.0-flash",
    caps={
        "gemini-2.5-flash": 65_536,
        "gemini-2.5-flash-lite": 65_536,
        "gemini-2.5-pro": 65_536,
        "gemini-2.0-flash": 8_192,
        "gemini-2.0-flash-lite": 8_192,
        "gemini-1.5-pro": 8_192,
        "gemini-1.5-flash": 8_192,
    },
    counts={"generate": "generate.count"},
    has_googles=lambda _: True,
    unrolls=True,
)
