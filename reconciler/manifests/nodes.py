"""The nodes of a YAML document: scalars, lists and mappings that know their place.

Plain values stand beside the nodes. Nodes never form a circle, so nothing has to look for one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import msgspec

from reconciler.manifests.scalars import Value

NODE_SIZE = 64  # bytes that each takes where it is kept, at least


class Scalar(msgspec.Struct, eq=False, gc=False):
    """A single value. `plain` tells that it was neither quoted nor tagged.

    `index` and `end` of this and the other nodes are -1 if they were not asked for.
    """

    text: str
    value: Value
    line: int
    column: int
    plain: bool
    index: int = -1
    end: int = -1


class Sequence(msgspec.Struct, eq=False, gc=False):
    """A list: `value` as plain values, `items` as nodes."""

    line: int
    column: int
    value: list[object] = []
    listed: list[Node] | None = None
    size: tuple[int, int, int] | None = None
    index: int = -1
    end: int = -1

    @property
    def items(self) -> list[Node]:
        """Give the nodes; not to be changed."""
        return self.listed or []

    def add(self, node: Node) -> None:
        """Add an item."""
        if self.listed is None:
            self.listed = [node]
        else:
            self.listed.append(node)
        self.value.append(node.value)


class Mapping(msgspec.Struct, eq=False, gc=False):
    """A mapping: `value` as plain values, `items` and `keys` as nodes by the key's text; `merged` if it had a `<<`.

    `fields` are keys and nodes by turns, in the order of `value`, None for none: hundreds of thousands of mappings in
    one document take much less than with three dictionaries each, so two are made where they are asked for. A key whose
    node is to come is `pending`, and already in `value`.
    """

    line: int
    column: int
    value: dict[str, object] = {}
    fields: list[Node] | None = None
    by_name: dict[str, Node] | None = None
    keys_by_name: dict[str, Scalar] | None = None
    pending: Scalar | None = None
    merged: bool = False
    size: tuple[int, int, int] | None = None
    index: int = -1
    end: int = -1

    @property
    def items(self) -> dict[str, Node]:
        """Give the values' nodes by name, once the mapping is closed; not to be changed."""
        if (found := self.by_name) is None:
            found = self.by_name = dict(zip(self.value, (self.fields or ())[1::2]))  # noqa: B905 (in a hurry)
        return found

    @property
    def keys(self) -> dict[str, Scalar]:
        """Give the keys' nodes by name, also while more are to come; not to be changed."""
        found, fields = self.keys_by_name, self.fields or []
        if found is None:
            found = self.keys_by_name = dict(zip(self.value, cast("list[Scalar]", fields[::2])))  # noqa: B905 (in a hurry)
        elif 2 * len(found) < len(fields):
            found.update((key.text, key) for key in cast("list[Scalar]", fields[2 * len(found) :: 2]))
        return found

    def nodes(self) -> Collection[Node]:
        """Give the values' nodes."""
        return (self.fields or ())[1::2]

    def without(self, name: str) -> Mapping:
        """Give a copy that lacks a field."""
        copy = Mapping(self.line, self.column, merged=self.merged)
        for key, node in zip(self.keys.values(), self.nodes(), strict=True):
            if key.text != name:
                copy.open(key)
                copy.fill(node)
        return copy

    def open(self, key: Scalar) -> None:
        """Begin a field that is not there yet."""
        self.pending = key
        self.value[key.text] = None
        if self.fields is None:
            self.fields = [key]
        else:
            self.fields.append(key)

    def fill(self, node: Node) -> None:
        """Give the field that is pending its node."""
        assert self.pending is not None
        assert self.fields is not None
        self.value[self.pending.text] = node.value
        self.fields.append(node)
        self.pending = None


Node = Scalar | Sequence | Mapping


def extent(node: Node) -> tuple[int, int, int]:
    """Count a node's nodes (keys included), its height, and about what it takes; each collection is counted once."""
    if isinstance(node, Scalar):
        return 1, 0, NODE_SIZE + len(node.text)
    if node.size is None:
        keys, children = ((), node.items) if isinstance(node, Sequence) else (node.value, node.nodes())
        extents = [extent(child) for child in children]
        size = NODE_SIZE + sum(NODE_SIZE + len(key) for key in keys) + sum(size for _, _, size in extents)
        nodes = 1 + len(keys) + sum(count for count, _, _ in extents)
        node.size = nodes, 1 + max((height for _, height, _ in extents), default=0), size
    return node.size


def moved(node: Node, place: tuple[int, int]) -> Node:
    """Give the node as it stands where an alias repeats it; what is inside keeps its own place."""
    line, column = place
    return msgspec.structs.replace(node, line=line, column=column, index=-1, end=-1)
