"""What a path asks for: the surface whose words its client speaks, the operation, and the parts of the path.

Nothing of a request but its path, its query and the names of its headers is looked at. A path without a version means
the same as the one with it, for base URLs that lack it; a version that the API does not have is no path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from reconciler.gateway.query import keys_in
from reconciler.gateway.surfaces import anthropic, gemini, openai

if TYPE_CHECKING:  # else the processes that judge bodies would load an event loop, 6 MB of it
    from reconciler.gateway.client import Headers

_VERSION = re.compile(r"/(v1|v1beta|v1alpha)(?=/)")
_GEMINIS_OWN = ("v1beta", "v1alpha")
_MODEL = re.compile(r"/models(?:/([^/:]*))?")


class Route(NamedTuple):
    """What a path asks for; `name`, `method` and `version` are parts of the path, "" where it lacks them."""

    surface: str
    operation: str
    name: str = ""
    method: str = ""
    version: str = ""


_PLAIN = {
    f"{start}{rest}": Route(surface.NAME, operation, version=start[1:])
    for surface in (anthropic, openai)
    for rest, operation in surface.ROUTES.items()
    for start in ("", "/v1")
}
"""Paths that have no parts."""


def find_route(path: str, speaks: str) -> Route | None:
    """Find what a path asks for; `speaks` is the surface that answers where several share a path."""
    if plain := _PLAIN.get(path):
        return plain
    version, rest = _split(path)
    if found := gemini.PATH.fullmatch(rest):
        method = found["method"]
        if method not in gemini.METHODS:
            return None
        return Route(gemini.NAME, gemini.METHODS[method], found["name"], method, version)
    if found := _MODEL.fullmatch(rest):
        return Route(speaks, "models", found[1] or "", version=version)
    return None


def _split(path: str) -> tuple[str, str]:
    """Cut the version off a path."""
    found = _VERSION.match(path)
    return (found[1], path[found.end() :]) if found else ("", path)


def instead(path: str, speaks: str) -> str:
    """Name what was meant if an SDK was given a base URL with a part too many, else all there is."""
    rest = path[:200]
    while (cut := _split(rest))[0]:
        rest = cut[1]
    for meant in (f"/v1{rest}", f"/v1beta{rest}"):
        if meant != path and find_route(meant, speaks) is not None:
            return f": did you mean {meant[:100]}? The SDK's base URL is at fault, see pai env AGENT"
    ways = ", ".join(f"/v1{way}" for way in (*openai.ROUTES, *anthropic.ROUTES))
    return f"; there are {ways}, /v1beta/models/NAME:METHOD and /v1/models"


def guess_surface(path: str, headers: Headers, query: bytes) -> str:
    """Guess whose words a client expects, where the path does not say it either."""
    if plain := _PLAIN.get(path):
        return plain.surface
    version, rest = _split(path)
    if version in _GEMINIS_OWN or ":" in rest:
        return gemini.NAME
    if rest.startswith("/messages"):
        return anthropic.NAME
    names = {name for name, _ in headers}
    if b"x-goog-api-key" in names or keys_in(query):
        return gemini.NAME
    return anthropic.NAME if b"anthropic-version" in names else openai.NAME
