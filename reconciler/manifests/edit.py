"""Changing one document of a file and leaving every other byte as it is.

An edit is tried field by field in the text; the result is parsed again, and only if it means exactly what was asked for
(and every other document means what it did) is it given back. Otherwise the document's body is written anew. Comments
on lines that do not change stay. Nothing here judges manifests.
"""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from typing import NamedTuple

from reconciler.core.canonical import as_json_reads, same_value
from reconciler.manifests.emit import entry_lines, flow_text, item_lines, quoted, render, scalar_text
from reconciler.manifests.tree import Document, Mapping, Node, Scalar, Sequence, documents

_BOM = "\ufeff"


class LoadedDocument(NamedTuple):
    """The plain values of one document and the line of its first token."""

    value: dict[str, object]
    line: int


class _CannotEdit(Exception):
    """The text has a form that this module does not edit in place; what is around it is written anew."""


def load_documents(data: bytes) -> list[LoadedDocument]:
    """Give each document that is a mapping; what cannot be read is left out (`read_manifests` tells about it)."""
    text = data.decode(errors="replace").removeprefix(_BOM)
    roots = (document.root for document in documents(text))
    return [LoadedDocument(root.value, root.line) for root in roots if isinstance(root, Mapping)]


def replace_document(text: str, line: int, wanted: AbstractMapping[str, object]) -> str:
    """Make the document whose first token is at `line` mean `wanted`, changing only what differs.

    Raises ValueError if no document that can be read begins there.
    """
    bom, text = _split_bom(text)
    before = list(documents(text, indexed=True))
    place = _find(before, line)
    root = before[place].root
    assert root is not None
    values = [_value(document) for document in before]
    goal = {name: _as_read(value) for name, value in wanted.items()}
    values[place] = goal
    try:
        edited = _Editor(text).run(root, goal)
        if _means(edited, values):
            return bom + edited
    except _CannotEdit:
        pass
    return bom + _rewritten(text, root, goal, values)


def delete_document(text: str, line: int) -> str | None:
    """Take out the document whose first token is at `line`, and one separator; None if no document is left.

    Raises ValueError if no document that can be read begins there.
    """
    bom, text = _split_bom(text)
    before = list(documents(text, indexed=True))
    place = _find(before, line)
    if all(document.empty for number, document in enumerate(before) if number != place):
        return None
    start = before[place].start
    last = place + 1 == len(before)
    end = len(text) if last else before[place + 1].start
    if not text.startswith(("---", "%"), start):
        start = _after_header(text, start)
        if not last and text[end:].split("\n", 1)[0].strip() == "---":
            end = text.find("\n", end) + 1
    return bom + text[:start] + text[end:]


def append_document(text: str, document: str) -> str:
    """Add a document, as `render` gives it, at the end of a file."""
    newline = _newline(text)
    if newline != "\n":
        document = document.replace("\n", newline)
    if text and not text.endswith("\n"):
        text += newline
    if all(found.empty for found in documents(_split_bom(text)[1])):
        return text + document
    return f"{text}---{newline}{document}"


def _split_bom(text: str) -> tuple[str, str]:
    return (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)


def _newline(text: str) -> str:
    end = text.find("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def _find(found: list[Document], line: int) -> int:
    for place, document in enumerate(found):
        if isinstance(document.root, Mapping) and document.root.line == line:
            return place
    raise ValueError(f"no document begins at line {line}")


def _value(document: Document) -> object:
    return None if document.root is None else document.root.value


def _means(text: str, values: list[object]) -> bool:
    found = list(documents(text))
    return (
        len(found) == len(values)
        and all(same_value(_value(document), value) for document, value in zip(found, values, strict=True))
        and not any(document.problems for document in found)
    )


def _as_read(value: object) -> object:
    """Give a value as it comes back from a file: tuples are lists, a whole float is an integer."""
    if isinstance(value, AbstractMapping):
        return {name: _as_read(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_read(item) for item in value]
    return as_json_reads(value) if isinstance(value, float) else value


def _after_header(text: str, start: int) -> int:
    """Find where the first document's own comments begin: a comment block followed by a blank line is the file's."""
    lines = text[:start].splitlines(keepends=True)
    while lines and lines[-1].strip():
        lines.pop()
    header = "".join(lines)
    return len(header) if header.strip() else 0


def _rewritten(text: str, root: Node, wanted: AbstractMapping[str, object], values: list[object]) -> str:
    """Write the whole body of a document anew."""
    newline = _newline(text)
    start, end = root.index, _end(text, root)
    line_start = text.rfind("\n", 0, start) + 1
    body = render(wanted, literal=False).removesuffix("\n").replace("\n", newline)
    if text[line_start:start].strip():
        body = newline + body  # the document begins beside its separator
    else:
        start = line_start
    result = text[:start] + body + text[end:]
    if _means(result, values):
        return result
    # a comment or an end marker beside the last value may not stand beside the new one
    result = text[:start] + body + newline + text[end:].lstrip(" \t")
    assert _means(result, values), "a rendered document means what it was made from"
    return result


def _end(text: str, node: Node) -> int:
    """Find the index after the last character of a node, without the line breaks and comments that follow it."""
    if isinstance(node, Scalar):
        return node.index + len(text[node.index : node.end].rstrip())
    children = list(node.items.values()) if isinstance(node, Mapping) else node.items
    if _is_flow(text, node) or _is_alias(text, node) or not children:
        return node.end
    last = children[-1]
    if isinstance(last, Scalar) and last.index == last.end and isinstance(node, Mapping):
        colon = text.find(":", list(node.keys.values())[-1].end)
        return max(last.index, colon + 1)
    return _end(text, last)


def _is_flow(text: str, node: Node) -> bool:
    return text[node.index : node.index + 1] in ("[", "{")


def _is_alias(text: str, node: Node) -> bool:
    return text[node.index : node.index + 1] == "*"


class _Editor:
    """Collects the replacements that turn one document into another."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = _newline(text)
        self._edits: list[tuple[int, int, str]] = []

    def run(self, root: Node, wanted: dict[str, object]) -> str:
        """Give the text with `root` meaning `wanted`."""
        if not wanted:
            raise _CannotEdit
        self._node(root, wanted, flow=False)
        text = self._text
        previous = len(text) + 1
        for start, end, new in sorted(self._edits, key=lambda edit: (edit[0], edit[1]), reverse=True):
            if end > previous:
                raise _CannotEdit
            text = text[:start] + new + text[end:]
            previous = start
        return text

    def _node(self, node: Node, wanted: object, flow: bool) -> None:
        """Change a node in place; raises _CannotEdit if the field or item that holds it has to be written anew."""
        if same_value(node.value, wanted):
            return
        text = self._text
        flow = flow or _is_flow(text, node)
        if isinstance(node, Mapping) and isinstance(wanted, dict) and wanted and not _is_alias(text, node):
            if text[node.index] in "&!":
                raise _CannotEdit
            self._mapping(node, wanted, flow)
        elif isinstance(node, Sequence) and isinstance(wanted, list) and wanted and not _is_alias(text, node):
            if text[node.index] in "&!":
                raise _CannotEdit
            self._sequence(node, wanted, flow)
        elif isinstance(wanted, dict | list) and wanted and not flow:
            raise _CannotEdit
        elif isinstance(node, Scalar) or flow or _is_alias(text, node):
            self._replace(node, wanted, flow)
        else:
            raise _CannotEdit

    def _replace(self, node: Node, wanted: object, flow: bool) -> None:
        start, end = node.index, _end(self._text, node)
        quote = self._text[start : start + 1]
        if isinstance(wanted, str) and quote in ("'", '"'):
            new = quoted(wanted, quote)
        elif isinstance(wanted, dict | list):
            new = flow_text(wanted)
        else:
            new = scalar_text(wanted, flow=flow)
        if start == end:
            new = f" {new}"
        self._edits.append((start, end, new))

    def _mapping(self, node: Mapping, wanted: dict[str, object], flow: bool) -> None:
        if not node.items or node.merged or node.keys.keys() != node.items.keys():
            raise _CannotEdit
        kept = [name for name in node.items if name in wanted]
        if not kept:
            raise _CannotEdit
        added = {name: value for name, value in wanted.items() if name not in node.items}
        for name in kept:
            mark = len(self._edits)
            try:
                self._node(node.items[name], wanted[name], flow)
            except _CannotEdit:
                del self._edits[mark:]
                self._rewrite_entry(node, name, wanted[name], flow)
        if flow:
            spans = [(node.keys[name].index, _end(self._text, item)) for name, item in node.items.items()]
            self._remove_flow(spans, [name in wanted for name in node.items])
            new = [f"{scalar_text(name, flow=True)}: {flow_text(value)}" for name, value in added.items()]
            self._add_flow(spans[-1][1] if list(node.items)[-1] in wanted else self._last_kept(node, kept), new)
            return
        for name in node.items:
            if name not in wanted:
                self._remove_lines(node.keys[name].index, _end(self._text, self._entry_end(node, name)))
        if added:
            lines = [line for name, value in added.items() for line in entry_lines(scalar_text(name), value)]
            last = list(node.items)[-1]
            indent = next(iter(node.keys.values())).column - 1
            self._add_lines(_end(self._text, self._entry_end(node, last)), indent, lines)

    def _last_kept(self, node: Mapping, kept: list[str]) -> int:
        return _end(self._text, node.items[kept[-1]])

    def _entry_end(self, node: Mapping, name: str) -> Node:
        """Give the node at whose end a field ends: its value, or its key if there is no value."""
        value, key = node.items[name], node.keys[name]
        if value.index < key.end:
            raise _CannotEdit
        return value

    def _rewrite_entry(self, node: Mapping, name: str, wanted: object, flow: bool) -> None:
        key, value = node.keys[name], node.items[name]
        start, end = key.index, _end(self._text, value)
        source = self._text[key.index : key.end].rstrip()
        if flow or "\n" in source or self._text[start] in "?&!*" or self._before(start).strip(" -?"):
            raise _CannotEdit
        indent = " " * (key.column - 1)
        first, *rest = entry_lines(source, wanted)
        self._edits.append((start, end, self._newline.join([first, *(indent + line for line in rest)])))

    def _sequence(self, node: Sequence, wanted: list[object], flow: bool) -> None:
        items = node.items
        if not items:
            raise _CannotEdit
        head = 0
        while head < min(len(items), len(wanted)) and same_value(items[head].value, wanted[head]):
            head += 1
        tail = 0
        while tail < min(len(items), len(wanted)) - head and same_value(items[-1 - tail].value, wanted[-1 - tail]):
            tail += 1
        old, new = items[head : len(items) - tail], wanted[head : len(wanted) - tail]
        for item, value in zip(old, new, strict=False):
            self._node(item, value, flow)
        removed, added = old[len(new) :], new[len(old) :]
        after = head + len(old) - 1  # what is added follows this item; -1: it comes before all
        if flow:
            spans = [(item.index, _end(self._text, item)) for item in items]
            self._remove_flow(spans, [item not in removed for item in items])
            if added and after < 0:
                self._edits.append((spans[0][0], spans[0][0], "".join(f"{flow_text(value)}, " for value in added)))
            else:
                self._add_flow(spans[after][1], [flow_text(value) for value in added])
            return
        for item in removed:
            self._remove_lines(self._dash(item), _end(self._text, item))
        if added:
            indent = self._dash(items[0]) - (self._text.rfind("\n", 0, self._dash(items[0])) + 1)
            lines = [line for value in added for line in item_lines(value)]
            if after < 0:
                self._add_lines_before(self._dash(items[0]), indent, lines)
            else:
                self._add_lines(_end(self._text, items[after]), indent, lines)

    def _dash(self, item: Node) -> int:
        before = self._text[: item.index].rstrip(" \t")
        if not before.endswith("-"):
            raise _CannotEdit
        return len(before) - 1

    def _before(self, index: int) -> str:
        return self._text[self._text.rfind("\n", 0, index) + 1 : index]

    def _remove_flow(self, spans: list[tuple[int, int]], kept: list[bool]) -> None:
        """Take entries out of a flow collection, each with one comma beside it."""
        for place, (start, end) in enumerate(spans):
            if kept[place]:
                continue
            if any(kept[place + 1 :]):
                self._edits.append((start, spans[place + 1][0], ""))
            else:
                self._edits.append((spans[place - 1][1], end, ""))

    def _add_flow(self, after: int, new: list[str]) -> None:
        if new:
            self._edits.append((after, after, "".join(f", {text}" for text in new)))

    def _remove_lines(self, start: int, end: int) -> None:
        if self._before(start).strip():
            raise _CannotEdit
        line_start = self._text.rfind("\n", 0, start) + 1
        line_end = self._text.find("\n", end) + 1 or len(self._text)
        self._edits.append((line_start, line_end, ""))

    def _add_lines(self, after: int, indent: int, lines: list[str]) -> None:
        """Insert lines below the line of the character before `after`."""
        text = "".join(f"{' ' * indent}{line}{self._newline}" for line in lines)
        line_end = self._text.find("\n", after) + 1
        if line_end == 0:
            line_end = len(self._text)
            text = self._newline + text.removesuffix(self._newline)
        self._edits.append((line_end, line_end, text))

    def _add_lines_before(self, index: int, indent: int, lines: list[str]) -> None:
        if self._before(index).strip():
            raise _CannotEdit
        start = self._text.rfind("\n", 0, index) + 1
        self._edits.append((start, start, "".join(f"{' ' * indent}{line}{self._newline}" for line in lines)))
