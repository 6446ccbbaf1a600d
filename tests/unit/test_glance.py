"""A glance at a file says what reading it says, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.manifests.plain import BYTES_MAX, glance
from reconciler.manifests.reading import read_manifests
from tests.support import BAD, agent, binding

CORPUS = sorted((Path(__file__).parent / "corpus").rglob("*.yaml"))
MANIFESTS = sorted((Path(__file__).parents[2] / "manifests").rglob("*.yaml"))

WORKLOAD = """\
# Bought by the team; see https://wiki.example.com/agents
apiVersion: pai.io/v1
kind: AgentWorkload
metadata:
  name: coder
  labels:
    team: blue
    app.kubernetes.io/name: "coder"
  annotations:
    note: 'two words: and more'
spec:
  image: registry.example.com/agents/coder:1.4.2   # pinned
  replicas: 2
  ready: true
  resources:
    limits:
      cpu: 500m
      memory: 2Gi
  env:
    - name: LOG_LEVEL
      value: info
    - name: OTHER
      valueFrom:
        secretKeyRef:
          name: x
          key: y
  modelBindings: [gemini-flash, claude-sonnet]
"""
ROUTER = binding("router", provider="openrouter", model="meta-llama/llama-3.3-70b-instruct:free")
PLAIN = [binding("b"), binding("c", None), ROUTER, agent("a", "b", "c"), WORKLOAD, "# nothing\n", ""]


def agree(data: bytes) -> bool:
    """Assert that a glance tells nothing that reading does not; tell whether it told anything."""
    seen = glance(data)
    if seen is None:
        return False
    facts = read_manifests(data)
    assert not [problem for problem in facts.problems if problem.severity == "error"], data
    assert not facts.named
    assert [(m.kind, m.name, m.spec) for m in facts.manifests] == [(g.kind, g.name, g.spec) for g in seen], data
    for m, g in zip(facts.manifests, seen, strict=True):
        if m.kind == "agent":
            assert [reference.name for reference in m.references] == g.spec["modelBindings"]
    return True


@pytest.mark.parametrize("text", [*PLAIN, binding("b") + "---\n" + agent("a", "b"), "---\n" + binding("b")])
def test_glance_understands_what_people_write(text: str) -> None:
    """Block mappings, lists, comments, quotes, several documents: no need to read them for good."""
    assert agree(text.encode())
    assert agree(text.removesuffix("\n").encode())


@pytest.mark.parametrize("path", [*CORPUS, *MANIFESTS], ids=lambda path: path.stem)
def test_glance_agrees_with_reading_over_the_corpus(path: Path) -> None:
    """Every good and bad file that the project knows: the same objects, or in doubt."""
    agree(path.read_bytes())


@pytest.mark.parametrize(
    "text",
    [
        BAD,
        binding("b").replace("  model", "  provider: gemini\n  model"),
        binding("b").replace("1000", "1_000"),
        binding("b").replace("1000", '"1000"'),
        binding("b").replace("1000", "0"),
        binding("b").replace("name: b", "name: null"),
        binding("b").replace("name: b", "name: B"),
        binding("b", provider="openrouter"),
        binding("b").replace("spec:", "spec: x"),
        binding("b").replace("  model", "   model"),
        binding("b").replace("gemini-2.0-flash", "gemini-2.0-flash\n    more"),
        binding("b").replace("gemini-2.0-flash", "a: b"),
        binding("b") + "# sk-ant-" + "api03-" + "A1b2" * 8 + "\n",
        binding("b") + "# apiKey: " + "A1b2" * 8 + "\n",
        agent("a", "b").replace("spec:", "spec:\n  apiKey: " + "A1b2" * 8),
        agent("a", "b").replace("spec:", "spec:\n  env:\n  - name: X_API_KEY\n    value: " + "A1b2" * 8),
        agent("a", "b").replace("spec:", "spec:\n  image:\n  replicas: 2"),
        agent("a", "b").replace("spec:", "spec:\n  args:\n- x"),
        agent("a", "b", "b"),
        agent("a"),
        "kind: Secret\napiVersion: v1\n",
        "\ufeff" + binding("b"),
        binding("b").replace("\n", "\r\n"),
        binding("b").replace("b\n", "b # \r x: y\n", 1),
        "#" * BYTES_MAX + "\n",
    ],
)
def test_glance_leaves_the_rest_to_reading(text: str) -> None:
    """Whatever is wrong, or not so plain, is in doubt."""
    assert glance(text.encode()) is None


def test_glance_at_deep_folds_is_in_doubt() -> None:
    """Depth has a limit, which reading tells."""
    deep = agent("a", "b") + "  deep:\n" + "".join(f"{' ' * (4 + n)}k:\n" for n in range(80)) + " " * 90 + "k: v\n"
    assert glance(deep.encode()) is None


SIGNS = "-#:'\"[]{}~!&*|>%@,?é\u2028\x85\x00 \t\n"
WORDS = ["null", "true", "0x1", "1e3", "0777", "!!str ", "&a ", "*a", "<<: ", "...\n", "[a]", "{a: b}"]
PIECES = st.sampled_from([*SIGNS, *WORDS, "  ", "- ", ": ", "---\n", "name: a\n", "value: x\n", "  x: y\n"])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from([*PLAIN, BAD]), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 3), PIECES | st.characters()), max_size=4),
)
@example([agent("a", "b")], [(70, 0, "\n  ")])
def test_glance_agrees_with_reading_whatever_is_typed(documents: list[str], edits: list[tuple[int, int, str]]) -> None:
    """Random slips in plain files: never another object, never a missed error."""
    text = "---\n".join(documents)
    for at, gone, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + gone :]
    agree(text.encode("utf-8", "surrogatepass"))


LINES = st.sampled_from([line for text in [*PLAIN, BAD] for line in text.split("\n")])
MOVES = st.tuples(st.integers(0, 40), st.integers(-4, 4), LINES)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(PLAIN), st.lists(st.tuples(st.integers(0, 40), st.integers(-4, 4), LINES), min_size=1, max_size=4)
)
def test_glance_agrees_with_reading_wherever_lines_go(text: str, edits: list[tuple[int, int, str]]) -> None:
    """Lines put elsewhere, repeated, and indented in other ways."""
    lines = text.split("\n")
    for at, shift, line in edits:
        moved = " " * max(0, len(line) - len(line.lstrip()) + shift) + line.lstrip()
        lines.insert(at % (len(lines) + 1), moved)
    agree("\n".join(lines).encode())
