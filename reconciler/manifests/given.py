"""Manifests that are given to be applied: what `pai get -o yaml` or an editor gave, with the text of each.

As with kubectl, objects may come in a List, and with the `status` that they were shown with, which is left out; so are
secrets and keys as `pai get all` lists them, without a value. Apart from that the same rules hold as for a file of the
repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reconciler.core.objects import KIND_OF_MANIFEST, Kind
from reconciler.manifests import nodes
from reconciler.manifests.edit import document_texts
from reconciler.manifests.facts import Facts
from reconciler.manifests.reading import GIVEN_BYTES_MAX, read_manifests
from reconciler.manifests.tree import Document


class GivenDocument(NamedTuple):
    """One object and the text that it was given in, "" if that text holds more: a List, or a `status`."""

    value: dict[str, object]
    text: str


class Given(NamedTuple):
    """One file that is given: what it says, as any file does, and its objects by kind and name.

    Places would not tell the objects apart: a whole List may stand on one line.
    """

    facts: Facts
    documents: Mapping[tuple[Kind, str], GivenDocument]


def read_given(data: bytes) -> Given:
    """Read a file that is given. Never raises."""
    whole: list[Document] = []
    parts: list[tuple[Document, int]] = []

    def objects(documents: Iterator[Document]) -> Iterator[Document]:
        for document in documents:
            for each in _objects(document):
                parts.append((each, len(whole)))
                yield each
            whole.append(document)

    facts = read_manifests(data, objects, GIVEN_BYTES_MAX)
    if facts.problems and any(problem.severity == "error" for problem in facts.problems):
        return Given(facts, {})
    texts = document_texts(data.decode())
    found: dict[tuple[Kind, str], GivenDocument] = {}
    for document, place in parts:
        if isinstance(document.root, nodes.Mapping):
            value: dict[str, Any] = document.root.value
            text = texts[place] if document is whole[place] else ""
            found[KIND_OF_MANIFEST[value["kind"]], value["metadata"]["name"]] = GivenDocument(value, text)
    return Given(facts, found)


def _objects(document: Document) -> Iterator[Document]:
    """Yield each object of a List as a document of its own; any other document is given as it is."""
    root = document.root
    if isinstance(root, nodes.Mapping) and (root.value.get("apiVersion"), root.value.get("kind")) == ("v1", "List"):
        items = root.items.get("items")
        if isinstance(items, nodes.Sequence) and (items.items or not document.problems):
            given = [item for item in items.items if not _is_listed(item)]
            for number, item in enumerate(given):
                yield _part(document, item, first=number == 0)
            if given or not document.problems:
                return
    yield _part(document, root, first=True) if isinstance(root, nodes.Mapping) and "status" in root.items else document


def _is_listed(node: nodes.Node) -> bool:
    """Tell whether an item is a secret or a key as `pai get all` lists it: a name, with nothing to commit."""
    if not isinstance(node, nodes.Mapping):
        return False
    fields, kind = node.value.keys(), node.value.get("kind")
    return (kind == "Secret" and fields == _SECRET) or (kind == "Key" and fields - {"admin"} == _KEY)


_OBJECT = {"apiVersion", "kind", "metadata"}
_SECRET, _KEY = _OBJECT | {"keys"}, _OBJECT | {"agent", "expires", "networks"}
"""The fields of a secret and of a key as they are listed."""


def _part(document: Document, root: nodes.Node, *, first: bool) -> Document:
    """Give an object of a document without its status; the first one gets the problems of the whole document."""
    part = Document(document.start)
    part.end = document.end
    part.numbers, part.mappings = document.numbers, document.mappings
    if first:
        part.problems, part.repeated = document.problems, document.repeated
    part.root = root.without("status") if isinstance(root, nodes.Mapping) else root
    return part
