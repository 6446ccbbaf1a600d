"""What README.md and docs/ say is what happens: commands are run, tables and lists compared with the code.

README's console blocks run in a folder that holds nothing but the example manifests.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from reconciler.cli.main import VERBS
from reconciler.core import events as ev
from reconciler.core.state import Head, Order, State
from reconciler.core.steering import standing_orders
from reconciler.operations.health import judge_health
from reconciler.workspace.settings import SETTINGS
from tests import picture
from tests.support import Site, run
from tests.support_docs import DOCS, README, ROOT, assert_shown, blocks, run_steps, steps, table

PAGES = sorted([README, ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
PAYLOADS: dict[str, type[ev.Payload]] = {payload.type: payload for payload in ev.AnyPayload.__args__}


def test_readme_commands_print_what_it_shows(tmp_path: Path) -> None:
    """Every console command of README.md, run in order in a new folder, prints the lines below it."""
    wanted = steps(README)
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")

    outputs = run_steps(wanted, tmp_path, Site(tmp_path).environment)

    for step, output in zip(wanted, outputs, strict=True):
        assert_shown(step, output, str(tmp_path))


def test_readme_has_the_main_verbs_and_less_than_150_lines() -> None:
    """README.md stays short, and shows the demo and at least five further commands of Pai."""
    commands = {step.command.partition(" && ")[0] for step in steps(README)}

    assert len(README.read_text().splitlines()) < 150
    assert "pai demo" in commands
    assert len({command.split()[1] for command in commands if command.startswith("pai ")} - {"demo"}) >= 5


def test_readme_developer_commands_are_those_of_ci() -> None:
    """README.md ends with the one line that `.ci/run` runs, and begins with what that does as a newcomer."""
    (line,) = blocks(README, "sh")[-1]
    assert (ROOT / ".ci" / "run").read_text().endswith(f"\nexec {line}\n")
    _, install, demo = blocks(README, "sh")[0]
    assert (install, demo) == ("pip install .", "pai demo")


def test_checks_begin_with_nothing_but_python(tmp_path: Path) -> None:
    """`python3 -m tests` says what it does, and what is missing, without any package."""
    bare = [sys._base_executable, "-E", "-s", "-m", "tests"]  # type: ignore[attr-defined]
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("corpus", "__pycache__"))
    environment = {"PATH": str(tmp_path)}
    done = run([*bare, "--help"], environment, folder)
    assert (done.code, done.err) == (0, "")
    assert "python3 -m tests" in done.out
    done = run([*bare, "unit"], environment, folder)
    assert done.code == 3
    assert "git strace curl" in done.err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project names one that exists."""
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page.read_text())]

    assert [link for link in links if "://" not in link and link and not (page.parent / link).exists()] == []


def test_architecture_has_the_layer_contract_word_for_word() -> None:
    """The layers in docs/ARCHITECTURE.md are the lines of pyproject.toml, and every room of them is described."""
    text = (ROOT / "pyproject.toml").read_text()
    contract = re.search(r"^layers = \[\n.*?^\]\n", text, re.MULTILINE | re.DOTALL)
    assert contract is not None
    layers = tomllib.loads(contract[0])["layers"]
    rooms = {room for layer in layers for room in layer.split(" | ")}
    page = DOCS / "ARCHITECTURE.md"

    assert f"```toml\n{contract[0]}```\n" in page.read_text()
    described = [
        row[0].strip("`").removesuffix("/").removesuffix(".py") for row in table(page, "room (in `reconciler/`)")
    ]
    assert sorted(described) == sorted(rooms)


def test_architecture_has_the_picture_of_the_imports() -> None:
    """The arrows in docs/ARCHITECTURE.md are those that `python -m tests.picture` draws."""
    assert f"```mermaid\n{picture.drawn(picture.imports())}```\n" in (DOCS / "ARCHITECTURE.md").read_text()


def test_every_verb_is_mentioned() -> None:
    """README.md or a page of docs/ shows every verb that `pai --help` lists."""
    text = "\n".join(page.read_text() for page in PAGES)

    assert [verb for verb in VERBS if not re.search(rf"\bpai {verb}\b", text)] == []


def test_settings_table_is_that_of_the_code() -> None:
    """docs/operations.md lists every setting with its default, variable and comment, in order."""
    wanted = [
        [f"`{s.name}`", f"`{_as_toml(s.default)}`" if s.default != "" else "empty", f"`{s.variable}`", s.comment]
        for s in SETTINGS
    ]

    assert table(DOCS / "operations.md", "setting") == wanted


def _as_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_readiness_reasons_are_explained() -> None:
    """Every reason that readiness can give stands in the table of docs/operations.md, by its first words."""
    explained = [
        re.escape(row[0].strip("`")).replace(re.escape("..."), r"\S+")
        for row in table(DOCS / "operations.md", "reason begins")
    ]
    order = Order("alice@example.com", "2026-11-25T02:32:30.817429Z", "night", "0123456789")
    refused = Head("0123456789", ".", "rejected", 7, problems=2)
    told = [
        *judge_health("", refused, "full", "gone", source_read=False, head="").reasons,
        *judge_health("", None, "", "", source_read=False, head="").reasons,
        *judge_health("", None, "", "", source_read=True, head="8", held="7").reasons,
        *standing_orders(State(pin=order, suspension=order)),
    ]

    assert len(told) == 7
    assert [reason for reason in told if not any(re.match(words, reason) for words in explained)] == []


@pytest.mark.parametrize("event_type", sorted(PAYLOADS))
def test_event_type_is_documented_with_all_its_fields(event_type: str) -> None:
    """docs/log-format.md has every event type in a heading, and below it every field in backquotes."""
    sections = re.split(r"^### ", (DOCS / "log-format.md").read_text(), flags=re.MULTILINE)[1:]
    section = [text for text in sections if f"`{event_type}`" in text.partition("\n")[0]]
    fields = [field.encode_name for field in msgspec.structs.fields(PAYLOADS[event_type])]

    assert len(section) == 1
    assert [field for field in fields if f"`{field}`" not in section[0]] == []


def test_examples_of_events_are_stored_bytes() -> None:
    """The examples in docs/log-format.md can be read, are canonical, and show every event type once."""
    examples = [line.encode() for block in blocks(DOCS / "log-format.md", "json") for line in block]
    events = [ev.decode(example) for example in examples]

    assert [ev.encode(event) for event in events] == examples
    assert sorted(event.type for event in events) == sorted(PAYLOADS)


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_decision_says_what_was_rejected(page: Path) -> None:
    """A decision has its number in the title, and the four parts, and stays about half a page."""
    text = page.read_text()

    assert text.startswith(f"# {page.name[:4]}: ")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Rejected", "Consequence"]
    assert len(text.split()) <= 400


def test_every_decision_has_a_number_of_its_own() -> None:
    """A number names one decision for ever; work done side by side may leave gaps."""
    numbers = [int(page.name[:4]) for page in DECISIONS]

    assert len(set(numbers)) == len(numbers)
