"""The members of the JSON objects in one text, for the meter: read as they are asked for, with bounded work.

Pure, and nothing raises. Who asks gets members as raw JSON, and asks on. It must not know what the members mean.

Invariants:
- A member that is named twice, at any depth, counts as the dearer of its values.
- Work grows as the text does, whatever stands in it: what would need more than the bounds below is not read, and
  `failed` says so. The bounds of merging hold for the whole text, all of its objects together.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

TOKENS_MAX: Final = 999_999_999
"""In one number: far above any answer; a sum stays far below what JSON keeps exactly."""
MEMBERS_MAX: Final = 2048
"""Of one object whose members are asked for."""
ENTRIES_MAX: Final = 256
"""Of one array whose entries are asked for."""
MERGED_BYTES_MAX: Final = 64 * 1024
"""Of what names a member twice, or has a colon in a name."""
MERGED_SIGNS_MAX: Final = 16 * 1024
"""Of brackets, colons and commas in it, also of those in its words."""

ABSENT: Final = msgspec.Raw(b"")
_NULL: Final = msgspec.Raw(b"null")

Fields = dict[str, msgspec.Raw]
"""An object's members. One that is named twice is there once, with the dearer of its values."""

_fields_decoder = msgspec.json.Decoder(Fields)
_entries_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_GARBAGE = (msgspec.MsgspecError, ValueError, RecursionError)


class Text:
    """One JSON text. `failed`: an object or an array in it could not be read, or was too much.

    `fresh`: nothing failed, and nothing was merged, so it may be used for another text as well.
    """

    __slots__ = ("_bytes", "_signs", "failed", "fresh")

    def __init__(self) -> None:
        self.failed = False
        self.fresh = True
        self._bytes = MERGED_BYTES_MAX  # that may still be merged
        self._signs = MERGED_SIGNS_MAX

    def object(self, raw: bytes | msgspec.Raw) -> Fields | None:
        """Read an object's members, None if it is none or cannot be read."""
        try:
            fields = _fields_decoder.decode(raw)
        except _GARBAGE:
            return None
        if len(fields) > MEMBERS_MAX:
            return None
        text = bytes(raw)
        colons = text.count(b":")  # one for each name at least, and those of the values
        if colons == len(fields) or colons == len(fields) + b"".join(fields.values()).count(b":"):
            return fields
        return self._merged(text)  # a member is named twice, or a name has a colon in it

    def fields(self, raw: msgspec.Raw) -> Fields:
        """Read the members of a value, none if it is no object."""
        if raw is ABSENT:
            return {}
        found = self.object(raw)
        if found is None:
            self._fail(really=bytes(raw).startswith(b"{"))
            return {}
        return found

    def entries(self, raw: msgspec.Raw) -> list[msgspec.Raw]:
        """Read the entries of a value, none if it is no array."""
        try:
            found = _entries_decoder.decode(raw)
        except _GARBAGE:
            self._fail(really=bytes(raw).startswith(b"["))
            return []
        if len(found) > ENTRIES_MAX:
            self._fail(really=True)
            return []
        return found

    def _fail(self, *, really: bool) -> None:
        """Take note of what could not be read, unless it was none of what was asked for."""
        if really:
            self.failed, self.fresh = True, False

    def _merged(self, text: bytes) -> Fields | None:
        """Read an object, at any depth of which a member may be named twice."""
        self.fresh = False
        self._bytes -= len(text)
        self._signs -= sum(map(text.count, (b"{", b"[", b":", b",")))
        if self._bytes < 0 or self._signs < 0:
            return None
        try:
            found = _dearest([json.loads(text.decode(), object_pairs_hook=_Members)])
            return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in found.items()}
        except _GARBAGE:
            return None


class _Members(list[tuple[str, Any]]):
    """An object as it is written: names and values, of which names may repeat."""


def _dearest(values: list[Any]) -> Any:
    """Give what charges no less than any of several values: the highest number, all members, all items.

    From the top down: each member is moved once, into the one object that is made of all those in its place.
    """
    if len(values) == 1 and not isinstance(values[0], list):
        return values[0]
    counts = [value for value in values if type(value) is int and 0 <= value <= TOKENS_MAX]
    if counts:
        return max(counts)
    objects = [value for value in values if isinstance(value, _Members)]
    if objects:
        given: dict[str, list[Any]] = {}
        for members in objects:
            for name, value in members:
                given.setdefault(name, []).append(value)
        return {name: _dearest(of_name) for name, of_name in given.items()}
    lists = [value for value in values if isinstance(value, list)]
    if lists:
        return [_dearest([item]) for items in lists for item in items]
    return next((value for value in reversed(values) if value is not None), None)


def there(value: msgspec.Raw) -> bool:
    """Tell whether a member is there and is not null."""
    return value not in (ABSENT, _NULL)
