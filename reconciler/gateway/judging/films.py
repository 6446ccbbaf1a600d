"""By how much Google's models may read more of a film, or of a document, than a count of it says. Pure.

The count is said to know neither how many pictures a second are looked at (googleapis/python-genai#1100) nor how
closely (googleapis/js-genai#1134): what asks for more than is usual multiplies it.
https://ai.google.dev/gemini-api/docs/media-resolution
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

FPS_MAX: Final = 24
"""Pictures a second; one is usual."""
CLOSER: Final = 4
"""A picture of a film has 280 tokens instead of 70, a page of a document 1,120 instead of 560."""
_USUAL = frozenset(f"MEDIA_RESOLUTION_{level}" for level in ("UNSPECIFIED", "LOW", "MEDIUM"))
_NUMBER_CHARS_MAX: Final = 32


def frames(metadata: Any) -> int:
    """Give how many pictures a second are looked at, from one on."""
    said = metadata.get("fps") if isinstance(metadata, dict) else None
    if said is None:
        return 1
    text = bytes(said).decode() if isinstance(said, msgspec.Raw) else str(said)
    try:
        found = float(text[:_NUMBER_CHARS_MAX])
    except ValueError:
        return FPS_MAX
    return math.ceil(found) if 0 < found <= FPS_MAX else FPS_MAX


def closeness(said: Any) -> int | None:
    """Give by how much more may be read than usual, None if a part says itself how much."""
    if isinstance(said, dict):
        if any(said.get(name) is not None for name in ("numTokens", "num_tokens")):
            return None
        said = said.get("level")
    return 1 if said is None or (isinstance(said, str) and said in _USUAL) else CLOSER
