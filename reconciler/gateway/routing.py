"""What a path asks for: the surface whose words its client speaks, the operation, and the parts of the path.

Nothing of a request but its path, its query and the names of its headers is looked at.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from reconciler.gateway.client import Headers
from reconciler.gateway.surfaces import anthropic, gemini, openai

_VERSIONS = re.compile(r"^(?:/v1(?:beta)?(?=/))+")


class Route(NamedTuple):
    """What a path asks for; `name` and `method` are parts of a Gemini path."""

    surface: str
    operation: str
    name: str = ""
    method: str = ""


def find_route(path: str, speaks: str) -> Route | None:
    """Find what a path asks for; `speaks` is the surface that answers where several share a path."""
    for surface in (openai, anthropic):
        if path in surface.ROUTES:
            return Route(surface.NAME, surface.ROUTES[path])
    if found := gemini.PATH.fullmatch(path):
        method = found["method"]
        return Route(gemini.NAME, gemini.METHODS[method], found["name"], method) if method in gemini.METHODS else None
    for prefix in ("/v1/models", "/v1beta/models"):
        if path in (prefix, f"{prefix}/"):
            return Route(speaks, "models")
        if path.startswith(f"{prefix}/") and "/" not in path[len(prefix) + 1 :]:
            return Route(speaks, "models", unquote(path[len(prefix) + 1 :]))
    return None


def instead(path: str, speaks: str) -> str:
    """Name what was meant if an SDK was given a base URL of too many or too few parts, else all there is."""
    stripped = _VERSIONS.sub("", path[:200])
    for meant in (f"/v1{stripped}", f"/v1beta{stripped}"):
        if meant != path and find_route(meant, speaks) is not None:
            return f": did you mean {meant[:100]}? The SDK's base URL is at fault, see pai env AGENT"
    return f"; there are {', '.join((*openai.ROUTES, *anthropic.ROUTES))}, /v1beta/models/NAME:METHOD and /v1/models"


def speaks(path: str, headers: Headers, query: bytes) -> str:
    """Guess whose words a client expects where the path does not say."""
    if path in openai.ROUTES:
        return openai.NAME
    names = {name for name, _ in headers}
    if path.startswith("/v1beta") or ":" in path or b"x-goog-api-key" in names or b"key=" in query:
        return gemini.NAME
    if path.startswith("/v1/messages") or b"anthropic-version" in names:
        return anthropic.NAME
    return openai.NAME
