"""The nodes of a YAML document: scalars, lists and mappings that know their place.

Plain values stand beside the nodes. Nodes never form a circle, so nothing has to look for one.
"""

from __future__ import annotations

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
    """A list: `value` as plain values, `items` as nodes. Nodes never form a circle, so nothing has to look for one."""

    line: int
    column: int
    items: list[Node] = []
    value: list[object] = []
    size: tuple[int, int, int] | None = None
    index: int = -1
    end: int = -1


class Mapping(msgspec.Struct, eq=False, gc=False):
    """A mapping: `value` as plain values, `items` and `keys` as nodes by the key's text; `merged` if it had a `<<`."""

    line: int
    column: int
    items: dict[str, Node] = {}
    keys: dict[str, Scalar] = {}
    value: dict[str, object] = {}
    pending: Scalar | None = None
    merged: bool = False
    size: tuple[int, int, int] | None = None
    index: int = -1
    end: int = -1


Node = Scalar | Sequence | Mapping


def extent(node: Node) -> tuple[int, int, int]:
    """Count a node's nodes (keys included), its height, and about what it takes; each collection is counted once."""
    if isinstance(node, Scalar):
        return 1, 0, NODE_SIZE + len(node.text)
    if node.size is None:
        keys, children = ((), node.items) if isinstance(node, Sequence) else (node.items, node.items.values())
        extents = [extent(child) for child in children]
        size = NODE_SIZE + sum(NODE_SIZE + len(key) for key in keys) + sum(size for _, _, size in extents)
        nodes = 1 + len(keys) + sum(count for count, _, _ in extents)
        node.size = nodes, 1 + max((height for _, height, _ in extents), default=0), size
    return node.size


def moved(node: Node, place: tuple[int, int]) -> Node:
    """Give the node as it stands where an alias repeats it; what is inside keeps its own place."""
    if isinstance(node, Scalar):
        return Scalar(node.text, node.value, *place, node.plain)
    copy: Sequence | Mapping
    if isinstance(node, Sequence):
        copy = Sequence(*place)
        copy.items, copy.value = node.items, node.value
    else:
        copy = Mapping(*place)
        copy.items, copy.keys, copy.value, copy.merged = node.items, node.keys, node.value, node.merged
    copy.size = node.size
    return copy
