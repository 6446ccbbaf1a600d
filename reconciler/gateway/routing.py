"""What a path asks for: the dialect whose words its client speaks, the operation, and the parts of the path.

Nothing of a request but its path, its query and the names of its headers is looked at. A path without a version means
the same as the one with it, for base URLs that lack it; a version that the API does not have is no path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.gateway.calls import Route
from reconciler.gateway.client import Headers
from reconciler.gateway.query import keys_in
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.surfaces.surface import Surface

_VERSION = re.compile(r"/(v1|v1beta|v1alpha)(?=/)")
_MODEL = re.compile(r"/models(?:/([^/:]*))?")


class Routing:
    """Finds dialects and operations. `default` is spoken where nothing shows what else is."""

    def __init__(self, surfaces: Mapping[str, Surface]) -> None:
        self._surfaces = [*surfaces.values()]
        self.default = self._surfaces[0]
        paths = [path for surface in self._surfaces for rest in surface.routes for path in (rest, f"/v1{rest}")]
        self._plain: dict[str, Route] = {}  # of paths that have no parts
        self._plain = {path: found for path in paths if (found := self.find(path, self.default))}

    def asked(self, path: str, speaks: Surface) -> Route:
        """Find what a path asks for. Raises Refusal, with what was meant."""
        route = self.find(path, speaks)
        if route is None:
            raise Refusal("no-path", f"there is no {path[:100]} here{self.instead(path, speaks)}")
        return route

    def find(self, path: str, speaks: Surface) -> Route | None:
        """Find what a path asks for; `speaks` is the dialect that answers where several share a path."""
        if plain := self._plain.get(path):
            return plain
        version, rest = _split(path)
        for surface in self._surfaces:
            if found := surface.route(version, rest):
                return found
        if model := _MODEL.fullmatch(rest):
            return Route(speaks, "models", model[1] or "", version=version)
        return None

    def guess(self, path: str, headers: Headers, query: bytes) -> Surface:
        """Guess whose words a client expects, where the path does not say it either."""
        if plain := self._plain.get(path):
            return plain.surface
        names = {name for name, _ in headers}
        asked = self._surfaces[:0:-1]  # the last one first: its paths may hold those of others
        shown = [each for each in asked if each.own.match(path)] or [
            each for each in asked if not each.headers.isdisjoint(names) or (each.takes_query_key and keys_in(query))
        ]
        return shown[0] if shown else self.default

    def instead(self, path: str, speaks: Surface) -> str:
        """Name what was meant if an SDK was given a base URL with a part too many, else all there is."""
        rest = path[:200]
        while (cut := _split(rest))[0]:
            rest = cut[1]
        for meant in (f"/v1{rest}", f"/v1beta{rest}"):
            if meant != path and self.find(meant, speaks) is not None:
                return f": did you mean {meant[:100]}? The SDK's base URL is at fault, see pai env AGENT"
        ways = [way for each in self._surfaces for way in (*(f"/v1{rest}" for rest in each.routes), *each.more)]
        return f"; there are {', '.join(ways)} and /v1/models"


def check_method(route: Route, method: str, path: str, headers: Headers) -> None:
    """Raise Refusal if a path is asked with another method than its own, or for a websocket."""
    allowed = "GET" if route.operation == "models" else "POST"
    websocket = method == "GET" and route.operation == "responses"
    if websocket and any(name == b"upgrade" and b"websocket" in value.lower() for name, value in headers):
        needed = (("upgrade", "HTTP/1.1"), ("connection", "upgrade"))  # RFC 9110 15.5.22: what would be answered
        raise Refusal("websocket", f"there is no websocket on {path[:100]}: POST it, with stream", headers=needed)
    if method != allowed:
        raise Refusal("method", f"{method} is not for {path[:100]}: use {allowed}", headers=(("allow", allowed),))


def _split(path: str) -> tuple[str, str]:
    """Cut the version off a path."""
    found = _VERSION.match(path)
    return (found[1], path[found.end() :]) if found else ("", path)
