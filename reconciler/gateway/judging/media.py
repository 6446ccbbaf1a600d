"""Media in a prompt: whether they are text, an image, or something to be counted, whatever they say they are.

Google's count of a film or a document is said to know neither how many pictures a second are looked at
(googleapis/python-genai#1100) nor how closely (googleapis/js-genai#1134): what asks for more than is usual multiplies
it. https://ai.google.dev/gemini-api/docs/media-resolution

An image counts as one instead of its bytes only where the provider reads it as an image (`Provider.images`), and in
letters of base64 alone. Elsewhere it counts as both: one reads it, another writes it into the prompt.

`tiles`: the provider has models of Google's, at which the size of an image counts. `shown`: an image that stands here
is read as one. Pure but for what it notes.
"""

from __future__ import annotations

import math
import re
import string
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from reconciler.gateway.growth import normalized
from reconciler.gateway.judging import pictures
from reconciler.gateway.judging.found import Found
from reconciler.gateway.judging.rules import Treatment

MEDIA = "inline documents, sound or films"
FETCHED = "a URL that the provider fetches"
_MEDIA_TYPES = ("media_type", "mimeType", "mime_type", "format")
_IMAGES = frozenset(f"image/{name}" for name in ("png", "jpeg", "jpg", "webp", "gif", "heic", "heif"))
_TEXT_DATA = {
    "text": r"text/plain",
    "redacted_thinking": r"",
    "reasoning.encrypted": r"unknown|[a-z]+(?:-[a-z]+)+-v\d+",
}
"""Parts and sources whose `data` is text, or a model's own words, encrypted: no fewer bytes than there are tokens. With
each, what it may say of its format: one that says more is sound or a film in disguise, to who reads over its type."""
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
_URL_SAFE = str.maketrans("-_", "+/")
_LETTERS = (string.ascii_letters + string.digits + "+/-_= \r\n").encode()
FPS_MAX: Final = 24
"""Pictures a second; one is usual."""
CLOSER: Final = 4
"""A picture of a film has 280 tokens instead of 70, a page of a document 1,120 instead of 560."""
_USUAL = frozenset(f"MEDIA_RESOLUTION_{level}" for level in ("UNSPECIFIED", "LOW", "MEDIUM"))
_NUMBER_CHARS_MAX: Final = 32


def closely(found: Found, rule: Treatment, item: Any) -> None:
    """Take note of how closely media are looked at."""
    if rule is Treatment.FRAMES:
        found.frames = max(found.frames, _frames(item))
    elif (closer := _closeness(item)) is None:
        found.refuse("media that say how many tokens they are")
    else:
        found.closer = max(found.closer, closer)


def _frames(metadata: Any) -> int:
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


def _closeness(said: Any) -> int | None:
    """Give by how much more may be read than usual, None if a part says itself how much."""
    if isinstance(said, dict):
        if any(said.get(name) is not None for name in ("numTokens", "num_tokens")):
            return None
        said = said.get("level")
    return 1 if said is None or (isinstance(said, str) and said in _USUAL) else CLOSER


def text(
    found: Found, rule: Treatment, item: str, owner: dict[str, Any], *, tiles: bool, shown: Callable[[], bool]
) -> None:
    """Judge a text that may be an address or media; `owner` is the object that has it."""
    if rule is Treatment.ADDRESS and item[:5].lower() == "data:":
        _inline(found, item, {item[5:60].partition(",")[0].partition(";")[0]}, tiles, shown)
    elif rule is Treatment.ADDRESS:
        found.refuse(FETCHED)
    elif rule is Treatment.INLINE:
        said = {owner[of] for of in _MEDIA_TYPES if isinstance(owner.get(of), str)}
        formats = _TEXT_DATA.get(owner["type"]) if isinstance(owner.get("type"), str) else None
        if formats is None or not all(re.fullmatch(formats, one) for one in said):
            named = said if formats is None and "format" not in owner else set()  # it names sound
            _inline(found, item, named, tiles, shown)
    elif rule in (Treatment.FILE, Treatment.SOUND):
        found.count(MEDIA)  # names and types beside it are what the client says


def _inline(found: Found, data: str, media_types: set[str], tiles: bool, shown: Callable[[], bool]) -> None:
    media_type = media_types.pop().lower() if len(media_types) == 1 else ""
    if media_type.startswith("text/") and (grows := _unpacked(data, media_type, found)) is not None:
        found.rendered += grows
        return
    tokens = pictures.tokens(data) if tiles else None
    if media_type not in _IMAGES:
        found.count(MEDIA)
        if tokens is None and not (tiles and media_type.startswith("image/")):  # whatever it says it is
            return
    found.images += 1
    if media_type in _IMAGES and _is_base64(data) and shown():
        found.image_bytes += len(data)
    if tokens is not None:
        found.tiled.append(tokens)


def _is_base64(data: str) -> bool:
    """Tell whether nothing but letters of base64 stands in a text, or behind the head of a data: URL."""
    if data[:5].lower() == "data:":
        head, _, data = data.partition(",")
        if not head.lower().endswith(";base64"):
            return False
    return data.isascii() and not data.encode().translate(None, _LETTERS)


def _unpacked(data: str, media_type: str, found: Found) -> int | None:
    """Give by how much text in base64, or in a data: URL, may grow when it is read; None if that does not show."""
    head, _, packed = data.partition(",") if data[:5].lower() == "data:" else (f"{media_type};base64", "", data)
    words = [word.strip() for word in head.lower().split(";")[1:]]
    if any(word.partition("=")[2].strip('"') not in _CHARSETS for word in words if word != "base64"):
        return None
    try:
        if "base64" in words:
            letters = packed.translate(_URL_SAFE).rstrip("=")
            text = b64decode(letters + "=" * (-len(letters) % 4), validate=True)
        else:
            text = unquote_to_bytes(packed.encode("latin-1" if found.packed else "utf-8"))
        return max(0, normalized(text) - len(data))
    except ValueError:  # no base64, or no UTF-8
        return None
