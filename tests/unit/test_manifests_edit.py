"""Writing back: the document that changes means what was asked for, every other byte stays."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.manifests.edit import append_document, delete_document, document_texts, load_documents, replace_document
from reconciler.manifests.emit import render

MODEL = """\
# who may spend what
apiVersion: pai.io/v1
kind: ModelBinding
metadata:
  name: gemini-flash   # used by everyone
spec:
  # the cheap one
  provider: gemini
  model: 'gemini-2.0-flash'

  maxTokensPerDay: 1000   # agreed in June
  apiKeySecretRef: {name: gemini-key, key: api-key}  # rotated monthly
"""
AGENT = """\
apiVersion: pai.io/v1
kind: AgentWorkload
metadata: {name: my-agent}
spec:
  modelBindings:
    - gemini-flash   # first
    # then
    - claude-sonnet
  env:
  - name: A
    value: x
  - name: B
    value: y
"""


def values(text: str) -> list[dict[str, object]]:
    return [document.value for document in load_documents(text.encode())]


def edited(text: str, place: int, **spec: object) -> str:
    """Replace fields of the spec of document number `place`; None takes a field out."""
    document = load_documents(text.encode())[place]
    wanted = json.loads(json.dumps(document.value))
    for name, value in spec.items():
        wanted["spec"][name] = value
        if value is None:
            del wanted["spec"][name]
    result = replace_document(text, document.line, wanted)
    assert values(result)[place] == wanted
    return result


def test_changed_value_changes_only_its_own_characters() -> None:
    """A new budget leaves comments, blank lines and quotes alone."""
    assert edited(MODEL, 0, maxTokensPerDay=2000) == MODEL.replace("1000 ", "2000 ")


def test_changed_quoted_value_keeps_its_quotes() -> None:
    """The author's kind of quotes stays."""
    assert edited(MODEL, 0, model="it's") == MODEL.replace("'gemini-2.0-flash'", "'it''s'")


def test_added_field_goes_below_the_last_one() -> None:
    """A new field gets a line of its own with the mapping's indentation."""
    assert edited(MODEL, 0, maxTokensPerRequest=9) == MODEL + "  maxTokensPerRequest: 9\n"


def test_removed_field_takes_its_line_only() -> None:
    """The comment above stays, the one beside goes."""
    assert edited(MODEL, 0, maxTokensPerDay=None) == MODEL.replace("  maxTokensPerDay: 1000   # agreed in June\n", "")


def test_flow_mapping_is_edited_in_place() -> None:
    """Fields within braces change, come and go without touching what is around."""
    changed = edited(MODEL, 0, apiKeySecretRef={"name": "other"})
    assert changed == MODEL.replace("{name: gemini-key, key: api-key}", "{name: other}")


def test_list_items_come_and_go_line_by_line() -> None:
    """An item's comment goes with it, the others stay."""
    assert edited(AGENT, 0, modelBindings=["claude-sonnet"]) == AGENT.replace("    - gemini-flash   # first\n", "")
    assert edited(AGENT, 0, modelBindings=["gemini-flash", "claude-sonnet", "x"]) == AGENT.replace(
        "    - claude-sonnet\n", "    - claude-sonnet\n    - x\n"
    )
    assert edited(AGENT, 0, modelBindings=["x", "gemini-flash", "claude-sonnet"]) == AGENT.replace(
        "    - gemini-flash ", "    - x\n    - gemini-flash "
    )


def test_nested_items_are_edited_below_their_dash() -> None:
    """A mapping inside a list item keeps its form."""
    env = [{"name": "A", "value": "x"}, {"name": "B", "value": "z", "extra": True}]
    assert edited(AGENT, 0, env=env) == AGENT.replace("    value: y\n", "    value: z\n    extra: true\n")


def test_scalar_that_becomes_a_mapping_is_written_below_its_key() -> None:
    """Only the field's own lines change."""
    assert edited(AGENT, 0, env={"A": ["x"]}) == AGENT[: AGENT.index("  env")] + "  env:\n    A:\n      - x\n"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_other_documents_keep_every_byte(place: int) -> None:
    """An edit in one document leaves the ones before and after it as they were."""
    parts = [MODEL, AGENT, MODEL.replace("gemini-flash ", "other ")]
    result = edited("---\n".join(parts), place, added=1)
    assert [part == old for part, old in zip(result.split("---\n"), parts, strict=True)] == [
        number != place for number in range(3)
    ]


def test_windows_line_breaks_and_byte_order_mark_stay() -> None:
    """New lines end as the file's lines do."""
    text = "\ufeff" + (MODEL + "---\n" + AGENT).replace("\n", "\r\n")
    result = edited(text, 0, labels=["a", "b"])
    assert result.startswith("\ufeff# who")
    assert result.count("\n") == result.count("\r\n") == text.count("\n") + 3


def test_document_that_cannot_be_edited_in_place_is_written_anew_alone() -> None:
    """Anchors that would change two places at once make the body be rendered; the neighbour stays."""
    text = "a: &x {k: 1}\nb: *x\n# end\n---\nc: 1 # keep\n"
    result = replace_document(text, 1, {"a": {"k": 2}, "b": {"k": 1}})
    assert values(result) == [{"a": {"k": 2}, "b": {"k": 1}}, {"c": 1}]
    assert result.endswith("---\nc: 1 # keep\n")


def test_unchanged_document_stays_byte_for_byte() -> None:
    """Nothing to change means nothing changes."""
    assert edited(MODEL, 0) == MODEL


def test_whole_float_is_written_as_it_will_be_read() -> None:
    """JSON knows one kind of number, so 1.0 and 1 are no difference."""
    assert replace_document("a: 1\nb: 2\n", 1, {"a": 1.0, "b": 3.0}) == "a: 1\nb: 3\n"


def test_missing_document_is_an_error() -> None:
    """A line where no document begins is a mistake of the caller."""
    with pytest.raises(ValueError, match="line 3"):
        replace_document(MODEL, 3, {})


@pytest.mark.parametrize(
    ("text", "line", "left"),
    [
        ("a: 1\n", 1, None),
        ("# c\n---\na: 1\n---\n# only comments\n", 3, None),
        ("a: 1\n---\nb: 2\n", 1, "b: 2\n"),
        ("a: 1\n---\nb: 2\n", 3, "a: 1\n"),
        ("---\na: 1\n---\nb: 2\n---\nc: 3\n", 4, "---\na: 1\n---\nc: 3\n"),
        ("---\na: 1\n---\nb: 2\n", 2, "---\nb: 2\n"),
        ("# licence\n\n# about a\na: 1\n---\n# about b\nb: 2\n", 4, "# licence\n\n# about b\nb: 2\n"),
        ("\ufeffa: 1\r\n---\r\nb: 2\r\n", 1, "\ufeffb: 2\r\n"),
    ],
)
def test_deleted_document_goes_with_one_separator(text: str, line: int, left: str | None) -> None:
    """What is left has neither the document nor a separator too many; nothing left is None."""
    assert delete_document(text, line) == left


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", "x: 1\n"),
        ("# c\n", "# c\nx: 1\n"),
        ("a: 1", "a: 1\n---\nx: 1\n"),
        ("a: 1\r\n", "a: 1\r\n---\r\nx: 1\r\n"),
    ],
)
@pytest.mark.parametrize("given", ["x: 1\n", "x: 1\r\n"])
def test_appended_document_follows_a_separator(text: str, result: str, given: str) -> None:
    """A separator stands between documents, never before the first; lines end as the file's do."""
    assert append_document(text, given) == result


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a: 1\n", ["a: 1\n"]),
        ("a: 1", ["a: 1\n"]),
        ("\ufeff# c\na: 1\n", ["# c\na: 1\n"]),
        ("# c\n---\na: 1\n...\n", ["# c\na: 1\n"]),
        ("a: 1 # x\n# end\n---\n# over\nb: 2\n", ["a: 1 # x\n# end\n", "# over\nb: 2\n"]),
        ("a: 1\n\n# over\n---\nb: 2\n", ["a: 1\n", "# over\nb: 2\n"]),
        ("a: 1\n# mine\n---\nb: 2\n", ["a: 1\n# mine\n", "b: 2\n"]),
        ("--- # c\na: &x 1\nb: *x\n", ["# c\na: &x 1\nb: *x\n"]),
        ("%YAML 1.2\n---\na: 1\n", [""]),
        ("a: 1\r\n---\r\nb: 2\r\n", ["a: 1\r\n", "b: 2\r\n"]),
        ("a: |\n  # no comment\n\n---\nb: 2\n", ["a: |\n  # no comment\n", "b: 2\n"]),
    ],
)
def test_document_stands_alone_with_its_comments(text: str, texts: list[str]) -> None:
    """A comment belongs to the document that it stands over; what cannot stand alone has no text."""
    assert document_texts(text) == texts


def test_deleted_document_takes_the_comment_that_stands_over_it() -> None:
    """Also one above its separator, below a blank line; the next document's stays."""
    text = "a: 1\n\n# over b\n---\nb: 2\n\n# over c\n---\nc: 3\n"
    assert delete_document(text, 5) == "a: 1\n\n# over c\n---\nc: 3\n"
    assert delete_document(text, 1) == "# over b\n---\nb: 2\n\n# over c\n---\nc: 3\n"


def test_rendered_document_has_the_usual_order() -> None:
    """Fields come as people write them, text of several lines as a block."""
    document = {
        "spec": {"b": [1, {"c": [], "d": "x\ny\n"}], "a": {}},
        "metadata": {"labels": {"x": "1"}, "name": "nn"},
        "kind": "K",
        "apiVersion": "v",
    }
    assert render(document) == (
        'apiVersion: v\nkind: K\nmetadata:\n  name: nn\n  labels:\n    x: "1"\n'
        "spec:\n  b:\n    - 1\n    - c: []\n      d: |\n        x\n        y\n  a: {}\n"
    )


ODD_TEXTS = [
    "no",
    "on",
    "y",
    "0777",
    "0o7",
    "1e3",
    "1_000",
    "12:30:45",
    "2026-11-23",
    "~",
    "null",
    "<<",
    "=",
    "|",
    "&a",
    "*a",
    "!x",
    "%",
    "@",
    "`",
    "'",
    '"',
    "---",
    "...",
    "[a",
    "{a",
    ".inf",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [*ODD_TEXTS, "- a", "a: b", "a #b", "", " ", "a\nb\n"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
    | TEXTS
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
OBJECTS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(OBJECTS)
def test_rendered_values_are_read_back(value: dict[str, object]) -> None:
    """Whatever is rendered means the same to this package and, as far as text goes, to a YAML 1.1 reader."""
    text = render(value)
    assert repr(values(text)) == repr([dict(sorted(value.items(), key=lambda kv: list(values(text)[0]).index(kv[0])))])
    strings = {key: item for key, item in value.items() if isinstance(item, str)}
    assert not strings or yaml.load(render(strings), yaml.CSafeLoader) == strings


@settings(max_examples=70, deadline=None)
@given(st.data(), OBJECTS, st.sampled_from(["block", "json", "flow"]), st.sampled_from(["\n", "\r\n"]))
def test_edited_document_means_what_was_wanted(
    data: st.DataObject, old: dict[str, object], form: str, eol: str
) -> None:
    """For any old and new object in a file of several documents, only that document changes, to the new one."""
    new = dict(old)
    for name in data.draw(st.lists(st.sampled_from(sorted(old)), unique=True, max_size=2)):
        new[name] = data.draw(VALUES)
        if data.draw(st.booleans()):
            del new[name]
    new |= data.draw(st.dictionaries(TEXTS, VALUES, max_size=2))
    dumped = yaml.dump(old, Dumper=yaml.CSafeDumper, default_flow_style=form == "flow", sort_keys=False, width=40)
    body = {"block": render(old), "json": json.dumps(old) + "\n", "flow": dumped}[form].replace("\n", eol)
    head, tail = f"# first{eol}a: 1{eol}---{eol}", f"---{eol}# last{eol}b: [1, 2] # kept{eol}"
    text = head + body + tail
    documents = load_documents(text.encode())
    if len(documents) != 3 or repr(documents[1].value) != repr(old):
        return  # YAML 1.1 text of the dumper that 1.2 reads in another way
    result = replace_document(text, documents[1].line, new)
    assert result.startswith(head)
    assert result.endswith(tail)
    found = values(result)[1] if new else new
    assert json.dumps(found, sort_keys=True) == json.dumps(new, sort_keys=True)


@settings(max_examples=20, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=4), st.data())
def test_deleted_document_leaves_the_others(objects: list[dict[str, object]], data: st.DataObject) -> None:
    """Documents that are appended and deleted again leave the file as it was."""
    text = ""
    for value in objects:
        text = append_document(text, render(value))
    place = data.draw(st.integers(0, len(objects) - 1))
    left = delete_document(text, load_documents(text.encode())[place].line)
    rest = objects[:place] + objects[place + 1 :]
    assert (left is None) == (not rest)
    assert [json.dumps(v, sort_keys=True) for v in values(left or "")] == [json.dumps(v, sort_keys=True) for v in rest]
