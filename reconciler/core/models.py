"""The providers' models that are known by name, and how much each may answer.

Models appear weekly: a name that is not here is nothing bad. Invariant: `output_cap` says a number only where it is the
provider's own, so that a limit of at most that is never refused for being too high.
"""

from __future__ import annotations

import re
from functools import lru_cache

KNOWN_MODELS: dict[str, tuple[str, ...]] = {
    "anthropic": ("claude-sonnet-4-6", "claude-haiku-4-5", "claude-opus-4-6"),
    "gemini": ("gemini-2.5-flash", "gemini-2.0-flash", "gemini-2.5-pro"),
    "openai": ("gpt-4o", "gpt-4o-mini", "o1", "o3-mini"),
}
"""What a manifest names without a warning."""

_OUTPUT_CAPS = {
    "claude-sonnet-4-6": 128_000,
    "claude-opus-4-6": 128_000,
    "claude-haiku-4-5": 64_000,
    "claude-3-5-sonnet": 8_192,
    "claude-3-5-haiku": 8_192,
    "claude-3-opus": 4_096,
    "claude-3-sonnet": 4_096,
    "claude-3-haiku": 4_096,
    "gemini-2.5-flash": 65_536,
    "gemini-2.5-flash-lite": 65_536,
    "gemini-2.5-pro": 65_536,
    "gemini-2.0-flash": 8_192,
    "gemini-2.0-flash-lite": 8_192,
    "gemini-1.5-pro": 8_192,
    "gemini-1.5-flash": 8_192,
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
}
"""Tokens that one answer may have at most. Source: the models table of litellm 1.110 (November 2026), the providers'
model pages for older ones."""

OUTPUT_CAP_MAX = max(_OUTPUT_CAPS.values())
"""What a model that is not known is taken to answer at most, where its answer cannot be limited."""

_SNAPSHOT = re.compile(
    r"[-@](?:\d{4}-\d\d-\d\d|\d{8}|\d{3,4}(?:-preview)?|latest|default|preview(?:-[\d-]+)?|exp(?:-[\d-]+)?)"
)
"""How providers name one state of a model: gpt-4o-2024-08-06, claude-haiku-4-5-20251001, gemini-2.0-flash-001,
gpt-4-0613, claude-haiku-4-5@20251001, gemini-2.5-flash-preview-05-20."""


@lru_cache(maxsize=256)
def output_cap(model: str) -> int | None:
    """Give the most tokens that one answer of a model may have, None if that is not known.

    A dated snapshot, a fine-tuned model (`ft:gpt-4o-mini:acme::id`) and OpenRouter's `vendor/model:variant` are their
    family's.
    """
    name = model.lower()
    name = name.split(":")[1] if name.startswith("ft:") else name.rpartition("/")[2].partition(":")[0]
    if name.startswith("claude-"):
        name = name.replace(".", "-")  # OpenRouter's way to write it
    if name in _OUTPUT_CAPS:
        return _OUTPUT_CAPS[name]
    return next((cap for family, cap in _OUTPUT_CAPS.items() if _is_snapshot(name, family)), None)


def _is_snapshot(name: str, family: str) -> bool:
    return name.startswith(family) and _SNAPSHOT.fullmatch(name, len(family)) is not None
