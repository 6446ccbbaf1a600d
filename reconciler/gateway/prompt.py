"""What a prompt holds besides text: images, other media, and what the provider fetches or remembers.

The words of all APIs are looked for at once, at any depth; a body is decoded only where one of them may stand in it.
What a model or a client's function said is text, whatever it looks like. Where a field says two things, or something
that is not known, the careful one counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from reconciler.gateway.body import Body
from reconciler.gateway.refusal import Refusal

DEPTH_MAX = 64

_REMOTE = frozenset(("file_id", "fileId", "file_url", "fileUrl", "fileUri", "file_uri", "vector_store_ids"))
_ADDRESSES = frozenset(("url", "image_url", "video_url", "audio_url"))
_OPAQUE = frozenset(("functionCall", "function_call", "arguments", "args", "annotations"))
"""Fields that hold what a model or a client's function said: text to the provider, whatever it looks like."""
_RESPONSES = frozenset(("functionResponse", "function_response"))
"""Gemini's answers of a client's function; `response` in them is such text, beside it may be media."""
_SAID = frozenset(("tool_use", "server_tool_use", "mcp_tool_use", "function_call", "custom_tool_call"))
"""Parts whose `input` is such text."""
_TEXT_DATA = frozenset(("text", "redacted_thinking", "reasoning.encrypted"))
"""Parts and sources whose `data` is text, or a model's own words, encrypted: no fewer bytes than there are tokens."""
_KEPT_ELSEWHERE = frozenset(("item_reference", "container_upload", "compaction"))
_MEDIA_TYPES = ("media_type", "mimeType", "mime_type", "format")
_IMAGES = frozenset(f"image/{name}" for name in ("png", "jpeg", "jpg", "webp", "gif", "heic", "heif"))
_FETCHED = "a URL that the provider fetches"
_KEPT = "files that the provider keeps or fetches"
_MEDIA = "inline documents, sound or films"
_WORDS = tuple(
    f'"{word}"'.encode()
    for word in (
        *_REMOTE,
        *_ADDRESSES,
        *_KEPT_ELSEWHERE,
        *("source", "inlineData", "inline_data", "file_data", "data", "audio", "citations"),
    )
)


class Found(NamedTuple):
    """What a prompt holds besides text; the last two as in `Needs`."""

    images: int = 0
    image_bytes: int = 0
    unbounded: str = ""
    uncertain: str = ""


def look(body: Body, fields: Iterable[str]) -> Found:
    """Look through the fields of a body that make up its prompt. Raises Refusal if they cannot be read."""
    if not body.may_hold(*_WORDS):
        return Found()
    walk = _Walk()
    for name in fields:
        walk.into(body.get(name))
    return Found(walk.images, walk.image_bytes, walk.unbounded, walk.uncertain)


class _Walk:
    """Walks through a prompt and notes what is not text."""

    def __init__(self) -> None:
        self.images = self.image_bytes = 0
        self.unbounded = self.uncertain = ""

    def into(self, value: Any, depth: int = 0) -> None:
        """Look at a value and all below it."""
        if depth > DEPTH_MAX:
            raise Refusal("invalid", "the request is nested too deeply")
        if isinstance(value, list):
            for item in value:
                if isinstance(item, dict | list):
                    self.into(item, depth + 1)
        elif isinstance(value, dict):
            self._object(value, depth)

    def _object(self, value: dict[str, Any], depth: int) -> None:
        kind = value.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind in _KEPT_ELSEWHERE:
            self.unbounded = f"{kind} items"
        for name, item in value.items():
            if name in _OPAQUE or (name == "input" and kind in _SAID):
                self._files_of(name, item, depth)
            elif name in _RESPONSES and isinstance(item, dict):
                self.into({inner: given for inner, given in item.items() if inner != "response"}, depth + 1)
            elif not self._reference(name, item, value, kind) and isinstance(item, dict | list):
                self.into(item, depth + 1)

    def _reference(self, name: str, item: Any, value: dict[str, Any], kind: str) -> bool:
        """Judge a field that may stand for what is not in the body, or for media; tell whether it was one."""
        if not item:
            return False
        if name in _REMOTE or (name == "audio" and isinstance(item, dict) and item.get("id")):
            self.unbounded = _KEPT
        elif name in _ADDRESSES and not isinstance(item, dict):
            self._address(item)
        elif name == "file_data" and not isinstance(item, dict):  # Gemini's is an object
            self.uncertain = _MEDIA  # names and types beside it are what the client says
        elif name == "data" and isinstance(item, str) and kind not in _TEXT_DATA:
            self._inline(item, {value[name] for name in _MEDIA_TYPES if isinstance(value.get(name), str)})
        elif name == "citations":  # asked for in an object; in a list, what was cited, which only tells of a source
            if isinstance(item, dict) and item.get("enabled"):
                self.uncertain = "documents that are cut into pieces to be cited"
        else:
            return False
        return True

    def _files_of(self, name: str, item: Any, depth: int) -> None:
        """Look at the annotations that hold a file once read by the provider; all others only tell of a source."""
        if name == "annotations" and isinstance(item, list):
            files = [entry for entry in item if isinstance(entry, dict) and entry.get("type") == "file"]
            self.into(files, depth + 1)

    def _address(self, address: Any) -> None:
        if isinstance(address, str) and address[:5].lower() == "data:":
            self._inline(address, {address[5:60].partition(",")[0].partition(";")[0]})
        else:
            self.unbounded = _FETCHED

    def _inline(self, data: str, media_types: set[str]) -> None:
        media_type = media_types.pop().lower() if len(media_types) == 1 else ""
        if media_type in _IMAGES:
            self.images += 1
            self.image_bytes += len(data)
        elif not media_type.startswith("text/"):
            self.uncertain = _MEDIA
