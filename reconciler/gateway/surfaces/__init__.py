"""What clients speak: one module a dialect, one line here. The first is spoken where nothing shows another."""

from reconciler.gateway.surfaces.anthropic import AnthropicWords
from reconciler.gateway.surfaces.gemini import GeminiWords
from reconciler.gateway.surfaces.openai import OpenAiWords
from reconciler.gateway.surfaces.surface import Surface

SURFACES: dict[str, Surface] = {surface.name: surface for surface in (OpenAiWords(), AnthropicWords(), GeminiWords())}

__all__ = ["SURFACES"]
