"""OpenAI."""

from __future__ import annotations

from reconciler.providers.provider import CHAT_IMAGES, RESPONSES_IMAGES, Provider, places

_TILES_MAX = 8
"""An image is fitted into 2048 by 2048 and its short side to 768 pixels: at most 2 by 4 tiles of 512."""
_IMAGE = (("gpt-4o-mini", 2833 + 5667 * _TILES_MAX), ("gpt-4o", 85 + 170 * _TILES_MAX), ("o1", 75 + 150 * _TILES_MAX))
_IMAGE_MAX = 2833 + 5667 * _TILES_MAX
_RESULTS = places(
    *(f"input[] {kind}.output[] input_image.image_url" for kind in ("function_call_output", "custom_tool_call_output")),
    "input[] computer_call_output.output computer_screenshot.image_url",
)
"""Where tools show images."""


def _image(model: str) -> int:
    """Give what the dearest image of a model costs; a model that is not known costs as the dearest one."""
    return next((tokens for prefix, tokens in _IMAGE if model.startswith(prefix)), _IMAGE_MAX)


OPENAI = Provider(
    name="openai",
    title="OpenAI",
    origin="https://api.openai.com",
    paths={
        "chat": "/v1/chat/completions",
        "responses": "/v1/responses",
        "responses.count": "/v1/responses/input_tokens",
        "responses.compact": "/v1/responses/compact",
        "embeddings": "/v1/embeddings",
    },
    hidden=64,
    hidden_tools=1024,
    image=_image,
    images={"chat": CHAT_IMAGES, "responses": RESPONSES_IMAGES | _RESULTS},
    output_field="max_completion_tokens",
    models=("gpt-4o", "gpt-4o-mini", "o1", "o3-mini"),
    default_model="gpt-4o",
    caps={
        "gpt-4o": 16_384,
        "gpt-4o-2024-05-13": 4_096,
        "gpt-4o-mini": 16_384,
        "gpt-4.1": 32_768,
        "gpt-4-turbo": 4_096,
        "gpt-4": 4_096,
        "gpt-3.5-turbo": 4_096,
        "gpt-5": 128_000,
        "gpt-5-mini": 128_000,
        "o1": 100_000,
        "o3-mini": 100_000,
        "o4-mini": 100_000,
    },
    counts={"responses": "responses.count", "responses.compact": "responses.count"},
    rules={"chat": "chat.once"},
    reads_numbers=True,
)
