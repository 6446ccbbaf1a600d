"""Files as a tree holds them: names, links, sizes, bombs, and never an exception."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.core.diagnostics import format_line
from reconciler.manifests.facts import VERSION, Entry, Facts
from reconciler.manifests.ignore import IgnoreRules
from reconciler.manifests.inline_keys import redact, redact_beginning
from reconciler.manifests.judging import judge
from reconciler.manifests.reading import facts_of, read_manifests

MODEL = (
    b"apiVersion: pai.io/v1\nkind: ModelBinding\nmetadata:\n  name: m\nspec:\n"
    b"  provider: gemini\n  model: gemini-2.0-flash\n"
)
EXAMPLES = Path(__file__).parents[2] / "manifests"


def entry(path: str, data: bytes = MODEL, oid: str = "", size: int = -1) -> Entry:
    return Entry(path, "file", oid, size, lambda: data)


def rules(facts: Facts | None) -> list[str]:
    assert facts is not None
    return [problem.rule for problem in facts.problems]


def unread() -> bytes:
    raise AssertionError("must not be read")


def test_examples_of_the_project_are_accepted_without_a_warning() -> None:
    """The folder that the README shows passes."""
    files = {str(path): read_manifests(path.read_bytes()) for path in EXAMPLES.rglob("*.yaml")}
    verdict = judge(files)
    assert verdict.diagnostics == ()
    assert {kind for kind, _ in verdict.objects} == {"model", "agent"}


@pytest.mark.parametrize("path", ["a.json", "a.YAML", "yaml", "a.yaml.bak", "README.md", ".paiignore"])
def test_other_names_are_no_manifests(path: str) -> None:
    """Only `.yaml` and `.yml`, in lower case, are read."""
    assert facts_of(Entry(path, "file", "", 3, unread), {}) is None


@pytest.mark.parametrize("path", ["a.yaml", "b/c.yml", ".hidden.yaml", ".yaml", "name with space.yaml", "ünï.yaml"])
def test_manifests_are_read_by_their_suffix(path: str) -> None:
    """Dot-files and any printable name count."""
    facts = facts_of(entry(path), {})
    assert facts is not None
    assert [m.name for m in facts.manifests] == ["m"]
    assert facts.problems == ()


def test_links_and_submodules_are_refused_whatever_their_name() -> None:
    """They are never followed, so nothing is read."""
    assert rules(facts_of(Entry("README.md", "symlink", "1", 3, unread), {})) == ["PAI105"]
    assert rules(facts_of(Entry("vendor", "submodule", "1", -1, unread), {})) == ["PAI106"]


def test_large_file_is_refused_unread_and_the_limit_itself_is_not() -> None:
    """1 MiB is allowed, one byte more is not; a known size saves the reading."""
    limit = 1024 * 1024
    assert rules(facts_of(Entry("a.yaml", "file", "1", limit + 1, unread), {})) == ["PAI104"]
    assert rules(facts_of(entry("a.yaml", MODEL.ljust(limit + 1, b"\n")), {})) == ["PAI104"]
    assert rules(facts_of(entry("a.yaml", MODEL.ljust(limit, b"\n")), {})) == []


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a\nb.yaml", "a\\nb.yaml"),
        ("a\x1b[31m.yaml", "a\\x1b[31m.yaml"),
        ("a\\b.yaml", "a\\b.yaml"),
        ("caf\udce9.yaml", "caf\\xe9.yaml"),
        ("../a.yaml", "../a.yaml"),
        ("a/../b.yaml", "a/../b.yaml"),
        ("a\u202eb.yaml", "a\\u202eb.yaml"),
    ],
)
def test_path_trick_is_refused_and_shown_escaped(path: str, shown: str) -> None:
    """The path is printable and can be encoded; what the file says still counts."""
    facts = facts_of(entry(path), {})
    assert rules(facts) == ["PAI107"]
    assert facts is not None
    verdict = judge({path: facts})
    assert [d.path for d in verdict.diagnostics] == [shown]
    assert format_line(verdict.diagnostics[0]).encode()
    assert ("model", "m") in verdict.objects


def test_two_dots_inside_a_name_are_fine() -> None:
    """Only whole segments climb."""
    assert rules(facts_of(entry("a..b/c...yaml"), {})) == []


def test_blob_is_read_once_whatever_its_path() -> None:
    """The cache is by blob id, and holds nothing about the path."""
    cache: dict[str, Facts] = {}
    first = facts_of(entry("a\\b.yaml", oid="1"), cache)
    second = facts_of(Entry("b.yaml", "file", "1", -1, unread), cache)
    assert rules(first) == ["PAI107"]
    assert rules(second) == []
    assert list(cache) == ["1"]
    facts_of(entry("c.yaml"), cache)
    assert list(cache) == ["1"]


def carried(facts: Facts) -> Facts:
    """Give facts as another process gets them: encoded and read back."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(facts), type=Facts)


def test_facts_come_back_equal_from_another_process() -> None:
    """What a helper has read is what was found, problems and references included."""
    bad = read_manifests(MODEL + b"---\nkind: [\n")
    agent = read_manifests(
        b"apiVersion: pai.io/v1\nkind: AgentWorkload\nmetadata: {name: a}\nspec: {modelBindings: [m]}"
    )
    for facts in (read_manifests(MODEL), bad, agent):
        assert carried(facts) == facts
    assert len(VERSION) == 16


@pytest.mark.parametrize(
    ("path", "skipped"),
    [
        ("a.yaml", False),
        (".a.yaml", False),
        (".github/workflows/a.yaml", True),
        ("x/.cache/a.yaml", True),
        ("../a.yaml", False),
        ("charts/a.yaml", True),
        ("charts/keep.yaml", False),
        ("x/values.yaml", True),
        ("caf\udce9/values.yaml", True),
        ("values.yaml/b.yaml", True),
        ("only/a.yaml", False),
    ],
)
def test_ignored_paths_are_skipped(path: str, skipped: bool) -> None:
    """Dot-folders always, `.paiignore` by the rules of gitignore; segments that climb never."""
    lines = b"\xef\xbb\xbf# comment\r\ncharts/*\r\n!charts/keep.yaml\r\nvalues.yaml\n!\n\n/a/only\n"
    assert IgnoreRules.parse(lines).skips(path) is skipped


def test_without_an_ignore_file_only_dot_folders_are_skipped() -> None:
    """No file and an empty file mean the same."""
    for data in (None, b"", b"\n# nothing\n"):
        assert not IgnoreRules.parse(data).skips("a/b.yaml")
        assert IgnoreRules.parse(data).skips(".git/b.yaml")


@pytest.mark.parametrize(
    "unit", ["[", "{", "- ", "? ", "{a: ", "&a ", "*a ", "sk-", "# apiKey: ", "'", "\t", "a: ", "kind: !"]
)
def test_bomb_of_a_megabyte_is_judged_soon(unit: str) -> None:
    """Neither deep nesting nor long tokens crash the parser or take more than a moment."""
    begun = time.perf_counter()
    read_manifests((unit * (2**20))[: 2**20].encode())
    assert time.perf_counter() - begun < 3  # a second where nothing else runs


def test_problems_beyond_a_thousand_are_counted_only() -> None:
    """A file lists a thousand problems and says how many more there are."""
    lines = "".join(f"  x{n}: 1\n" for n in range(1200))
    verdict = judge({"a.yaml": read_manifests(MODEL + lines.encode())})
    assert len(verdict.diagnostics) == 1001
    assert verdict.diagnostics[-1].rule == "PAI304"
    assert "200 more" in verdict.diagnostics[-1].message


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdefghijklmnop1234567890",
        "sk-ant-api03-abcDEF123456",
        "sk-or-v1-0123456789abcdef0123456789abcdef",
        "sk-1234567890abcdefghij",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "AQ.Ab8RN6Lxxxxxxxxxxxxxxxxx",
        "pak_abcdefghijklmnopqrstuvwxyz0123456789ABCD",
        "gsk_" + "abcDEF1234567890" * 3,
        "hf_" + "abcdefgHIJKLMNOPQ" * 2,
        "r8_" + "abcDEF1234567890" * 2 + "abcde",
        "xai-" + "abcDEF1234567890" * 5,
        "pplx-" + "abcDEF1234567890" * 3,
        "csk-" + "abcdef1234567890" * 3,
        "nvapi-" + "abcDEF-234567_90" * 4,
        "glpat-abcDEF1234567890-_xy",
        "ghs_abcdefghijklmnopqrstuvwxyz0123456789",
        "xoxb-123456789012-abcdefghijkl",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN EC PRIVATE KEY-----",
    ],
)
def test_key_is_found_and_never_shown(key: str) -> None:
    """A key is refused in a value, a field name and a comment, and appears in nothing that is kept or shown."""
    assert key not in redact(f"commit with {key} inside")
    for line in (f"  model: {key}", f'  "{key}": x', f"  # {key}", f"  apiKeySecretRef: {{name: {key}}}", f"\tx {key}"):
        facts = read_manifests(MODEL + line.encode() + b"\n")
        assert "PAI114" in rules(facts)
        assert key[8:] not in repr(facts)
        assert facts.manifests == ()


@pytest.mark.parametrize(
    "line",
    [
        r'  model: "AI\x7aaSyA1234567890abcdefghijklmnopqrstuv"',
        r'  "AI\u007AaSyA1234567890abcdefghijklmnopqrstuv": x',
        '  model: "AIzaSyA12\\\n    34567890abcdefghijklmnopqrstuv"',
        r'  annotations: [a, {b: &x "AI\x7AaSyA1234567890abcdefghijklmnopqrstuv"}, *x]',
        r'  model: "-----BEGIN\x20PRIVATE KEY-----"',
        "  model: -----BEGIN PRIVATE\n    KEY-----",
        "  model: >-\n    -----BEGIN PRIVATE\n    KEY-----",
    ],
)
def test_key_that_the_text_does_not_show_is_found_and_never_shown(line: str) -> None:
    """An escape or a folded line is no way for a key onto the log: what is read counts, in values and in names."""
    facts = read_manifests(MODEL + line.encode() + b"\n")
    assert rules(facts).count("PAI114") == 1
    assert "1234567890abc" not in repr(facts)
    assert "PRIVATE KEY" not in repr(facts)
    assert facts.manifests == ()


def test_key_that_the_text_shows_is_told_once() -> None:
    """Also in a file that has escapes, where it is looked for twice."""
    for value in ("AIzaSyA1234567890abcdefghijklmnopqrstuv", '"\\x41 AIzaSyA1234567890abcdefghijklmnopqrstuv"'):
        facts = read_manifests(MODEL + f'  model: {value} # "\\x41"\n'.encode())
        assert rules(facts).count("PAI114") == 1


VALUE = "abcd1234efgh5678ijkl"


@pytest.mark.parametrize(
    "name",
    [
        *("sk-learn-model", "gemini-key", "api-key", "sk-learn-model-for-testing-2024", "risk-assessment-0123456789"),
        *("xai-grok-for-summaries-of-the-day-2026", "pplx-sonar-for-the-team-of-research-1"),
        *("nvapi-nemotron-for-the-team-of-research-in-2026-and-later", "glpat-of-the-team-of-research-2026"),
    ],
)
def test_ordinary_name_is_no_key(name: str) -> None:
    """Names that only begin like a key pass."""
    facts = read_manifests(MODEL.replace(b"name: m", f"name: {name}".encode()))
    assert [m.name for m in facts.manifests] == [name]
    assert redact(name) == name


def test_secret_shows_nothing_of_what_it_holds() -> None:
    """Neither a whole nor a broken Secret document leaks its values."""
    whole = b"kind: Secret\napiVersion: v1\nstringData: {token: hunter2hunter2}\n"
    for data in (whole, whole + b"  - broken: hunter2\n", whole + b"token: 'hunter2"):
        facts = read_manifests(data)
        assert len(facts.problems) == 1
        assert "hunter" not in repr(facts)


@pytest.mark.parametrize(
    "line", [f"\tapiKey: {VALUE}", f"\tOPENAI_API_KEY='{VALUE}'", f"@password: {VALUE}", f"  a: [{{apiKey: {VALUE} {{"]
)
def test_syntax_problem_shows_no_value_of_a_secret_field(line: str) -> None:
    """The line where the parser stopped is shown, but not what it gives to a field such as apiKey."""
    facts = read_manifests(f"kind: ModelBinding\n{line}\n".encode())
    assert [p.rule for p in facts.problems] == ["PAI101"]
    assert VALUE not in repr(facts)


def test_redact_masks_what_is_given_to_a_secret_field() -> None:
    """In any text, such as a commit's message, a literal value after the field's name is masked, a reference is not."""
    assert redact(f"set api_key={VALUE} again") == "set api_key=abcd… again"
    for text in ("apiKeySecretRef: {name: gemini-key}", "password: $PASSWORD_OF_2024", "password: long-but-only-words"):
        assert redact(text) == text


@pytest.mark.parametrize("at", [*range(60, 140, 7), 1000, 1095, 1099, 1100, 1101, 2000])
@pytest.mark.parametrize("key", [f"sk-ant-api03-{'a1' * 20}", f"password={VALUE}", f"pak_{'b2' * 800}"])
def test_beginning_of_a_long_text_holds_no_part_of_a_key(key: str, at: int) -> None:
    """Not where the text is cut, nor where reading it ended."""
    text = "x" * (at - 1) + " " + key + " y" * 2000
    shown = redact_beginning(text, 100)
    assert len(shown) <= 101
    assert shown.endswith("…")
    assert redact(text).startswith(shown[:-1])


def test_short_text_is_redacted_as_a_whole() -> None:
    """What has room is not cut."""
    text = f"set api_key={VALUE} again"
    assert redact_beginning(text, len(text)) == redact(text)
    assert redact_beginning("a" * 100, 100) == "a" * 100
    assert redact_beginning("a" * 101, 100) == "a" * 100 + "…"


LINES = [
    "apiVersion: pai.io/v1",
    "kind: ModelBinding",
    "kind: AgentWorkload",
    "kind: Secret",
    "metadata:",
    "  name: m",
    "metadata: {name: m}",
    "spec:",
    "  provider: gemini",
    "  model: x",
    "  maxTokensPerDay: 1e3",
    "  modelBindings: [m, m]",
    "  x: &a [*a]",
    "  y: &b {k: 1}",
    "  z: *b",
    "---",
    "...",
    "%YAML 1.1",
    "<<: *b",
    "!!int x",
    "? [a]",
    ": b",
    "&a",
    "*a",
    "status: 1",
    "- x",
]
PIECES = st.sampled_from([*LINES, *"\t\ufeff\x85\u2028\r'\"[]{}#|>@"])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.lists(PIECES, max_size=25).map(lambda parts: "\n".join(parts).encode()))
@example(b"\xff\xfe")
@example(b"? {a: b}\n: c\n? [x]")
@example(b"kind: &a [*a]")
@example(b"*a : b")
def test_reading_never_raises(data: bytes) -> None:
    """Whatever the bytes, there are facts, they can be kept, and problems have places inside the file."""
    facts = read_manifests(data)
    assert carried(facts) == facts
    lines = data.count(b"\n") + 1
    assert all(1 <= p.line <= lines and p.column >= 1 and p.message for p in facts.problems)
    judge({"a.yaml": facts})
