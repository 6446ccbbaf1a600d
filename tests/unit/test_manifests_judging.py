"""Rules of a whole revision, and the schema files as others use them."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from reconciler.core.objects import Kind
from reconciler.manifests import judging
from reconciler.manifests.emit import render
from reconciler.manifests.facts import Facts, Problem, schema_folder
from reconciler.manifests.judging import deletion_problem, judge
from reconciler.manifests.reading import read_manifests
from reconciler.manifests.rules import RULES, rules_document

ROOT = Path(__file__).parents[2]


def model(name: str, **spec: object) -> dict[str, object]:
    fields = {"provider": "gemini", "model": "gemini-2.0-flash", **spec}
    return {"apiVersion": "pai.io/v1", "kind": "ModelBinding", "metadata": {"name": name}, "spec": fields}


def agent(name: str, *bindings: str) -> dict[str, object]:
    spec = {"modelBindings": list(bindings)}
    return {"apiVersion": "pai.io/v1", "kind": "AgentWorkload", "metadata": {"name": name}, "spec": spec}


def read(*documents: dict[str, object]) -> Facts:
    return read_manifests("---\n".join(map(render, documents)).encode())


def found(files: dict[str, Facts]) -> list[str]:
    return [f"{d.path}:{d.line}:{d.column} {d.rule}" for d in judge(files).diagnostics]


def test_same_name_in_two_files_is_refused_at_the_later_path() -> None:
    """Order of path decides, not the order in which files were read; the message names the first place."""
    files = {"b.yaml": read(model("m")), "a.yml": read(model("m")), "c.yaml": read(agent("m", "m"))}
    assert found(files) == ["b.yaml:4:9 PAI301"]
    assert "a.yml:4:9" in judge(files).diagnostics[0].message


def test_missing_binding_is_refused_at_the_list_item_with_a_suggestion() -> None:
    """The error points at the agent's line, also when the binding was only deleted."""
    files = {"m.yaml": read(model("gemini-flash")), "a.yaml": read(agent("a", "gemini-flash", "gemini-flsh"))}
    assert found(files) == ["a.yaml:8:7 PAI302"]
    assert judge(files).diagnostics[0].hint == "did you mean gemini-flash?"
    del files["m.yaml"]
    assert found(files) == ["a.yaml:7:7 PAI302", "a.yaml:8:7 PAI302"]


def test_broken_file_is_one_problem_and_the_rest_is_still_judged() -> None:
    """References to a binding whose file is broken hold; other files report theirs."""
    broken = read_manifests(render(model("m")).encode() + b"  x: [\n")
    files = {"m.yaml": broken, "a.yaml": read(agent("a", "m", "n")), "b.yaml": read(model("B"))}
    assert [line.split()[1] for line in found(files)] == ["PAI302", "PAI212", "PAI101"]


def test_objects_come_in_order_of_path_whatever_the_order_of_files() -> None:
    """Judging from a kept index and from nothing give the same verdict, order included."""
    files = {f"{n}.yaml": read(model(f"m{n}")) for n in (3, 1, 2)}
    assert list(judge(files).objects) == list(judge(dict(sorted(files.items()))).objects)
    assert [placed.path for placed in judge(files).objects.values()] == ["1.yaml", "2.yaml", "3.yaml"]


def test_warnings_alone_accept() -> None:
    """An unknown model is told and passes."""
    verdict = judge({"a.yaml": read(model("m", model="gemini-99"))})
    assert [d.severity for d in verdict.diagnostics] == ["warning"]
    assert verdict.accepted


@pytest.mark.parametrize(
    ("present", "wanted", "allowed", "refused"),
    [(4, 2, False, False), (4, 1, False, True), (4, 1, True, False), (3, 0, False, False), (5, 2, False, True)],
)
def test_deleting_more_than_half_of_four_needs_permission(
    present: int, wanted: int, allowed: bool, refused: bool
) -> None:
    """Half is fine, fewer than four objects are fine, the trailer allows the rest; new objects do not count."""
    kind: Kind = "model"
    before = [(kind, f"m{n}") for n in range(present)]
    after = [*before[:wanted], (kind, "new1"), (kind, "new2")]
    problem = deletion_problem(before, after, allowed)
    assert (problem is not None) is refused
    assert problem is None or problem.rule == "PAI303"


def test_rules_page_is_the_table() -> None:
    """docs/rules.md is written from the rules; ids are unique and their severity tells by the number."""
    assert (ROOT / "docs" / "rules.md").read_text() == rules_document()
    assert [r for r in RULES if RULES[r].severity == "warning"] == ["PAI251", "PAI252", "PAI253", "PAI254", "PAI351"]


@pytest.mark.parametrize("name", ["modelbinding_v1.json", "agentworkload_v1.json"])
def test_schema_file_is_valid_and_accepts_its_examples(name: str) -> None:
    """The files are draft-07, described throughout, and use no pattern that RE2 or ECMAScript lacks."""
    schema = json.loads((schema_folder() / name).read_text())
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["$id"].endswith(name)
    assert all(Draft7Validator(schema).is_valid(example) for example in schema["examples"])
    assert schema["additionalProperties"] is False
    assert "(?" not in json.dumps(schema)


NAMES = st.sampled_from(["m", "gemini-flash", "A", "a_b", "", "-a", "x" * 63, "x" * 64, "a.b", "a\n"])
BUDGETS = st.sampled_from([1, 0, -1, 2**53 - 1, 2**53, True, "1", None, 1.5, [1]])
REFS = st.fixed_dictionaries({}, optional={"name": NAMES, "key": NAMES, "other": NAMES}) | NAMES | st.none()
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "provider": st.sampled_from(["gemini", "openai", "Gemini", "", None, 1]),
        "model": st.sampled_from(["x", "a b", "", 4, None, "x" * 257]),
        "maxTokensPerDay": BUDGETS,
        "maxTokensPerRequest": BUDGETS,
        "apiKeySecretRef": REFS,
        "temperature": st.just(1),
    },
)
LABELS = st.dictionaries(
    st.sampled_from(["a", "a/b", "A.b/c", "/", "", "a b", "x" * 64]),
    st.sampled_from(["", "v", "not ok", 1, None, "x" * 64]),
    max_size=2,
)
BINDINGS = st.lists(NAMES | st.none(), max_size=3) | st.none() | NAMES


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(["ModelBinding", "AgentWorkload"]), NAMES | st.none(), LABELS | st.none(), SPECS, BINDINGS)
def test_verdict_on_one_document_agrees_with_the_schema(
    kind: str, name: object, labels: object, spec: dict[str, object], bindings: object
) -> None:
    """What the schema file refuses is refused, and nothing else, whichever of the two checkers looked."""
    if kind == "AgentWorkload":
        spec = {**spec, "modelBindings": bindings}
    document = {"apiVersion": "pai.io/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}
    schema = json.loads((schema_folder() / f"{kind.lower()}_v1.json").read_text())
    valid = Draft7Validator(schema).is_valid(document) and "\n" not in json.dumps(document).replace("\\n", "\n")
    numbers = [spec.get("maxTokensPerDay"), spec.get("maxTokensPerRequest")] if kind == "AgentWorkload" else []
    if any(type(number) is int and number >= 2**53 for number in numbers):
        valid = False  # a number that JSON cannot keep, which the schema of open fields cannot say
    facts = read_manifests(render(document).encode())
    assert bool(facts.manifests) == valid
    assert (not facts.manifests) == any(p.severity == "error" for p in facts.problems)


def test_warnings_alone_never_refuse_however_many() -> None:
    """What is not listed of a file's warnings is a warning too, and no error is left out for them."""
    new = [model(f"m{n}", model="brand-new") for n in range(1200)]
    verdict = judge({"a.yaml": read(*new)})
    assert verdict.accepted
    assert len(verdict.objects) == 1200
    assert [d.rule for d in verdict.diagnostics if d.rule != "PAI251"] == ["PAI351"]
    assert len(verdict.diagnostics) == 1001
    late = judge({"a.yaml": read(*new, model("late", provider="nobody"))})
    assert not late.accepted
    assert [d.rule for d in late.diagnostics if d.rule != "PAI251"] == ["PAI213", "PAI351"]


def test_errors_that_are_not_listed_are_an_error() -> None:
    """A list that is cut ends with the number of the rest, and what was cut refuses as what is listed does."""
    broken = read(*(model(f"m{n}", provider="nobody") for n in range(1200)))
    rules = [d.rule for d in judge({"a.yaml": broken}).diagnostics]
    assert (len(rules), rules.count("PAI304")) == (1001, 1)
    warned = Facts(problems=tuple(Problem(n, 1, "warning", "PAI251", "new") for n in range(1, 1001)))
    many = {f"{n:03}.yaml": warned for n in range(51)}
    many["z.yaml"] = read(model("z", provider="nobody"))
    verdict = judge(many)
    assert not verdict.accepted
    assert [(d.path, d.rule) for d in verdict.diagnostics if d.rule != "PAI251"] == [
        ("050.yaml", "PAI351"),
        ("z.yaml", "PAI304"),
    ]


def test_problems_at_long_paths_are_listed_within_bounds() -> None:
    """However long paths and names are, a listing stays within its characters, and what is left out is counted."""
    broken = read(model("same", provider="nobody"), agent("a", *(f"none{n}" for n in range(3))))
    paths = [f"{'d' * 3900}/{n:05}.yaml" for n in range(6000)]
    verdict = judge(dict.fromkeys(paths, broken))
    characters = sum(len(d.path) + len(d.message) + len(d.hint) + len(d.text) for d in verdict.diagnostics)
    assert characters < 1.5 * judging.LISTED_CHARACTERS_MAX
    assert max(len(d.message) for d in verdict.diagnostics) < 400
    assert verdict.diagnostics == tuple(sorted(verdict.diagnostics))
    said = re.compile(r"([0-9,]+) more problems in ")
    more = sum(int(found[1].replace(",", "")) for d in verdict.diagnostics if (found := said.match(d.message)))
    listed = sum(d.rule not in ("PAI304", "PAI351") for d in verdict.diagnostics)
    assert listed + more == 6000 * 4 + 2 * 5999  # a provider, three bindings; and the two names but for the first time
    assert any("files from here on are not listed" in d.message for d in verdict.diagnostics)


def test_texts_of_a_problem_stay_short() -> None:
    """A problem quotes no more than a line of what it is about."""
    long = "n" * 500_000
    facts = read(agent("a", long, long + "x"), {"kind": "ModelBinding", long: 1})
    verdict = judge({"a.yaml": facts, "b.yaml": read(model(long), model(long))})
    assert not verdict.accepted
    assert max(len(text) for d in verdict.diagnostics for text in (d.message, d.hint, d.text)) <= 1000


def test_more_manifests_than_a_revision_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number alone refuses a revision."""
    monkeypatch.setattr(judging, "FILES_MAX", 3)
    files = {f"{n}.yaml": read(model(f"m{n}")) for n in range(4)}
    assert [(d.path, d.rule) for d in judge(files).diagnostics] == [(".", "PAI115")]
    del files["3.yaml"]
    assert judge(files).accepted


@pytest.mark.parametrize(
    "facts",
    [
        read(*(model(f"m{n}") for n in range(3000))),
        read(agent("a", *(f"b{n}" for n in range(9000)))),
        read_manifests(b"apiVersion: pai.io/v1\nkind: ModelBinding\nspec: {" + b"x: 1, " * 2000 + b"}\n"),
    ],
    ids=["objects", "references", "problems"],
)
def test_one_file_at_many_paths_is_refused_quickly(facts: Facts) -> None:
    """Git stores equal files once, so a push of a few kilobytes may name a large one ten thousand times."""
    began = time.monotonic()
    verdict = judge({f"{n}.yaml": facts for n in range(10_000)})
    assert [d.rule for d in verdict.diagnostics] == ["PAI115"]
    assert not verdict.objects
    assert time.monotonic() - began < 20
