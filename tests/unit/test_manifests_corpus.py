"""Every file of the corpus is judged as its sidecar says: good ones silently, bad ones at `line:column rule`."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.manifests.judging import judge
from reconciler.manifests.reading import read_manifests

CORPUS = Path(__file__).parent / "corpus"
GOOD = sorted((CORPUS / "good").glob("*.yaml"))
BAD = sorted((CORPUS / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file_has_no_problem(path: Path) -> None:
    """A good file is accepted without as much as a warning."""
    assert judge({"file.yaml": read_manifests(path.read_bytes())}).diagnostics == ()


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_file_has_exactly_the_problems_it_names(path: Path) -> None:
    """A bad file gives the problems of its sidecar, no more and no fewer, each with a message."""
    found = judge({"file.yaml": read_manifests(path.read_bytes())}).diagnostics

    assert [f"{d.line}:{d.column} {d.rule}" for d in found] == path.with_suffix(".expect").read_text().split("\n")[:-1]
    assert all(d.message for d in found)


def test_corpus_breaks_every_rule_that_bytes_alone_can_break() -> None:
    """Every rule that needs neither a path, a size nor a history has an example."""
    elsewhere = {"PAI104", "PAI105", "PAI106", "PAI107", "PAI115", "PAI303", "PAI304", "PAI305", "PAI351"}
    from reconciler.manifests.rules import RULES

    shown = {line.split()[1] for path in BAD for line in path.with_suffix(".expect").read_text().splitlines()}
    assert shown == RULES.keys() - elsewhere
