"""Changing one document of a file and leaving every other byte as it is.

An edit is tried node by node in the text (`edit_nodes`); the result is parsed again, and only if it means exactly what
was asked for (and every other document means what it did) is it given back. Otherwise the document's body is written
anew. Comments on lines that do not change stay. Nothing here judges manifests.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping as AbstractMapping
from typing import NamedTuple

from reconciler.core.canonical import as_json_reads, same_value
from reconciler.manifests.edit_nodes import CannotEdit, NodeEditor
from reconciler.manifests.emit import render
from reconciler.manifests.nodes import Mapping
from reconciler.manifests.spans import Spans
from reconciler.manifests.tree import DEPTH_MAX, Document, documents

_BOM = "\ufeff"
_SEPARATOR = re.compile(r"---(?:[ \t]+|(?=\r?\n)|\Z)(?:\r?\n)?")
_END = re.compile(r"\r?\n\.\.\.[ \t]*(?:#[^\n]*)?\s*\Z")
_WAYS = ((False, DEPTH_MAX), (True, DEPTH_MAX), (True, 2), (True, 1))
"""How an edit is tried: from the smallest change to one that writes each field of the document anew that differs."""


class LoadedDocument(NamedTuple):
    """The plain values of one document and the line of its first token."""

    value: dict[str, object]
    line: int


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
    assert isinstance(root, Mapping)
    goal = {name: _as_read(value) for name, value in wanted.items()}
    if same_value(root.value, goal):
        return bom + text
    for whole_flow, depth in _WAYS:
        with contextlib.suppress(CannotEdit):
            edited = NodeEditor(text, _newline(text), root, whole_flow=whole_flow, depth=depth).run(root, goal)
            if _means(edited, before, place, goal):
                return bom + edited
    return bom + _rewritten(text, before, place, goal)


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
    end = len(text) if last else _lead(text, before[place + 1].start)
    if not text.startswith(("---", "%"), start):
        start = _after_header(text, start)
        if not last and text[end:].split("\n", 1)[0].strip() == "---":
            end = text.find("\n", end) + 1
    elif place:
        start = _lead(text, start)
    return bom + text[:start] + text[end:]


def document_texts(text: str) -> list[str]:
    """Give the text of each document with the comments that belong to it, "" for one that cannot stand alone.

    A document alone has no separator. A comment block belongs to the document that it stands over, also above the
    separator if a blank line is before it.
    """
    _, text = _split_bom(text)
    found = list(documents(text))
    texts: list[str] = []
    for place, document in enumerate(found):
        start = found[place - 1].end if place else 0
        end = _lead(text, found[place + 1].start) if place + 1 < len(found) else len(text)
        body = text[document.start : end]
        lead = text[_lead(text, document.start) if place else 0 : document.start]
        if found_separator := _SEPARATOR.match(body):
            body = body[found_separator.end() :]
        else:
            lead = text[start : document.start] if place else lead
        alone = lead.lstrip() + _END.sub("\n", body).rstrip() + _newline(text)
        read = list(documents(alone))
        stands = (
            len(read) == 1
            and not body.startswith("%")
            and not read[0].problems
            and same_value(_value(read[0])[0], _value(document)[0])
        )
        texts.append(alone if stands else "")
    return texts


def _lead(text: str, start: int) -> int:
    """Find where the comments begin that stand over a separator: directly above it, below a blank line or an end."""
    first = start
    while first and text[(above := text.rfind("\n", 0, first - 1) + 1)] == "#":
        first = above
    line = text[text.rfind("\n", 0, max(0, first - 1)) + 1 : first].strip()
    return first if first and line in ("", "...") else start


def append_document(text: str, document: str) -> str:
    """Add a document, as `render` or `document_texts` gives it, at the end of a file, with that file's line breaks."""
    newline = _newline(text)
    document = document.replace("\r\n", "\n").replace("\n", newline)
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


def _value(document: Document) -> tuple[object, int]:
    """Give what a document means, and how many problems it has."""
    return None if document.root is None else document.root.value, len(document.problems)


def _means(text: str, before: list[Document], place: int, wanted: object) -> bool:
    """Tell whether the document at `place` means `wanted` in a text, and every other one what it meant before."""
    found = list(documents(text))
    if len(found) != len(before):
        return False
    for number, (new, old) in enumerate(zip(map(_value, found), map(_value, before), strict=True)):
        value, problems = (wanted, 0) if number == place else old
        if not same_value(new[0], value) or new[1] != problems:
            return False
    return True


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


def _rewritten(text: str, before: list[Document], place: int, wanted: AbstractMapping[str, object]) -> str:
    """Write the whole body of a document anew."""
    root = before[place].root
    assert root is not None
    newline = _newline(text)
    start, end = root.index, Spans(text).end(root)
    line_start = text.rfind("\n", 0, start) + 1
    body = render(wanted, literal=False).removesuffix("\n").replace("\n", newline)
    if text[line_start:start].strip():
        body = newline + body  # the document begins beside its separator
    else:
        start = line_start
    result = text[:start] + body + text[end:]
    if _means(result, before, place, wanted):
        return result
    # a comment or an end marker beside the last value may not stand beside the new one
    result = text[:start] + body + newline + text[end:].lstrip(" \t")
    assert _means(result, before, place, wanted), "a rendered document means what it was made from"
    return result
