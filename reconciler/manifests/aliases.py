"""What the aliases of a document mean while what they stand for is edited."""

from __future__ import annotations

from typing import Final

from reconciler.core.canonical import same_value
from reconciler.manifests.nodes import Node, Scalar, Sequence
from reconciler.manifests.spans import Spans

_GONE: Final = object()
"""What an alias means whose anchor is no longer in the text."""


class Aliases:
    """The aliases below a node, with the anchors that they name."""

    def __init__(self, spans: Spans, root: Node) -> None:
        self._spans = spans
        self._targets: dict[int, Node] = {}
        self._anchored: dict[str, Node] = {}
        self._all_anchored: list[Node] = []
        self._after: dict[int, object] = {}
        self._find(root)

    def _find(self, node: Node) -> None:
        if self._spans.is_alias(node):
            self._targets[id(node)] = self._anchored[self._spans.text[node.index + 1 : node.end].strip()]
            return
        anchor, _, _ = self._spans.properties(node)
        if anchor:
            self._anchored[anchor] = node  # a name may be given again
            self._all_anchored.append(node)
        for child in _children(node):
            self._find(child)

    def has(self, node: Node) -> bool:
        """Tell whether a node is an alias."""
        return id(node) in self._targets

    def value(self, alias: Node) -> object:
        """Give what an alias means after the edits so far."""
        target = self._targets[id(alias)]
        return self._after.get(id(target), target.value)

    def stale(self, node: Node) -> bool:
        """Tell whether a node is or holds an alias that means something else by now."""
        if self.has(node):
            return not same_value(self.value(node), node.value)
        return bool(self._targets) and any(map(self.stale, _children(node)))

    def note(self, node: Node, value: object) -> None:
        """Note that a node means something else by now."""
        self._after[id(node)] = value

    def forget(self, start: int, end: int) -> None:
        """Note that what is anchored between two indexes goes."""
        for node in self._all_anchored:
            if start <= node.index < end:
                self.note(node, _GONE)


def _children(node: Node) -> list[Node]:
    """Give what is directly in a node, keys too, in the order of the text."""
    if isinstance(node, Scalar):
        return []
    return node.items if isinstance(node, Sequence) else node.fields or []
