"""What an author wrote steers nobody's terminal and no spreadsheet, whichever command and format shows it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml

from reconciler.core.diagnostics import csv_cell, printable_json
from tests.support import BAD, Site, agent, binding, copied

ODD = "\x1b]0;owned\x07\x1b[2J \u202e\u2066gnp\u200f \x9b31m\x7f \u2028 \u00ad ##vso[task.x]y ::error ::z"
ORDERS = re.compile(r"##(?:vso)?\[|^\s*::error ::", re.MULTILINE)
"""What CI runners take for orders to them: Azure's and GitHub's. YAML says what it says."""
AUTHOR = {"GIT_AUTHOR_NAME": f"=cmd {ODD} x", "GIT_AUTHOR_EMAIL": f"-2+3{ODD}x@example.com"}


def steering(text: str) -> set[str]:
    """Give the characters that move a cursor, reorder text or hide."""
    return {repr(character) for character in text if character != "\n" and not character.isprintable()}


@pytest.fixture(scope="module")
def odd(empty_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a workspace whose log holds such text wherever an author can put it, only to be read."""
    site = copied(empty_template, tmp_path_factory.mktemp("odd"))
    clone = site.clone()
    clone.environment.update(AUTHOR)
    annotated = binding("a").replace("  name: a\n", f"  name: a\n  annotations:\n    note: {json.dumps(ODD)}\n", 1)
    odd_agent = agent("b", "a") + f"  image: {json.dumps(ODD)}\n  {json.dumps('k' + ODD)}: [{json.dumps(ODD)}]\n"
    clone.commit({"models/a.yaml": annotated, "agents/b.yaml": odd_agent}, f"=1+1 {ODD} first")
    clone.commit({"models/a.yaml": annotated.replace("1000", "2000")}, f"@x {ODD} second")
    assert clone.push().code == 0
    site.pai("reconcile")
    (site.root / "config.git" / "hooks" / "pre-receive").unlink()
    clone.pushed({"models/c.yaml": BAD.replace("maxTokenPerDay", json.dumps("k" + ODD))}, ODD)
    site.pai("reconcile", code=1)
    return site


VERBS = [
    ("log",),
    ("log", "-o", "csv"),
    ("log", "-o", "json"),
    ("log", "-o", "jsonl"),
    ("history", "model", "a"),
    ("history", "agent", "b"),
    ("history", "agent", "b", "-o", "json"),
    ("blame", "agent", "b"),
    ("blame", "agent", "b", "-o", "json"),
    ("describe", "model", "a"),
    ("describe", "agent", "b", "-o", "json"),
    ("describe", "agent", "b", "-o", "yaml"),
    ("get", "models", "-o", "wide"),
    ("get", "agents", "-o", "yaml"),
    ("get", "agents", "-o", "json"),
    ("status",),
    ("status", "b"),
    ("status", "-o", "yaml"),
    ("usage", "-o", "csv"),
    ("verify",),
]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_no_output_passes_on_what_steers(odd: Site, words: tuple[str, ...]) -> None:
    """Neither stdout nor stderr has a control, bidi or invisible character, in any format."""
    done = odd.run(*words)
    assert done.code == 0, done
    assert not steering(done.out), done.out
    assert not steering(done.err), done.err
    assert "yaml" in words or not ORDERS.search(done.out)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("diff", "HEAD~2", "HEAD~1"), 0),
        (("diff", "HEAD~2", "HEAD~1", "-o", "markdown"), 0),
        (("diff", "HEAD~2", "HEAD~1", "-o", "json"), 0),
        (("validate",), 1),
        (("validate", "-o", "json"), 1),
        (("validate", "-o", "github"), 1),
        (("validate", "-o", "sarif"), 1),
        (("validate", "-o", "junit"), 1),
    ],
    ids=str,
)
def test_neither_do_those_that_read_a_clone(odd: Site, words: tuple[str, ...], code: int) -> None:
    """The same of what needs no workspace."""
    done = odd.run(*words, cwd=odd.folder / "clone")
    assert done.code == code, done
    assert not steering(done.out), done.out
    assert not steering(done.err), done.err
    assert not ORDERS.search(done.out)


def test_data_says_what_it_said(odd: Site) -> None:
    """JSON and YAML read back as the very text; a CSV's cell begins no formula, and its JSON is JSON."""
    image = json.loads(odd.pai("get", "agent", "b", "-o", "json").out)["spec"]["image"]
    assert image == ODD
    assert yaml.safe_load(odd.pai("get", "agent", "b", "-o", "yaml").out)["spec"]["image"] == ODD
    exported = odd.folder / "rows"
    odd.pai("export", exported, "--format", "csv")
    for text in (odd.pai("log", "-o", "csv").out, (exported / "events.csv").read_text("utf-8")):
        assert not steering(text)
        rows = list(csv.DictReader(io.StringIO(text)))
        messages = {str(json.loads(row["data"]).get("message", "")).strip() for row in rows}
        assert {f"=1+1 {ODD} first", f"@x {ODD} second"} <= messages
        assert any(row["actor"].startswith("'-2+3\\x1b]0;owned") for row in rows)


@pytest.mark.parametrize("text", ["", "plain", "=1", "ä", "\x9b", "\U000e0041", "\ud800", "\x7f", "😀\u202e", "\xa0"])
def test_cells_and_json_are_printable(text: str) -> None:
    """Whatever the text, no cell steers anything, and JSON keeps its value."""
    assert csv_cell(text).isprintable()
    made = printable_json(json.dumps([text], ensure_ascii=False))
    assert made.isprintable()
    assert json.loads(made) == [text]


ADDRESSES = ["http://127.0.0.1:8001", "https://pai.example.com/x", "http:", "ssh://git@example.com/x"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_for_a_folder_is_wrong_usage(team: Site, tmp_path: Path, address: str) -> None:
    """Wherever a folder is named, an address is refused with the way out, its password not shown; nothing is made."""
    before = sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts)
    secret = address.replace("//", "//user:hunter2@") if "@" not in address else address
    for words, env in [
        (("-w", secret, "get", "models"), {}),
        (("get", "models", "-w", secret), {}),
        (("-w", secret, "init"), {}),
        (("init", secret), {}),
        (("-w", secret, "serve"), {}),
        (("add", "model", "x", "--provider", "openai", "--api-key", "s", "-w", secret), {}),
        (("status",), {"PAI_WORKSPACE": secret}),
        (("export", secret), {}),
        (("prune", "--before", "7d", "--export", secret), {}),
    ]:
        done = team.pai(*words, code=2, env=env, cwd=team.root)
        assert done.out == ""
        assert "is an address, and a folder is needed" in done.err, (words, done)
        assert "hint: this version works on folders of this machine alone" in done.err
        assert "hunter2" not in done.err
    assert sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts) == before
