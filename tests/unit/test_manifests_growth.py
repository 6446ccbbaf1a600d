"""The work of reading a file grows with its size and not with its square, whatever the file is full of.

Work is counted and not timed: every call of a function, Python's own included, and the characters of texts that are
copied, stripped and the like. What a regular expression or libyaml does inside one call is not seen; those have tests
by name.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest

from reconciler.core.events import Event, encode
from reconciler.core.plan import plan
from reconciler.core.state import State
from reconciler.manifests import inline_keys, judging, rules, schema, tree
from reconciler.manifests.emit import render
from reconciler.manifests.facts import Facts
from reconciler.manifests.judging import judge
from reconciler.manifests.reading import PROBLEMS_MAX, TAG_HANDLES_MAX, read_manifests
from reconciler.manifests.schema import HINTS_MAX

MODEL = (
    "apiVersion: pai.io/v1\nkind: ModelBinding\nmetadata:\n  name: m\nspec:\n"
    "  provider: gemini\n  model: gemini-2.0-flash\n"
)
AGENT = "apiVersion: pai.io/v1\nkind: AgentWorkload\nmetadata:\n  name: a\nspec:\n  modelBindings:\n"
KEY = "pak_" + "a1" * 8

SHAPES = {
    "secrets-with-keys": ("", f"---\nkind: Secret\nd: {KEY}N\n", ""),
    "keys-between-secrets": ("", f"---\nkind: Secret\n---\nd: {KEY}N\n", ""),
    "unknown-fields": (MODEL, "  maxTokensPerDaN: 1\n", ""),
    "unknown-fields-at-the-top": (MODEL, "kinN: 1\n", ""),
    "unknown-instead-of-required": (MODEL.partition("  provider")[0], "  provideN: 1\n", ""),
    "unknown-instead-of-apiversion": ("kind: ModelBinding\n", "apiVersioN: 1\n", ""),
    "mappings-where-names-belong": (AGENT, "  - {a: N}\n", ""),
    "names-of-two-types": (AGENT, "  - N\n  - aN\n", ""),
    "documents-of-a-cut-text": ("", "---\na: N\n", "\x01"),
    "aliases-without-anchor": ("", "---\n- *aN\n", ""),
    "bad-labels": (MODEL + "metadata:\n  labels:\n", "    _N_: _\n", ""),
    "same-names": ("", f"--- # N\n{MODEL}", ""),
    "missing-bindings": (AGENT, "  - model-N\n", ""),
    "comments-with-keys": ("", f"# apiKey: {KEY}N\n", ""),
}
"""What a file begins with, what it is full of (N is a number), what it ends with."""


def count(data: bytes, measure: Callable[[FrameType, object], int]) -> int:
    """Read and judge one file; add up what `measure` says of each call: its frame, and the function if it is built in.

    For a function written in Python, the frame is its own and there is no function.
    """
    total = 0

    def see(frame: FrameType, event: str, called: object) -> None:
        nonlocal total
        if event in ("call", "c_call"):
            total += measure(frame, called if event == "c_call" else None)

    sys.setprofile(see)
    try:
        judge({"a.yaml": read_manifests(data)})
    finally:
        sys.setprofile(None)
    return total


def work(data: bytes) -> int:
    """Count the calls, and the characters of texts that are copied, stripped and the like."""
    return count(data, lambda _, called: 1 + _characters(called))


def _characters(called: object) -> int:
    text = owner(called)
    searched = getattr(called, "__name__", "") in ("find", "rfind")  # from a given place on: seldom all of it
    return len(text) if isinstance(text, str) and not searched else 0


def owner(called: object) -> object:
    """Give what a built-in method is called on."""
    return getattr(called, "__self__", None)


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_the_file_is_twice_the_work(shape: str) -> None:
    """Doubling what a file is full of doubles the calls; a comparison of each with each would make them four times."""
    start, line, end = SHAPES[shape]
    few, some, double = (
        (start + "".join(line.replace("N", str(n)) for n in range(number)) + end).encode() for number in (10, 400, 800)
    )
    work(few)  # what is imported and built once

    once, twice = work(some), work(double)

    assert twice < 2.5 * once, (once, twice)


def test_hints_are_looked_for_as_often_as_problems_are_listed() -> None:
    """A file with many unknown fields pays only for hints that it can show, and no field loses its problem."""
    data = (MODEL + "".join(f"  f{n}: 1\n" for n in range(5 * HINTS_MAX))).encode()

    facts = read_manifests(data)
    looked = count(data, lambda frame, called: called is None and frame.f_code is schema._unknown_hint.__code__)

    assert len(facts.problems) + facts.omitted == 5 * HINTS_MAX
    assert [problem for problem in facts.problems if not problem.hint] == []
    assert looked == HINTS_MAX


def test_documents_are_explained_as_long_as_their_problems_are_listed() -> None:
    """Beyond a thousand errors of a file a broken document is counted, which takes a quarter of the time."""
    broken = "---\napiVersion: pai.io/v1\nkind: AgentWorkload\n"
    data = (broken * 2500).encode()

    facts = read_manifests(data)
    explained = count(data, lambda frame, called: called is None and frame.f_code is schema.explain.__code__)

    assert explained <= PROBLEMS_MAX
    assert facts.problems == read_manifests((broken * 1000).encode()).problems
    assert len(facts.problems) == PROBLEMS_MAX
    assert 500 <= facts.omitted < 2 * 2500


@pytest.mark.parametrize("item", ["A{}", "A", "{{}}", "[A]", "1", "{{a: {}}}"])
def test_errors_of_a_document_take_no_more_memory_however_many_they_are(
    item: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bytes may be an error, which took 4 kB until all were in order: 2 GB for a file."""
    monkeypatch.setattr(schema, "ERRORS_MAX", 100)

    def taken(number: int) -> int:
        data = (AGENT.rstrip() + f" [{','.join(item.format(n) for n in range(number))}]\n").encode()
        tracemalloc.start()
        try:
            assert read_manifests(data).problems
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    taken(100)  # what is imported and built once
    assert taken(3000) < taken(100) + 3000 * 2000


def test_document_after_a_thousand_warnings_is_explained() -> None:
    """Warnings give way to errors in what is listed, so they leave no error unexplained."""
    warned = MODEL.replace("---\n", "").replace("gemini-2.0-flash", "gemini-99")
    data = "---\n".join([warned] * 1100 + ["apiVersion: pai.io/v1\nkind: AgentWorkload\n"]).encode()

    facts = read_manifests(data)

    assert facts.omitted > 0
    assert "lacks spec" in facts.problems[-1].message


def test_text_is_searched_for_secrets_once() -> None:
    """A file refused in many places is searched only once for a Secret, whose text would not be shown."""
    data = b"---\n- *a\n" * 100

    assert count(data, lambda _, called: owner(called) is tree.LOOKS_SECRET) == 1
    assert len(read_manifests(data).problems) == 100


@pytest.mark.parametrize("part", ["kind:!", "kind:!,", "?kind:!", "kind:&a ", "kind:!<,", "kind :"])
def test_search_for_secrets_takes_no_longer_whatever_the_text_is_full_of(part: str) -> None:
    """It is one call, in which every other thread of the daemon waits."""

    def work(text: str) -> float:
        began = time.thread_time()
        assert tree.LOOKS_SECRET.search(text[: 256 * 1024]) is None
        return time.thread_time() - began

    plain, full = (min(work(each * (256 * 1024 // len(each) + 1)) for _ in range(3)) for each in ("kind: x ", part))
    assert full < 10 * plain, (full, plain)


@pytest.mark.parametrize(
    "part", ["#=aaaaaaaaaaaaaaaa", f"#{'a' * 150}=aaaaaaaaaaaaaaaa", f"#{' ' * 150}=aaaaaaaaaaaaaaaa"]
)
def test_fields_in_comments_take_no_longer_whatever_stands_before_their_values(part: str) -> None:
    """What stands before a value is read from its end: looking for a field at each character took 4 s a file."""

    def work(text: str) -> float:
        began = time.thread_time()
        assert list(inline_keys.find_in_comments(text)) == []
        return time.thread_time() - began

    found = 256 * 1024 // len(part)
    plain, full = (min(work(each * found) for _ in range(3)) for each in ("#a=aaaaaaaaaaaaaaaa\n", part))
    assert full < 5 * plain, (full, plain)


@pytest.mark.parametrize("tag", ["", "!!str ", "&a !!str ", "!<tag:yaml.org,2002:str> ", "&a\n  "])
@pytest.mark.parametrize("key", ["kind: ", "- kind : ", "{kind: ", '{"kind":', "? kind\n: "])
def test_secret_is_seen_however_its_kind_is_written(key: str, tag: str) -> None:
    """Tags and anchors may stand before the word."""
    assert tree.LOOKS_SECRET.search(f"a: b\n{key}{tag}Secret\n")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_tag_handles_beyond_a_hundred_end_the_file(line_end: str) -> None:
    """A file may not declare thousands: libyaml compares each with all before it."""
    lines = [f"%TAG !e{n}! tag:e" for n in range(TAG_HANDLES_MAX + 1)]
    few, many = (line_end.join([*lines[:count], "---", "a: 1", ""]).encode() for count in (-1, TAG_HANDLES_MAX + 1))

    assert [p.rule for p in read_manifests(few).problems] == ["PAI202"]
    problems = read_manifests(many).problems
    assert [p.message for p in problems if p.rule == "PAI111"] == ["the file has more than 100 tag handles"]


@pytest.mark.parametrize(
    "value", ["[" + "[]," * 100 + "]", '"' + "x" * 5000 + '"', "{" + "a: {}, b: [], c: {}, d: []" + "}"]
)
def test_revision_is_bounded_by_what_its_aliases_become(value: str) -> None:
    """Each document is within its bounds, and all of them are gigabytes when they are written out."""
    head = MODEL.replace("ModelBinding", "AgentWorkload").partition("  provider")[0]
    many = "".join(
        f"---\n{head.replace('name: m', f'name: m{n}')}  modelBindings: [b]\n  a: &a {value}\n  b: [{'*a, ' * 90}]\n"
        for n in range(30)
    )
    facts = read_manifests((f"{MODEL.replace('name: m', 'name: b')}{many}").encode())
    count = judging.SIZE_MAX // facts.size
    files = {f"{n}.yaml": facts for n in range(count + 1)}
    assert judge({"0.yaml": facts}).accepted
    assert [d.message for d in judge(files).diagnostics] == [
        "the revision's objects take more than 134,217,728 bytes, aliases written out"
    ]
    assert facts.size > sum(len(msgspec.json.encode(m.spec)) for m in facts.manifests)


def test_usual_objects_have_room() -> None:
    """A revision may have tens of thousands of them."""
    usual = read_manifests(f"{MODEL}  maxTokensPerDay: 1000000\n".encode())
    assert 75_000 * usual.size < judging.SIZE_MAX
    assert 75_000 * judging.recorded_by({"models/team/m00000.yaml": usual}) < judging.RECORDED_MAX


def below(name: str, depth: int, fields: dict[str, object]) -> dict[str, object]:
    """Put fields below others, which an event names with each of them."""
    for _ in range(depth):
        fields = {name: fields}
    return fields


def ended(fields: dict[str, Any], letter: str) -> dict[str, Any]:
    """Have each text end with a letter."""
    return {k: ended(value, letter) if isinstance(value, dict) else value + letter for k, value in fields.items()}


SAYINGS: dict[str, tuple[str, int, dict[str, str], dict[str, Any], str]] = {
    "annotations": ("model", 10, {f"k{n}": "x" * 2400 for n in range(100)}, {}, ""),
    "many-keys": ("model", 20, {f"k{n}": "" for n in range(4000)}, {}, ""),
    "fields": ("agent", 100, {}, {f"k{n}": "v" * 60 for n in range(350)}, ""),
    "control-characters": ("model", 4, {"k": "\x1f" * 150_000}, {}, ""),
    "fields-below-others": ("agent", 4, {}, {"x": below("f" * 900, 10, {f"k{n}": "a" for n in range(100)})}, ""),
    "open-fields": ("agent", 4, {}, {"text": "x" * 900_000}, ""),
    "paths": ("model", 600, {}, {}, "d" * 3900 + "/"),
    "wide-paths": ("model", 600, {}, {}, "\u4e00" * 1300 + "/"),
}
"""What objects may say much of: their kind, how many are too many, annotations, fields of their own, their folder."""


@pytest.mark.parametrize("saying", SAYINGS)
def test_what_a_revision_puts_on_the_log_is_bounded_whatever_says_much(
    saying: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it changes every object, old and new together are within twice the bound, but for what all events have."""
    monkeypatch.setattr(judging, "RECORDED_MAX", 2 * 1024 * 1024)
    kind, count, annotations, fields, folder = SAYINGS[saying]

    def revision(count: int, letter: str) -> dict[str, Facts]:
        said = {key + letter: value + letter for key, value in annotations.items()}
        more: dict[str, object] = ended(fields, letter)
        more |= {"maxTokensPerDay": ord(letter)} if kind == "model" else {}
        objects = [document(kind, f"m{n}", said, more) for n in range(count)]
        together = 250 if folder else 1
        parts = [objects[n : n + together] for n in range(0, count, together)]
        read = [read_manifests("---\n".join(map(render, part)).encode()) for part in parts]
        files = {f"{folder}{n:02}.yaml": facts for n, facts in enumerate(read)}
        return {**files, "a-binding.yaml": read_manifests(MODEL.replace("name: m", "name: b").encode())}

    refused, *others = judge(revision(count, "a")).diagnostics
    assert not others
    assert (refused.rule, refused.line, refused.column) == ("PAI115", 1, 1)
    assert refused.path.startswith(folder)
    assert "bytes" in refused.message
    assert refused.hint
    state = State()
    for letter in "abc":
        verdict = judge(revision(count // 3, letter))
        assert verdict.accepted
        drafts, _, _ = plan(state, verdict.objects, "0" * 40, "a@example.com")
        assert len(drafts) >= count // 3
        events = [Event(draft.actor, draft.payload, "0" * 26, draft.subject, "") for draft in drafts]
        assert sum(len(encode(event)) for event in events) < 2 * judging.RECORDED_MAX + 1000 * len(events)
        for event in events:
            state.apply(event)


def document(kind: str, name: str, annotations: dict[str, str], fields: dict[str, object]) -> dict[str, object]:
    """Give an object that is fine by itself."""
    usual = {"provider": "gemini", "model": "gemini-2.0-flash"} if kind == "model" else {"modelBindings": ["b"]}
    metadata = {"name": name, **({"annotations": annotations} if annotations else {})}
    manifest = "ModelBinding" if kind == "model" else "AgentWorkload"
    return {"apiVersion": "pai.io/v1", "kind": manifest, "metadata": metadata, "spec": {**usual, **fields}}


DENSE = {
    "mappings": ("  x: [", "{a},", "1]\n", 200),
    "empty-mappings": ("  x: [", "{},", "1]\n", 95),
    "empty-lists": ("  x: [", "[],", "1]\n", 75),
    "tags": ("  x: [", "!a b,", "1]\n", 60),
    "large-numbers": ("  x: [", "1e400,", "1]\n", 75),
    "repeated-fields": ("  x: 1\n", "  x: 1\n", "", 50),
}
"""What a file begins with, is full of and ends with, and the bytes of memory that each of its bytes may take."""


@pytest.mark.parametrize("shape", DENSE)
def test_dense_file_takes_a_bounded_memory(shape: str) -> None:
    """A hook reads it beside others: 1 MiB of the worst took it 280 MB with three dictionaries for each mapping."""
    start, line, end, most = DENSE[shape]
    head = AGENT.rstrip() + " [a]\n" + start
    few, many = ((head + line * (size // len(line)) + end).encode() for size in (1000, 100_000))
    read_manifests(few)
    tracemalloc.start()
    try:
        read_manifests(many)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * len(many), peak / len(many)


@pytest.mark.parametrize("line", ["  x: 1\n", "  yN: !a b\n", "  yN: 1e400\n"], ids=["repeated", "tags", "numbers"])
def test_problems_beyond_those_listed_are_counted(line: str) -> None:
    """The first thousand are listed, whatever comes of the others."""

    def facts(number: int) -> Facts:
        lines = (line.replace("N", str(n)) for n in range(number))
        return read_manifests(f"{AGENT.rstrip()} [a]\n  x: 1\n{''.join(lines)}".encode())

    assert facts(5000).problems == facts(1000).problems
    assert (len(facts(1000).problems), facts(1000).omitted, facts(5000).omitted) == (1000, 0, 4000)


def test_every_repeated_field_names_its_first_line() -> None:
    """Also one that came after another was repeated."""
    facts = read_manifests(f"{MODEL}  a: 1\n  a: 2\n  b: 3\n  c: 4\n  b: 5\n  a: 6\n".encode())

    repeated = [problem.message for problem in facts.problems if problem.rule == rules.DUPLICATE_KEY]
    assert repeated == [
        f"duplicate field {name}, first at line {line}" for name, line in (("a", 8), ("b", 10), ("a", 8))
    ]
