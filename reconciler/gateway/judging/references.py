"""How much longer a JSON schema becomes where its references are written out, as Gemini does it.

A definition to which two others refer stands there twice: with each one that refers to the next one twice the size
doubles. Pure. Work grows as the text does, whatever refers to what. Nothing is guessed: of a reference that leads out
of its schema, and of several definitions in a circle, the size does not show.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from reconciler.gateway.growth import normalized, rendered
from reconciler.gateway.judging.rules import spelled

BYTES_MAX: Final = 10**9
"""Of what a schema becomes: far above what any model reads."""
TIMES: Final = 16
"""How often a definition may be written into itself: Gemini does it "to a limited degree" (`response_json_schema`)."""
READ_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of schemas with references in a body: the largest that is known of has 148,059."""
_READ_TIMES: Final = 3
"""How often a schema may be read: it is, each definition in it is, and few of them stand in others."""
_READ_BYTES: Final = 64 * 1024
"""What may be read of a small one besides."""

_SCHEMAS = spelled(
    "schema parameters parameters_json_schema input_schema output_schema response response_schema response_json_schema"
)
"""Fields of tools and settings under which a schema stands: a reference begins there."""
_REFERENCES = frozenset(("$ref", "$dynamicRef", "$recursiveRef"))

_encode = msgspec.json.Encoder().encode


class _Unclear(Exception):
    """What a schema becomes does not show."""


def unrolled(value: Any) -> int | None:
    """Give by how many bytes the schemas in tools or settings may grow, None if that does not show."""
    grown = read = 0
    rest = [value]
    try:
        while rest:
            item = rest.pop()
            if isinstance(item, list):
                rest += item
            for name, inner in item.items() if isinstance(item, dict) else ():
                if name in _SCHEMAS and isinstance(inner, dict | list):
                    text = _encode(inner)
                    if b'ref":' in text or b'Ref":' in text:
                        read += len(text)
                        grown += _Schema(inner, text, read).grown()
                elif name in _REFERENCES and isinstance(inner, str):
                    return None
                else:
                    rest.append(inner)
    except _Unclear:
        return None
    return grown


def _refers(name: str, value: Any) -> bool:
    """Tell whether a member of a schema is a reference: Google's own kind of schemas calls it `ref`."""
    return isinstance(value, str) and (name in _REFERENCES or (name == "ref" and value.startswith("#/")))


class _Definition:
    """A definition on the way: to what it refers, its size, and by how much it grows as far as that was looked at."""

    __slots__ = ("grown", "itself", "node", "rest", "size")

    def __init__(self, node: Any, rest: Iterator[Any], size: int) -> None:
        self.node = node
        self.rest = rest
        self.size = size
        self.grown = self.itself = 0  # `itself`: how often it refers to itself

    def ended(self) -> int:
        """Give by how much it grows in all. Raises _Unclear."""
        found = self.grown
        for _ in range(TIMES if self.itself else 0):
            found = _bounded(self.grown + self.itself * (self.size + found))
        return found


class _Schema:
    """One schema."""

    def __init__(self, root: Any, text: bytes, read: int) -> None:
        """`text` is that of `root`, `read` the size of all schemas so far. Raises _Unclear."""
        if read > READ_BYTES_MAX:
            raise _Unclear
        self._root = root
        self._text = text
        self._left = _READ_BYTES + _READ_TIMES * len(text)
        self._targets: dict[str, Any] = {}

    def grown(self) -> int:
        """Give by how many bytes it may grow. Raises _Unclear."""
        grown: dict[int, tuple[int, int]] = {}  # of each definition its size, and by how much it grows
        way = [self._begun(self._root)]
        under_way = {id(self._root)}
        while True:
            last = way[-1]
            target = next(last.rest, grown)
            if target is grown:  # nothing more
                found = last.ended()
                grown[id(last.node)] = last.size, found
                under_way.discard(id(last.node))
                way.pop()
                if not way:
                    return found
                way[-1].grown = _bounded(way[-1].grown + last.size + found)
            elif target is last.node:
                last.itself += 1
            elif (known := grown.get(id(target))) is not None:
                last.grown = _bounded(last.grown + sum(known))
            elif id(target) in under_way:
                raise _Unclear
            else:
                under_way.add(id(target))
                way.append(self._begun(target))

    def _begun(self, node: Any) -> _Definition:
        text = self._text if node is self._root else _encode(node)
        self._left -= len(text)
        if self._left < 0:
            raise _Unclear
        return _Definition(node, self._references(node), normalized(text) + rendered(text))

    def _references(self, node: Any) -> Iterator[Any]:
        """Give what is referred to within a definition, as often as it is."""
        rest = [node]
        while rest:
            item = rest.pop()
            if isinstance(item, list):
                rest += [inner for inner in item if isinstance(inner, dict | list)]
                continue
            for name, inner in item.items():
                if isinstance(inner, dict | list):
                    rest.append(inner)
                elif name == "$id" and isinstance(inner, str) and item is not self._root:
                    raise _Unclear  # references within begin there
                elif _refers(name, inner) and isinstance(target := self._target(name, inner), dict | list):
                    yield target  # else it is true or false, which has no size

    def _target(self, name: str, reference: str) -> Any:
        """Follow a reference (RFC 6901). Raises _Unclear."""
        if name.startswith("$") and name != "$ref":  # what it refers to, only a walk through the schema shows
            raise _Unclear
        if reference not in self._targets:
            first, *parts = unquote(reference).split("/")
            found = self._root
            if first != "#":  # another document, or a name that is given within one
                raise _Unclear
            for part in parts:
                try:
                    found = found[int(part) if isinstance(found, list) else part.replace("~1", "/").replace("~0", "~")]
                except (LookupError, TypeError, ValueError):
                    raise _Unclear from None
            self._targets[reference] = found
        return self._targets[reference]


def _bounded(size: int) -> int:
    if size > BYTES_MAX:
        raise _Unclear
    return size
