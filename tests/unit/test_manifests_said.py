"""Every problem has a message, a hint and the offending text, and each stands in the text output."""

from __future__ import annotations

import pytest

from reconciler.core.diagnostics import format_line
from reconciler.manifests.facts import Entry
from reconciler.manifests.judging import deletion_problem, judge
from reconciler.manifests.reading import facts_of, read_manifests
from tests.support import agent, binding

SOUND = binding("flash")
CASES = {
    "tab": "a:\n\tb: 1\n",
    "bracket": SOUND + "---\nkind: [\n",
    "colon": "apiVersion: pai.io/v1\nkind: x: y\n",
    "at": "a: @b\n",
    "end": "a: 'b\n\n\n",
    "latin": b"a: \xe9\n",
    "utf16": "a: 1\n".encode("utf-16-le"),
    "control": "a: \x07\n",
    "deep": "[" * 70 + "]" * 70,
    "aliases": "a: &a [1]\n" + "b: *c\n",
    "twice": "a: 1\na: 2\n",
    "tag": "a: !x {b: 1}\n",
    "merge": "<<: {a: 1}\n",
    "key": "{a: 1}: 2\n",
    "list": "- a\n- b\n",
    "text": "hello\n",
    "no kind": "metadata:\n  name: x\n",
    "List": "apiVersion: v1\nkind: List\nitems: []\n",
    "Secret": "apiVersion: v1\nkind: Secret\ndata: {a: b}\n",
    "version": SOUND.replace("pai.io/v1", "pai.io/v2"),
    "version list": SOUND.replace("pai.io/v1", "[pai.io/v1]"),
    "kind": SOUND.replace("ModelBinding", "ModelBindng"),
    "kind mapping": SOUND.replace("ModelBinding", "{a: b}"),
    "no spec": SOUND.partition("spec:")[0],
    "empty spec": SOUND.partition("spec:")[0] + "spec:\n",
    "list spec": SOUND.partition("spec:")[0] + "spec:\n  - a\n  - b\n",
    "text spec": SOUND.partition("spec:")[0] + "spec: x\n",
    "mapping model": SOUND.replace("model: gemini-2.0-flash", "model: {a: 1}"),
    "list name": SOUND.replace("name: flash", "name: [flash]"),
    "number name": SOUND.replace("name: flash", "name: 5"),
    "empty name": SOUND.replace("name: flash", "name:"),
    "provider": SOUND.replace("provider: gemini", "provider: acme"),
    "provider list": SOUND.replace("provider: gemini", "provider: [gemini]"),
    "no provider": SOUND.replace("  provider: gemini\n", ""),
    "budget": binding("flash", 7).replace("PerDay: 7", "PerDay: 1e3"),
    "budget list": binding("flash", 7).replace("PerDay: 7", "PerDay: [1]"),
    "empty bindings": agent("x").replace("modelBindings:\n", "modelBindings: []\n"),
    "bindings text": agent("x").replace("modelBindings:\n", "modelBindings: flash\n"),
    "bindings mapping": agent("x").replace("modelBindings:\n", "modelBindings: {a: b}\n"),
    "bindings nested": agent("x").replace("modelBindings:\n", "modelBindings: [[flash]]\n"),
    "repeated": agent("x", "flash", "flash"),
    "labels list": SOUND.replace("name: flash\n", "name: flash\n  labels: [a]\n"),
    "label mapping": SOUND.replace("name: flash\n", "name: flash\n  labels: {a: {b: c}}\n"),
    "namespace": SOUND.replace("name: flash\n", "name: flash\n  namespace: x\n"),
    "status": SOUND + "status: {}\n",
    "unknown": SOUND + "  other: 1\n",
    "many unknown": SOUND + "".join(f"  other{n}: 1\n" for n in range(300)),
    "number": agent("x", "flash") + "  replicas: 123456789012345678901234567890\n",
    "reference": SOUND + "  apiKeySecretRef: [a]\n",
    "long list": SOUND.replace("gemini-2.0-flash", f"[{', '.join(f'item-{n}' for n in range(40))}]"),
    "long mapping": SOUND.replace("model: gemini-2.0-flash", f"model:\n    {'a' * 70}: 1\n    b: 2"),
    "long budget": binding("flash", 7).replace("PerDay: 7", f"PerDay: {'7' * 70}"),
    "large": "#" * 1024 * 1024 + "\n\n",
    "many": "---\n".join("a: 1\n" for _ in range(1500)),
    "dangling": agent("x", "nobody"),
}


@pytest.mark.parametrize("case", CASES)
def test_no_part_of_a_problem_is_empty(case: str) -> None:
    """In the value, which JSON, SARIF and the log carry, and on the line that people read."""
    text = CASES[case]
    verdict = judge({"x.yaml": read_manifests(text.encode() if isinstance(text, str) else text)})
    assert verdict.diagnostics
    for each in verdict.diagnostics:
        assert each.message.strip(), each
        assert each.hint.strip(), each
        assert each.text.strip(), each
        line = format_line(each)
        assert f"({each.hint})" in line or not each.hint.isprintable()
        first = each.text.split("\n")[0].strip()
        assert first[:60] in line or not first.isprintable(), (line, each)


@pytest.mark.parametrize(
    ("case", "begins"),
    [("long list", "[item-0, item-1, item-2"), ("long mapping", "a" * 60), ("long budget", "7" * 60)],
)
def test_first_60_characters_of_a_text_are_shown(case: str, begins: str) -> None:
    """Not one less, on the line that people read."""
    source = CASES[case]
    begin = source.index(begins)
    (problem,) = judge({"x.yaml": read_manifests(source.encode())}).diagnostics
    assert f": {source[begin : begin + 60]}… (" in format_line(problem)


def test_problems_without_a_line_are_whole_too() -> None:
    """Links, submodules, paths, deletions and revisions that are too large."""
    found = [
        *judge({"a.yaml": facts_of(Entry("a.yaml", "symlink", "", 0, bytes), {}) or read_manifests(b"")}).diagnostics,
        *judge({"b": facts_of(Entry("b", "submodule", "", 0, bytes), {}) or read_manifests(b"")}).diagnostics,
        *judge(
            {"x\\y.yaml": facts_of(Entry("x\\y.yaml", "file", "", 1, bytes), {}) or read_manifests(b"")}
        ).diagnostics,
        *judge(dict.fromkeys(map(str, range(200_001)), read_manifests(b""))).diagnostics,
    ]
    deletion = deletion_problem([("model", str(n)) for n in range(5)], [], allowed=False)
    assert deletion is not None
    assert len(found) == 4
    for each in [*found, deletion]:
        assert each.message
        assert each.hint
        assert each.text


def test_what_a_secret_holds_is_not_quoted() -> None:
    """What stands at another problem of the file may be its value."""
    text = "apiVersion: v1\nkind: Secret\nstringData:\n  password: swordfish-canary\n---\na: [swordfish-canary\n"
    for each in judge({"x.yaml": read_manifests(text.encode())}).diagnostics:
        assert "canary" not in each.text + each.message


KEY = "sk-ant-api03-abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789"
PEM = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDHq1wsdkfj\n" * 2
SECRET = "hunter2hunter3hunter4"
BESIDE = {
    "provider": SOUND.replace("provider: gemini", "provider: {0}.{1}"),
    "model": SOUND.replace("gemini-2.0-flash", '"{0} {1}"'),
    "name": SOUND.replace("name: flash", "name: '{0} {1}'"),
    "list": SOUND.replace("gemini-2.0-flash", "[{0}, {1}]"),
    "mapping": SOUND.replace("gemini-2.0-flash", "{{{0}: a, b: {1}}}"),
    "field": SOUND + "  {0}.{1}: 1\n",
    "text": "{0} {1}\n",
    "tag": SOUND + "  other: !{0}.{1} 1\n",
    "twice": SOUND + "  {0}.{1}: 1\n  {0}.{1}: 1\n",
}


def _never_said(text: str, secret: str) -> None:
    found = judge({"x.yaml": read_manifests(text.encode())}).diagnostics
    assert found
    for each in found:
        said = f"{each.message}\n{each.hint}\n{each.text}\n{format_line(each)}".lower()
        parts = [secret[n : n + 12].lower() for n in range(len(secret) - 11)]
        assert not [part for part in parts if part in said], each


@pytest.mark.parametrize("before", [20, 26, 32, 38, 44, 50])
@pytest.mark.parametrize("place", BESIDE)
def test_no_part_of_a_key_is_said_where_a_text_is_cut(place: str, before: int) -> None:
    """It is masked before the text is cut: a part of it would be known for a key no more."""
    _never_said(BESIDE[place].format("x" * before, KEY), KEY.removeprefix("sk-ant-api03-"))


@pytest.mark.parametrize(
    "text", [SOUND + "  apiKey: " + PEM, SOUND + "  apiKey:\n" + PEM, PEM, SOUND + "  a: |\n    " + PEM]
)
def test_lines_of_a_private_key_are_not_quoted(text: str) -> None:
    """Where the parser stumbles over the key that was pasted, its lines are the offending text."""
    _never_said(text, PEM.split("\n")[1])


@pytest.mark.parametrize(
    "text",
    [
        SOUND.replace("gemini-2.0-flash", f"{{name: OPENAI_API_KEY, value: {SECRET}}}"),
        SOUND.replace("gemini-2.0-flash", f"[{{name: OPENAI_API_KEY, value: {SECRET}}}]"),
        SOUND.replace("gemini-2.0-flash", f"{{{'x' * 30}: a, password: {SECRET}}}"),
        f"- {{stringData: {{a: {SECRET}}}, kind: Secret}}\n",
        f"kind: Secret\na: {'[' * 70}{SECRET}{']' * 70}\n",
    ],
)
def test_value_of_a_secret_is_not_quoted_with_what_is_around_it(text: str) -> None:
    """The first line of a list or a mapping is its text, and may have all of it."""
    _never_said(text, SECRET)


def test_text_is_looked_for_in_few_characters() -> None:
    """A megabyte of blanks before or on a line is not read for each of a thousand problems."""
    text = "\n" * 500_000 + "\n".join(f"---\n{' ' * 300}- {number}" for number in range(1500))
    (first, *_) = judge({"x.yaml": read_manifests(text.encode())}).diagnostics
    assert first.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SOUND.replace("  provider", "\u00a0 provider"), "line 6 holds NO-BREAK SPACE (U+00A0)"),
        (SOUND.replace("provider: gemini", "provider:\u00a0gemini"), "line 6 holds NO-BREAK SPACE (U+00A0)"),
        (SOUND + "---\n\ufeff" + binding("two"), "holds ZERO WIDTH NO-BREAK SPACE (U+FEFF)"),
        (SOUND.replace("  provider", "  \ufeffprovider"), "it holds ZERO WIDTH NO-BREAK SPACE (U+FEFF)"),
        (SOUND.replace("provider: gemini", "provider： gemini"), "line 6 holds ： FULLWIDTH COLON (U+FF1A)"),
        (SOUND.replace("name: flash", "name: fla\u200bsh"), "holds ZERO WIDTH SPACE (U+200B) (did you mean flash?"),
        (SOUND.replace("name: flash", "name: fl\u0430sh"), "а CYRILLIC SMALL LETTER A (U+0430)"),
        (SOUND.replace("ModelBinding", "Model\u00adBinding"), "it holds SOFT HYPHEN (U+00AD)"),
        (SOUND.replace("provider: gemini", "provider: gemin\u0456"), "(U+0456)"),
        (binding("flash", 5).replace("PerDay: 5", "PerDay: 5\u00a0"), "it holds NO-BREAK SPACE (U+00A0)"),
        (agent("x", "fla\u200dsh"), "it holds ZERO WIDTH JOINER (U+200D)"),
    ],
)
def test_character_that_nobody_sees_is_named_as_the_cause(text: str, said: str) -> None:
    """Where it stands, or near the place where the parser stumbled."""
    found = judge({"x.yaml": read_manifests(text.encode())}).diagnostics
    assert any(said in format_line(each) for each in found), [format_line(each) for each in found]


@pytest.mark.parametrize(
    "model", ["gemini-2.0\u200b-flash", "gemini-2.0-fl\u0430sh", "gemini\u20112.0-flash", "g\ufe0f"]
)
@pytest.mark.parametrize("provider", ["gemini", "openrouter"])
def test_model_with_a_character_that_misleads_is_warned_of(provider: str, model: str) -> None:
    """The revision is accepted, with one warning that names the character."""
    name = f"vendor/{model}" if provider == "openrouter" else model
    text = SOUND.replace("provider: gemini", f"provider: {provider}").replace(
        "model: gemini-2.0-flash", f"model: {name}"
    )
    verdict = judge({"x.yaml": read_manifests(text.encode())})
    assert verdict.accepted
    (warning,) = verdict.diagnostics
    assert warning.rule == "PAI253"
    assert "(U+" in warning.message


def test_comment_in_any_language_is_no_cause() -> None:
    """Only what shows nothing is suspicious there."""
    text = SOUND.replace("provider: gemini", "provider: gemin # für Köln → 模型")
    (error,) = judge({"x.yaml": read_manifests(text.encode())}).diagnostics
    assert "holds" not in error.message


def test_limit_on_an_agent_is_warned_of_at_its_key() -> None:
    """It is kept, as other fields of a workload are, and does nothing."""
    text = SOUND + "---\n" + agent("x", "flash") + "  maxTokensPerDay: 100\n  maxTokensPerRequest: 5\n"
    verdict = judge({"x.yaml": read_manifests(text.encode())})
    assert verdict.accepted
    start = SOUND.count("\n") + 1
    assert [(d.rule, d.line, d.column, d.text) for d in verdict.diagnostics] == [
        ("PAI254", start + 8, 3, "maxTokensPerDay"),
        ("PAI254", start + 9, 3, "maxTokensPerRequest"),
    ]
