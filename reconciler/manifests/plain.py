"""A quick look at a file that is plainly written: what it defines, if that is certain, and "in doubt" for all else.

Reads a small part of YAML line by line: block mappings and lists of one-line values, comments, several documents. That
is how nearly all manifests are written, and it takes an eighth of the time that YAML takes. Fields are judged by the
schemas, as ever. For whatever is not certain (any other YAML, and any problem) it gives None, and the caller reads the
file in full. The objects found have no places, so no problem can be reported from them.

Invariant: if `glance` gives objects, `read_manifests` gives the same ones, and no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from reconciler.core.objects import API_VERSION, KIND_OF_MANIFEST, BindingSpec, Kind, Spec
from reconciler.manifests.documents import has_vendor
from reconciler.manifests.inline_keys import find_in_comments, holds_key, is_secret_field
from reconciler.manifests.scalars import WORDS
from reconciler.manifests.schema import screen
from reconciler.providers import PROVIDERS

BYTES_MAX = 64 * 1024
_LINES_REMEMBERED = 50_000
_DEPTH_MAX = 40
_LINE = re.compile(
    r"""(?P<indent>[ ]*)
    (?P<dash>-[ ])?
    (?:(?P<key>[A-Za-z][\w./-]{0,99}):(?:[ ](?=[^ \#])|(?=[ ]*$|[ ]+\#)))?
    (?P<value>
        [A-Za-z/][\w./@+=()-]*(?:(?:[ ]+|:)[\w./@+=()-]+)*
      | (?:0|[1-9][0-9]{0,14})
      | [1-9][0-9]{0,8}(?:[KMG]i|[mkMG])
      | "[^"\\\t]*" | '[^'\t]*'
      | \[[A-Za-z][\w./-]*(?:,[ ][A-Za-z][\w./-]*)*\]
    )?
    (?:[ ]+\#.*|(?<![^ ])\#.*|[ ]*)""",
    re.VERBOSE | re.ASCII,
)


class Glimpse(NamedTuple):
    """An object that is certainly valid by itself."""

    kind: Kind
    name: str
    spec: Spec


class _InDoubtError(Exception):
    """The file is not written plainly enough. Never leaves this module."""


def glance(data: bytes) -> list[Glimpse] | None:
    """Give the objects of a plainly written file without an error; None if it is in doubt. Never raises."""
    if len(data) > BYTES_MAX or not data.isascii():
        return None
    text = data.decode("ascii")
    try:
        if "---" not in text:
            return [_glimpse(root) for root in [_document(text.split("\n"))] if root]
        return [_glimpse(root) for lines in _parts(text.split("\n")) if (root := _document(lines))]
    except _InDoubtError:
        return None


def _parts(lines: list[str]) -> Iterator[list[str]]:
    """Split a file into its documents."""
    starts = [at for at, line in enumerate(lines) if line == "---"]
    for start, end in zip([0, *(at + 1 for at in starts)], [*starts, len(lines)], strict=True):
        yield lines[start:end]


_Line = tuple[int, bool, str, bool, object]
"""Indent, whether `- ` follows, key ("" for none), whether a value follows, the value."""


@lru_cache(_LINES_REMEMBERED)
def _read(line: str) -> _Line | None:
    """Read one line, None if there is nothing on it. Raises _InDoubtError. Cached: most lines recur.

    No key that `inline_keys` knows needs more than a line to be seen.
    """
    found = _LINE.fullmatch(line)
    if found is None or not line.replace("\t", " ").isprintable():
        raise _InDoubtError
    if holds_key(line) or ("#" in line and next(find_in_comments(line), None) is not None):
        raise _InDoubtError
    indent, dash, key, text = found.groups("")
    if not (dash or key or text):
        return None
    if not key and not (dash and text):
        raise _InDoubtError
    if text and is_secret_field(key):
        raise _InDoubtError
    return len(indent), bool(dash), key, bool(text), _value(text) if text else None


def _document(lines: list[str]) -> dict[str, object]:  # noqa: C901 (a call a line would cost more than the line)
    """Build a document's values; an empty one has none."""
    root: dict[str, object] = {}
    top: dict[str, object] | list[object] = root
    stack: list[tuple[int, dict[str, object] | list[object]]] = []
    level, waiting = 0, ""  # the field `waiting` of `top` has its value on the lines below
    names: list[object] = []
    for line in map(_read, lines):
        if line is None:
            continue
        indent, dash, key, given, value = line
        if waiting:
            if indent <= level and not (dash and indent == level):
                raise _InDoubtError
            child: dict[str, object] | list[object] = [] if dash else {}
            top[waiting] = child  # type: ignore[call-overload] # what waits is a field of a mapping
            stack.append((level, top))
            level, top, waiting = indent, child, ""
            if len(stack) > _DEPTH_MAX:
                raise _InDoubtError
        elif indent != level or (not dash and type(top) is list):
            level, top = _back(stack, level, top, indent, dash)
        if dash:
            if type(top) is not list:
                raise _InDoubtError
            if not key:
                top.append(value)
                continue
            child = {}
            top.append(child)
            stack.append((level, top))
            level, top = level + 2, child
        if key in top:
            raise _InDoubtError
        if not given:
            waiting = key
            continue
        top[key] = value  # type: ignore[call-overload] # only a mapping takes a line with a key
        if key in ("name", "value"):
            names += (key, value)
    if waiting or ("value" in names and any(is_secret_field(str(name)) for name in names)):
        raise _InDoubtError  # `name: X_API_KEY` may stand beside its value
    return root


def _back(
    stack: list[tuple[int, dict[str, object] | list[object]]],
    level: int,
    top: dict[str, object] | list[object],
    indent: int,
    dash: bool,
) -> tuple[int, dict[str, object] | list[object]]:
    """Leave collections until one that a line at `indent` belongs to."""
    while indent < level or (indent == level and not dash and type(top) is list):
        if not stack:
            raise _InDoubtError
        level, top = stack.pop()
    if indent != level or (not dash and type(top) is list):
        raise _InDoubtError
    return level, top


def _value(text: str) -> object:
    first = text[0]
    if first in "\"'":
        return text[1:-1]
    if first == "[":
        return [WORDS.get(word, word) for word in text[1:-1].split(", ")]
    return int(text) if text.isdigit() else WORDS.get(text, text)


def _glimpse(root: dict[str, object]) -> Glimpse:
    kind = KIND_OF_MANIFEST.get(str(root.get("kind")))
    if kind is None or root.get("apiVersion") != API_VERSION or not screen(kind)(root):
        raise _InDoubtError
    metadata, spec = root["metadata"], root["spec"]
    assert isinstance(metadata, dict)
    assert isinstance(spec, dict)
    binding = BindingSpec.of(spec) if kind == "model" else None
    if binding is not None and PROVIDERS[binding.provider].named_by_vendor and not has_vendor(binding.model):
        raise _InDoubtError
    return Glimpse(kind, metadata["name"], spec)
