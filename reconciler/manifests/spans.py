"""Where the nodes of a text are written: from which character to which, and what stands before their content.

A node's own indexes are those of YAML's events, which begin with its anchor and tag and may end in blank lines. Nothing
here changes text; `edit_nodes` does.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from reconciler.manifests.nodes import Mapping, Node, Scalar, Sequence

_GAP = r"(?:\s|\#[^\n]*(?:\n|\Z))*"
_PROPERTY = re.compile(r"!<[^>\s]*>|[&!][^\s,\[\]{}]*")
_BLANK = re.compile(_GAP)
_DASH = re.compile(f"{_GAP}-")
_QUESTION = re.compile(rf"{_GAP}\?")
_COMMA = re.compile(f"{_GAP},")
_COLON = re.compile(rf"{_GAP}:")


class SpannedEntry(NamedTuple):
    """A field of a mapping or an item of a list, from its first character (`?`, key, dash) to its value's last."""

    start: int
    end: int
    value: Node
    name: str = ""
    key: Scalar | None = None


class Spans:
    """Finds the characters of nodes that were read with their indexes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def properties(self, node: Node) -> tuple[str, str, int]:
        """Give a node's anchor and tag, "" if it has none, and the index right after them."""
        anchor = tag = ""
        index = after = node.index
        if isinstance(node, Mapping) and (first := next(iter(node.keys.values()), None)) and first.index == index:
            return anchor, tag, after  # they are the first key's
        while found := _PROPERTY.match(self.text, index):
            after = found.end()
            if found[0].startswith("&"):
                anchor = found[0][1:]
            else:
                tag = found[0]
            blank = _BLANK.match(self.text, after)
            index = blank.end() if blank else after
        return anchor, tag, after

    def content(self, node: Node) -> int:
        """Find the first character of a node's content; of an empty one, where it would be."""
        _, _, after = self.properties(node)
        if after == node.index:
            return after
        blank = _BLANK.match(self.text, after)
        index = blank.end() if blank else after
        return after if isinstance(node, Scalar) and index >= node.end else index

    def is_alias(self, node: Node) -> bool:
        """Tell whether a node stands for another one."""
        return self.text.startswith("*", node.index)

    def is_flow(self, node: Node) -> bool:
        """Tell whether a mapping or a list is written in brackets."""
        return self.text.startswith(("[", "{"), self.content(node))

    def is_block_scalar(self, node: Node) -> bool:
        """Tell whether a text is written below a `|` or `>`."""
        return isinstance(node, Scalar) and not node.plain and self.text.startswith(("|", ">"), self.content(node))

    def end(self, node: Node) -> int:
        """Find the index after a node's last character, without the line breaks and comments that follow it."""
        if self.is_alias(node):
            return node.end
        if isinstance(node, Scalar):
            start = self.content(node)
            if self.is_block_scalar(node) and "+" in self.text[start : self.line_end(start)].partition("#")[0]:
                return node.end  # the line breaks at its end are part of it
            return start + len(self.text[start : node.end].rstrip())
        if self.is_flow(node):
            return node.end
        return (self.entries(node) if isinstance(node, Mapping) else self.items(node))[-1].end

    def entries(self, node: Mapping) -> list[SpannedEntry]:
        """Give the fields of a mapping that has some, in their order."""
        found: list[SpannedEntry] = []
        before = self.content(node)
        for name, value in node.items.items():
            key = node.keys[name]
            question = _QUESTION.match(self.text, before)
            start = question.end() - 1 if question and question.end() <= key.index else key.index
            end = self.end(value) if self.has_colon(key, value) else key.end
            found.append(SpannedEntry(start, end, value, name, key))
            before = end
        return found

    def has_colon(self, key: Scalar, value: Node) -> bool:
        """Tell whether a field has a colon: one without a value may have none (`{a, b}`)."""
        return _COLON.match(self.text, key.end, value.index + 1) is not None

    def items(self, node: Sequence) -> list[SpannedEntry]:
        """Give the items of a list that has some, in their order."""
        if self.is_flow(node):
            return [SpannedEntry(item.index, self.end(item), item) for item in node.items]
        found: list[SpannedEntry] = []
        before = self.content(node)
        for item in node.items:
            dash = _DASH.match(self.text, before)
            assert dash is not None, "an item of a block has a dash"
            found.append(SpannedEntry(dash.end() - 1, max(dash.end(), self.end(item)), item))
            before = found[-1].end
        return found

    def comma(self, index: int) -> int:
        """Find the comma that follows what ends at `index`, -1 if there is none."""
        found = _COMMA.match(self.text, index)
        return -1 if found is None else found.end() - 1

    def line_start(self, index: int) -> int:
        """Find the first character of the line of `index`."""
        return self.text.rfind("\n", 0, index) + 1

    def line_end(self, index: int) -> int:
        """Find the line break that ends the line of `index`, or the end of the text."""
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end

    def before(self, index: int) -> str:
        """Give what stands on the line before `index`."""
        return self.text[self.line_start(index) : index]

    def rest_is_blank(self, index: int) -> bool:
        """Tell whether nothing but a comment follows on the line of `index`."""
        rest = self.text[index : self.line_end(index)].strip()
        return not rest or rest.startswith("#")
