"""The files in schemas/ as others use them: check-jsonschema on every manifest, the names that kubeconform looks for.

check-jsonschema takes one document a file and one schema a run, so the documents of the corpus are taken apart first.
It reads YAML with another library, which stumbles over a few of them; those are listed, so that a new one is noticed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest

from reconciler.core.objects import API_VERSION, KIND_OF_MANIFEST
from reconciler.manifests import rules
from reconciler.manifests.reading import read_manifests
from reconciler.manifests.tree import documents
from tests.support_docs import DOCS, ROOT

SCHEMAS = ROOT / "schemas"
CORPUS = ROOT / "tests" / "unit" / "corpus"
SEEN = {
    rules.NAMESPACE, rules.STATUS, rules.UNKNOWN_FIELD, rules.MISSING_FIELD, rules.WRONG_TYPE, rules.BAD_NAME,
    rules.WRONG_VALUE, rules.BUDGET, rules.REPEATED_ITEM, rules.LABELS,
}  # fmt: skip
"""Rules that a schema can see broken."""
OTHERS_STUMBLE = {
    "line-separators": "NEL, LS and PS are line breaks to it, as in YAML 1.1",
    "tabs-after-values": "it refuses a tab before a comment",
    "names-of-yaml-1.1": "0777 is a number to it",
}
"""Good files that its YAML library reads in another way, and why."""
UNSEEN = {
    "budgets": "how a number is typed: 1_000_000, 0x10, 1e3 are numbers to a schema",
    "annotations-too-large": "all annotations together",
}
"""Bad files of which some documents fit the schema, and why."""
TOO_LONG_A_NUMBER = re.compile("[0-9]{1000}")
"""It ends with a stack trace on an integer of thousands of digits."""


class Part(NamedTuple):
    """One document in a file of its own: where it came from, and the rules that it breaks."""

    path: Path
    origin: Path
    broken: set[str]


def kind_of(value: object) -> str:
    """Give the kind of a document's value, "" if it is none of Pai's."""
    kind = value.get("kind") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) and kind in KIND_OF_MANIFEST else ""


def parts(folder: Path, files: list[Path], kind: str) -> Iterator[Part]:
    """Write each document of a kind into a file of its own."""
    for origin in files:
        try:
            text = origin.read_bytes().decode().removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue
        problems = read_manifests(origin.read_bytes()).problems
        for number, document in enumerate(documents(text)):
            if document.root is None or document.end < 0 or kind_of(document.root.value) != kind:
                continue
            lines = range(text.count("\n", 0, document.start) + 1, text.count("\n", 0, document.end) + 2)
            path = folder / f"{origin.parent.name}-{origin.stem}-{number}.yaml"
            path.write_text(text[document.start : document.end], newline="")
            yield Part(path, origin, {problem.rule for problem in problems if problem.line in lines})


def refused(kind: str, paths: list[Path]) -> set[Path]:
    """Have check-jsonschema check files, and give those that it does not accept."""
    schema = SCHEMAS / f"{kind.lower()}_v1.json"
    command = [sys.executable, "-m", "check_jsonschema", "--output-format", "json", "--schemafile", str(schema)]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("{"), done.stderr[-2000:]
    said = json.loads(done.stdout)
    return {Path(error["filename"]) for error in (*said.get("errors", []), *said.get("parse_errors", []))}


@pytest.mark.parametrize("kind", KIND_OF_MANIFEST)
def test_check_jsonschema_accepts_every_good_manifest(tmp_path: Path, kind: str) -> None:
    """The examples and the good files of the corpus pass, but for what its own reader of YAML takes otherwise."""
    files = [*sorted((ROOT / "manifests").rglob("*.yaml")), *sorted((CORPUS / "good").glob("*.yaml"))]
    good = list(parts(tmp_path, files, kind))

    found = refused(kind, [part.path for part in good])

    assert {part.origin.stem for part in good if part.path in found} <= OTHERS_STUMBLE.keys()
    assert len(good) - len(found) >= 3


@pytest.mark.parametrize("kind", KIND_OF_MANIFEST)
def test_check_jsonschema_refuses_what_a_schema_can_see(tmp_path: Path, kind: str) -> None:
    """Whatever breaks a rule about fields and values is refused there too."""
    bad = [
        part
        for part in parts(tmp_path, sorted((CORPUS / "bad").glob("*.yaml")), kind)
        if part.broken & SEEN and not TOO_LONG_A_NUMBER.search(part.path.read_text())
    ]

    found = refused(kind, [part.path for part in bad])

    assert {part.origin.stem for part in bad if part.path not in found} <= UNSEEN.keys()
    if kind == "ModelBinding":
        assert len([part for part in bad if part.path in found and part.origin.stem == "budgets"]) >= 10
    assert set().union(*(part.broken for part in bad)) >= {rules.UNKNOWN_FIELD, rules.MISSING_FIELD, rules.WRONG_TYPE}


@pytest.mark.parametrize("kind", KIND_OF_MANIFEST)
def test_schema_is_found_by_the_name_that_kubeconform_makes(kind: str) -> None:
    """`{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json`: the kind in lower case, the version without its group."""
    place = SCHEMAS / f"{kind.lower()}_{API_VERSION.rpartition('/')[2]}.json"
    assert place.is_file()
    assert sorted(path.name for path in SCHEMAS.iterdir()) == ["agentworkload_v1.json", "modelbinding_v1.json"]
    assert "{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json" in (DOCS / "ci.md").read_text()


@pytest.mark.parametrize("kind", KIND_OF_MANIFEST)
def test_schema_is_draft_07_and_stands_alone(kind: str) -> None:
    """Every validator can read it without fetching anything, and its examples are valid by it."""
    schema = json.loads((SCHEMAS / f"{kind.lower()}_v1.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["$id"].endswith(f"/{kind.lower()}_v1.json")
    assert all(reference.startswith("#/") for reference in references(schema))
    assert schema["examples"]
    for example in schema["examples"]:
        jsonschema.Draft7Validator(schema).validate(example)


def references(schema: object) -> Iterator[str]:
    """Yield every `$ref` of a schema."""
    if isinstance(schema, dict):
        yield from (value for name, value in schema.items() if name == "$ref")
    values = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for value in values:
        yield from references(value)
