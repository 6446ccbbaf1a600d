"""Random edits of random documents: all text outside the node that is edited stays, byte for byte.

`PAI_EDITS=30000 python -m pytest tests/unit/test_manifests_edit_anywhere.py` tries as many as are asked for.
"""

from __future__ import annotations

import json
import os
import random
import re

import pytest
import yaml

from reconciler.manifests.edit import load_documents, replace_document
from reconciler.manifests.tree import documents
from tests.unit.documents_at_random import Edit, Written, an_edit, written

EDITS = int(os.environ.get("PAI_EDITS", "1500"))
_COMMENT = re.compile(r"# (?:note \d+|over|head|end)\b")


def a_case(seed: int) -> tuple[Written, Edit] | None:
    """Make one file and one edit; None if it is no document of ours (a number that no reader keeps, say)."""
    chance = random.Random(seed)  # noqa: S311
    try:
        file = written(chance)
        found = [document for document in load_documents(file.text.encode()) if document.line == file.line]
        if not found or any(document.problems for document in documents(file.text)):
            return None
        return file, an_edit(chance, file.text, file.line, found[0].value)
    except (yaml.YAMLError, IndexError, ValueError):
        return None


def test_edit_changes_nothing_outside_its_node() -> None:
    """Comments, blank lines, quotes, anchors, brackets and the other documents stay where they were."""
    passed_over = 0
    for seed in range(EDITS):
        case = a_case(seed)
        if case is None:
            passed_over += 1
            continue
        (text, line), edit = case
        result = replace_document(text, line, edit.wanted)
        place = [document.line for document in load_documents(text.encode())].index(line)
        value = load_documents(result.encode())[place].value
        assert json.dumps(value, sort_keys=True) == json.dumps(edit.wanted, sort_keys=True), seed
        before, after = text[: edit.start], text[edit.end :]
        if edit.strict:
            assert result.startswith(before), seed
            assert result.endswith(after), seed
        kept = set(_COMMENT.findall(result))
        assert {comment for comment in _COMMENT.findall(before + "\n" + after) if comment not in kept} == set(), seed
    assert passed_over < EDITS / 50


TEAM = """\
# the team's models
apiVersion: pai.io/v1
kind: ModelBinding
metadata: &meta
  name: flash
  labels: {tier: &tier cheap, "team": 'a'}   # who pays
  annotations: !!map
    owner: !!str 7   # a number of theirs
    note: >-
      words that
      are folded
    why: |
      first
      second
spec: &spec
  # the cheap one
  provider: gemini
  model: &model 'gemini-2.0-flash'
  maxTokensPerDay: 1000   # agreed in June
  # not yet: maxTokensPerRequest
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("spec", "maxTokensPerDay"), 2000, "1000 ", "2000 "),
        (("spec", "model"), "it's", "&model 'gemini-2.0-flash'", "&model 'it''s'"),
        (("spec", "maxTokensPerRequest"), 9, "agreed in June\n", "agreed in June\n  maxTokensPerRequest: 9\n"),
        (("metadata", "labels", "tier"), "dear", "&tier cheap", "&tier dear"),
        (("metadata", "labels", "new"), "x", "'a'}", "'a', new: x}"),
        (("metadata", "annotations", "owner"), "8", "!!str 7", '!!str "8"'),
        (("metadata", "annotations", "note"), "one\ntwo", "words that\n      are folded", "one\n\n      two"),
        (
            ("metadata", "annotations", "why"),
            "first\nthird",
            "|\n      first\n      second",
            "|-\n      first\n      third",
        ),
        (("metadata", "annotations", "why"), None, "    why: |\n      first\n      second\n", ""),
    ],
)
def test_form_of_what_stands_there_is_kept(path: tuple[str, ...], value: object, old: str, new: str) -> None:
    """Anchors, tags, quotes, brackets and blocks stay what they are; None takes the field out."""
    (document,) = load_documents(TEAM.encode())
    place = document.value
    for name in path[:-1]:
        place = place[name]  # type: ignore[assignment]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert replace_document(TEAM, document.line, document.value) == TEAM.replace(old, new)


@pytest.mark.parametrize(
    ("text", "wanted", "result"),
    [
        ("a: &x 1\nb: *x # c\n", {"a": 2, "b": 2}, "a: &x 2\nb: *x # c\n"),
        ("a: &x 1\nb: *x # c\n", {"a": 2, "b": 1}, "a: &x 2\nb: 1 # c\n"),
        ("a: &x {k: 1}\nb: *x # c\n", {"b": {"k": 1}}, "b:\n  k: 1 # c\n"),
        ("a: &x [1]\nb: [*x, 2]\n", {"a": [3], "b": [[1], 2]}, "a: &x [3]\nb: [[1], 2]\n"),
    ],
)
def test_alias_is_written_out_where_it_would_mean_something_else(
    text: str, wanted: dict[str, object], result: str
) -> None:
    """An alias follows its anchor only if that is what is wanted of it."""
    assert replace_document(text, 1, wanted) == result


@pytest.mark.parametrize(
    ("wanted", "result"),
    [
        ({"a": 1, "b": [1], "c": "x"}, '{\n  "a": 1,\n  "b": [1],\n  "c": "x"\n}\n'),
        ({"b": [1]}, '{\n  "b": [1]\n}\n'),
        ({"a": 1}, '{\n  "a": 1\n}\n'),
        ({"a": "no", "b": [1, {"k": None}]}, '{\n  "a": "no",\n  "b": [1, {"k": null}]\n}\n'),
    ],
)
def test_json_stays_json(wanted: dict[str, object], result: str) -> None:
    """A JSON file is one afterwards, in its own layout."""
    edited = replace_document('{\n  "a": 1,\n  "b": [1]\n}\n', 1, wanted)
    assert edited == result
    assert json.loads(edited) == wanted


def test_neighbour_that_is_broken_does_not_matter() -> None:
    """What is wrong with another document of the file stays as wrong as it was."""
    text = "a: 1 # x\n---\nb: 1\nb: 2\n---\nc: [\n"
    assert replace_document(text, 1, {"a": 2}) == text.replace("a: 1", "a: 2")


def test_items_of_one_name_are_edited_where_they_stand() -> None:
    """A list of named things changes like kubectl's users mean it: one goes, another changes, each with its comment."""
    text = "env:\n- name: A # a\n  value: 1\n- name: B # b\n  value: 2\n- name: C # c\n  value: 3\n"
    wanted = {"env": [{"name": "B", "value": 9}, {"name": "C", "value": 3}]}
    assert replace_document(text, 1, wanted) == "env:\n- name: B # b\n  value: 9\n- name: C # c\n  value: 3\n"
