"""How much a model may answer, by its name, whoever serves it.

Models appear weekly: a name that no provider's file has is nothing bad. Invariant: `output_cap` says a number only
where it is the provider's own, so that a limit of at most that is never refused for being too high.
"""

from __future__ import annotations

import re
from functools import lru_cache

from reconciler.providers import PROVIDERS

_OUTPUT_CAPS = {model: cap for provider in PROVIDERS.values() for model, cap in provider.caps.items()}

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
    families = (family for family in _OUTPUT_CAPS if name.startswith(family))
    return next((_OUTPUT_CAPS[family] for family in families if _SNAPSHOT.fullmatch(name, len(family))), None)
