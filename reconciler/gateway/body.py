"""A request's JSON body, taken apart no further than it has to be.

Only the top level is decoded; what is below stays the client's own bytes. A body is written again from its fields, so a
field that was there twice is sent once, with the value that was judged. Below the top a name that stands twice is
refused where its value is judged: readers differ in which one they take.
"""

from __future__ import annotations

from mmap import mmap
from typing import Any, NamedTuple, TypeVar

import msgspec

from reconciler.gateway.growth import BLOCK_BYTES, blocks, normalized, rendered
from reconciler.gateway.packing import PACKED_BYTES_MIN, packed
from reconciler.gateway.refusal import Refusal

T = TypeVar("T")

INTEGER_MAX = 2**53 - 1
VALUES_MAX = 250_000
"""Values, and names, that are taken apart at most: what holds more would keep everybody else waiting for a second."""
FIELDS_MAX = 256
"""Fields of the body itself: there are about 130, of all APIs together, and each is looked at for itself."""

Buffer = bytes | memoryview | mmap

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder(float_hook=lambda digits: msgspec.Raw(digits.encode()))
"""A number with a fraction or an exponent stays as it was written: to make one takes long for some, and written again
it may be four times as long (`1e15`), which nothing was reserved for."""
decode = _any.decode
_encode = msgspec.json.Encoder().encode


class Body:
    """The fields of a JSON object. `size` is how many bytes came, or may become of them (`growth.py`).

    `looked`: what was found in it, by how it was looked at, since a request may name many bindings.
    """

    __slots__ = ("fields", "looked", "size")

    def __init__(self, raw: bytes | mmap) -> None:
        """Read a body. Raises Refusal if it is no JSON object in UTF-8."""
        try:
            _check_text(raw)
            names, values = _signs(raw) if len(raw) > VALUES_MAX else _NO_SIGNS
            if names > VALUES_MAX:
                raise Refusal("invalid", f"the request body holds more than {VALUES_MAX:,} names")
            self.fields: dict[str, Any] = _top.decode(raw)
            if len(self.fields) > FIELDS_MAX:
                raise Refusal("invalid", f"the request body holds more than {FIELDS_MAX} fields")
            if values > VALUES_MAX and values - (numbers_in(self.fields.get("input", b"")) or 0) > VALUES_MAX:
                raise Refusal("invalid", f"the request body holds more than {VALUES_MAX:,} values")
        except UnicodeDecodeError:
            raise Refusal("invalid", "the request body is not UTF-8") from None
        except (ValueError, RecursionError) as error:
            raise Refusal("invalid", f"the request body is not a JSON object: {error}") from None
        self.size = normalized(raw)
        self.looked: dict[tuple[str, str], Any] = {}

    def __contains__(self, name: str) -> bool:
        raw = self.fields.get(name)
        return raw is not None and bytes(memoryview(raw)[:5]) != b"null"

    def get(self, name: str, *, rewritten: bool = False) -> Any:
        """Decode a field; None if it is not there or null. `rewritten`: the value will be sent. Raises Refusal."""
        raw = self.fields.get(name)
        if raw is None:
            return None
        return self._decoded(name, memoryview(raw), rewritten=rewritten)

    def judged(self, name: str, *, rewritten: bool = False) -> tuple[Any, bool]:
        """Decode a field as `get` does, only to look at it, and tell whether it is packed. Raises Refusal."""
        raw = self.fields.get(name)
        if raw is None:
            return None, False
        text = memoryview(raw)
        other = packed(text) if len(text) >= PACKED_BYTES_MIN else None
        return self._decoded(name, text if other is None else other, rewritten=rewritten), other is not None

    def _decoded(self, name: str, text: memoryview, *, rewritten: bool) -> Any:
        signs = _signs(text) if text[0] in b"{[" else _NO_SIGNS
        try:
            value = decode(text)
        except (ValueError, RecursionError) as error:
            raise Refusal("invalid", f"{name} cannot be read: {error}") from None
        if not rewritten and isinstance(value, dict | list) and signs.names != _names_in(value):
            raise Refusal("invalid", f"{name} holds a name twice in one object")
        return value

    def _typed(self, name: str, kind: type[T], words: str, *, rewritten: bool = False) -> T:
        value = self.get(name, rewritten=rewritten)
        if value is not None and not isinstance(value, kind):
            raise Refusal("invalid", f"{name} must be {words}")
        return kind() if value is None else value

    def text(self, name: str) -> str:
        """Give a field that has to be text, "" if it is not there. Raises Refusal."""
        return self._typed(name, str, "text")

    def flag(self, name: str) -> bool:
        """Give a field that has to be true or false, False if it is not there. Raises Refusal."""
        return self._typed(name, bool, "true or false")

    def integer(self, name: str, least: int = 1) -> int | None:
        """Give a field that has to be a whole number from `least` on, None if it is not there. Raises Refusal."""
        return whole(self.get(name), name, least)

    def mapping(self, name: str, *, rewritten: bool = False) -> dict[str, Any]:
        """Give a field that has to be an object, empty if it is not there. `rewritten` as in `get`. Raises Refusal."""
        return self._typed(name, dict, "an object", rewritten=rewritten)

    def items(self, name: str) -> list[Any]:
        """Give a field that has to be a list, empty if it is not there. Raises Refusal."""
        return self._typed(name, list, "a list")

    def written(self, without: tuple[str, ...] = (), **changes: Any) -> bytes:
        """Write the body again, with these fields changed or added and those left out."""
        fields = {name: raw for name, raw in self.fields.items() if name not in without}
        fields.update(changes)
        return _encode(fields)

    def size_without(self, names: frozenset[str]) -> int:
        """Give how many bytes may become of the values whose fields are not among `names`."""
        values = [memoryview(raw) for name, raw in self.fields.items() if name not in names]
        return sum(normalized(raw) + rendered(raw) for raw in values)

    def only(self, names: tuple[str, ...], **changes: Any) -> bytes:
        """Write a body of these fields, where they are there, and of changes."""
        return _encode({name: self.fields[name] for name in names if name in self.fields} | changes)


_NUMBERS = b"0123456789[], \t\r\n"


def numbers_in(raw: Any) -> int | None:
    """Count the whole numbers of a list of them, or of a list of such lists; None if JSON holds anything else."""
    text = memoryview(raw)
    head = bytes(text[:32])
    if head[:1] != b"[" or head.translate(None, _NUMBERS):
        return None
    count = 1
    for block in blocks(text):
        if block.translate(None, _NUMBERS):
            return None
        count += block.count(b",")
    return count


def whole(value: Any, name: str, least: int = 1) -> int | None:
    """Check a number that has to be whole and at least `least`. Raises Refusal."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= INTEGER_MAX:
        raise Refusal("invalid", f"{name} must be a whole number of at least {least}")
    return value


class _Signs(NamedTuple):
    """What of JSON stands outside its strings: signs of names, and of values."""

    names: int
    values: int


_NO_SIGNS = _Signs(0, 0)


def _signs(raw: Buffer) -> _Signs:
    """Count the signs of JSON outside its strings. Raises Refusal if there are too many strings to look for them."""
    names = values = quotes = inside = 0
    for block in blocks(raw):
        unescaped = block.replace(rb"\\", b"").replace(rb"\"", b"")
        pieces = unescaped.split(b'"')
        outside = b"".join(pieces[inside::2])
        names += outside.count(b":")
        values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        quotes += len(pieces) - 1
        if quotes > 4 * VALUES_MAX:  # two for each name and for each value
            raise Refusal("invalid", f"the request body holds more than {2 * VALUES_MAX:,} texts")
        inside = quotes & 1
    return _Signs(names, values)


def _check_text(raw: Buffer) -> None:
    """Raise UnicodeDecodeError unless it is UTF-8."""
    for block in (raw,) if isinstance(raw, bytes) and len(raw) <= BLOCK_BYTES else blocks(raw):
        block.decode()


def _names_in(value: Any) -> int:
    """Count the names of all objects in a decoded value."""
    count = 0
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            count += len(item)
            rest += [inner for inner in item.values() if isinstance(inner, dict | list)]
        else:
            rest += [inner for inner in item if isinstance(inner, dict | list)]
    return count
