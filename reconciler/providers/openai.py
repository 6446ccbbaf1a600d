"""OpenAI."""

from __future__ import annotations

from reconciler.providers.provider import Provider

_TILES_MAX = 8
"""An image is fitted into 2048 by 2048 and its short side to 768 pixels: at most 2 by 4 tiles of 512."""
_IMAGE = (("gpt-4o-mini", 2833 + 5667 * _TILES_MAX), ("gpt-4o", 85 + 170 * _TILES_MAX), ("o1", 75 + 150 * _TILES_MAX))
_IMAGE_MAX = 2833 + 5667 * _TILES_MAX


def _image(model: str) -> int:
    """Give what the dearest image of a model costs; a model that is not known costs as the dearest one."""
    return next((tokens for prefix, tokens in _IMAGE if model.startswith(prefix)), _IMAGE_MAX)


OPENAI = Provider(
    name="openai",
    title="OpenAI",
    paths={
        "chat": "/v1/chat/completions",
        "responses": "/v1/responses",
        "responses.count": "/v1/responses/input_tokens",
        "responses.compact": "/v1/responses/compact",
        "embeddings": "/v1/embeddings",
    },
    credentials=lambda key, _: {"authorization": f"Bearer {key}"},
    hidden=64,
    hidden_tools=1024,
    image=_image,
    output_field="max_completion_tokens",
    counts={"responses": "responses.count", "responses.compact": "responses.count"},
)
