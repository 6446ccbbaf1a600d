"""The short ways through the parser and the search for keys say what the long ways say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.manifests import tree
from reconciler.manifests.documents import literal_keys, may_have_literal_keys
from reconciler.manifests.nodes import Mapping, Node, Scalar
from reconciler.manifests.tree import Document, documents

CORPUS = [path.read_text(errors="ignore") for path in sorted((Path(__file__).parent / "corpus").rglob("*.yaml"))]
LITERAL = "a1b2c3d4e5f6g7h8i9"
PIECES = [
    *("\n", "  ", "- ", ": ", "? ", "#", '"', "'", "[", "]", "{", "}", ",", "\\", "---\n", "|\n  ", "<<: "),
    *("&a ", "*a", "*a : ", "!!str ", "!x ", "!!int ", "1", "1.0", "1e400", "0x1F", "~", "true", "no", "a: ", "a"),
    *("apiKey: ", '"apiKey": ', "password", "name: X_API_KEY\n", "value: ", LITERAL, "\u2028", "\ufeff", "\r"),
]


@st.composite
def _texts(draw: st.DrawFn) -> str:
    """Give a text of pieces of YAML, or one of the corpus with such pieces put into it."""
    text = draw(st.sampled_from(["", *CORPUS]))[:1500]
    for piece in draw(st.lists(st.sampled_from(PIECES), max_size=12 if text == "" else 4)):
        at = draw(st.integers(0, len(text))) if text else 0
        text = text[:at] + piece + text[at:]
    return text


def _shown(node: Node | None) -> object:
    if node is None or isinstance(node, Scalar):
        return node and (node.text, repr(node.value), node.line, node.column, node.plain)
    place = (node.line, node.column, repr(node.value))
    if isinstance(node, Mapping):
        keys = [(name, _shown(key)) for name, key in node.keys.items()]
        return (*place, node.merged, keys, [(name, _shown(item)) for name, item in node.items.items()])
    return (*place, [_shown(item) for item in node.items])


def _all(text: str, *, usual: bool) -> list[object]:
    builder = tree._Builder(text, indexed=False)
    builder._usual = builder._usual and usual
    return [
        (_shown(d.root), d.problems, [_shown(n) for n in d.numbers], d.start, d.end, len(d.mappings))
        for d in builder.documents()
    ]


@settings(max_examples=300, deadline=None)
@given(_texts())
@example("a: &x {b: [1, *x]}\nc: {<<: *x, d: 1e400}\n? [k]\n: v\n")
@example("a: 1\na: {b: 2}\nc: !!str 3\n? &k d\n: ~\n")
def test_usual_way_builds_the_same_documents(text: str) -> None:
    """The loop with the usual events written out builds what the handlers build, problems and places included."""
    assert _all(text, usual=True) == _all(text, usual=False)


def _found(document: Document) -> list[object]:
    return [] if document.root is None else list(literal_keys(document.root))


@settings(max_examples=300, deadline=None)
@given(_texts())
@example(f"a: &k apiKey\nb: {{*k : {LITERAL}}}\n")
@example(f"a: &k API_KEY\nb: [{{name: *k, value: {LITERAL}}}]\n")
@example(f'"api\\x4bey": {LITERAL}\n')
@example(f"? >-\n  apiKey\n: {LITERAL}\n")
def test_document_without_a_field_to_look_at_has_no_literal_key(text: str) -> None:
    """Nothing that the walk through the tree finds is missed by the look at the mappings before."""
    for document in documents(text):
        assert may_have_literal_keys(document) or not _found(document)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("spec:   # nothing", (1, 6)),
        ("spec:\nb: 1", (1, 6)),
        ("{spec: }", (1, 7)),
        ("{a: 1, spec:     , b: 2}", (1, 13)),
        ("{a: 1,\n spec:\t\n   }", (2, 7)),
        ("{a: 1,\r\n spec:\r\n   }", (2, 7)),
        ("# \u2028\n{spec: }", (2, 7)),
        ('{spec: ""}', (1, 8)),
        ("{spec: !!str }", (1, 8)),
        ("{spec: null}", (1, 8)),
    ],
)
def test_empty_value_is_right_behind_its_colon(text: str, place: tuple[int, int]) -> None:
    """Also between brackets, where libyaml is at the next token by then. One that is written is where it is written."""
    (document,) = documents(text)
    assert isinstance(document.root, Mapping)
    node = document.root.items["spec"]
    assert (node.line, node.column) == place


def test_examples_with_literal_keys_are_found() -> None:
    """The property above is not empty: aliases, escapes, long keys and lists of an environment all count."""
    texts = [
        f"b: {{apiKey: {LITERAL}}}\n",
        f"a: &k apiKey\nb: {{*k : {LITERAL}}}\n",
        f"a: &k API_KEY\nb: [{{name: *k, value: {LITERAL}}}]\n",
        f'"api\\x4bey": {LITERAL}\n',
        f"? >-\n  apiKey\n: {LITERAL}\n",
    ]
    assert [len(_found(next(documents(text)))) for text in texts] == [1] * len(texts)
