"""Claude Code, Codex and Gemini CLI, as installed, against the gateway: one prompt, no terminal, nobody to ask.

Each is set up by `pai env` and the lines that docs/gateway.md gives for it. A stream is what they ask for each time.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.surroundings import LIVE, NOTE, REPLY, Shell


class Program(NamedTuple):
    """A program of the command line: its words before the binding, and how it is asked to read a file.

    In its words ORIGIN is the gateway's.
    """

    words: tuple[str, ...]
    reading: str
    lines: dict[str, str]
    spent: str
    settings: tuple[str, str] = ("", "")
    """A file below the home, and its text."""
    why: str = "tokens today"
    """What its user reads on a spent day; Codex has words of its own for a spent quota."""


ALONE = ("--skip-git-repo-check", "--sandbox", "danger-full-access")
"""Codex runs in a folder of the test's own, on machines that have no sandbox to offer."""
CODEX = Program(
    ("codex", "exec", "-c", "openai_base_url=ORIGIN/v1", "-c", "web_search=disabled", *ALONE, "-m"),
    'call the tool exec_command {"cmd": "cat note.txt"}',
    {"CODEX_API_KEY": "$OPENAI_API_KEY"},
    "gpt-4o-mini",
    why="Quota exceeded",
)
SCRIPT = 'text(await tools.exec_command({cmd: "cat note.txt"}))'
"""To a model that it knows, Codex offers one tool that runs scripts, which call the others."""
PROGRAMS = {
    ("claude", "claude-sonnet-4-6"): Program(
        ("claude", "--model"),
        'call the tool Read {"file_path": "FOLDER/note.txt"}',
        {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
        "claude-haiku-4-5",
    ),
    ("codex", "gpt-4o"): CODEX,
    ("codex", "gpt-6-sol"): CODEX._replace(reading=f"call the tool exec {{{SCRIPT}}}"),
    ("gemini", "gemini-flash"): Program(
        ("gemini", "--skip-trust", "-m"),
        'call the tool read_file {"file_path": "note.txt"}',
        {},
        "gemini-lite",
        (".gemini/settings.json", json.dumps({"security": {"auth": {"selectedType": "gemini-api-key"}}})),
    ),
}
TABLE = [pytest.param(*key, id="-".join(key)) for key in PROGRAMS]


def _ask(shell: Shell, folder: Path, name: str, binding: str, prompt: str) -> subprocess.CompletedProcess[str]:
    """Run the program on a binding in a folder that has a note."""
    program = PROGRAMS[name, next(of for at, of in PROGRAMS if at == name)]
    work = folder / "work"
    work.mkdir()
    (work / "note.txt").write_text(f"{NOTE}\n")
    file, text = program.settings
    if file:
        (folder / file).parent.mkdir()
        (folder / file).write_text(text)
    lines = {key: shell.exported.get(value.lstrip("$"), value) for key, value in program.lines.items()}
    words = [word.replace("ORIGIN", shell.bench.origin) for word in program.words]
    prompted = [] if name == "codex" else ["-p"]
    return shell.run([*words, binding, *prompted, prompt.replace("FOLDER", str(work))], folder, lines, work)


@pytest.mark.parametrize(("name", "binding"), TABLE)
def test_program_answers_on_a_binding_with_a_budget(shell: Shell, tmp_path: Path, name: str, binding: str) -> None:
    """It prints what the model said; no provider is asked besides."""
    before = len(shell.way.asked)

    done = _ask(shell, tmp_path, name, binding, "hello")

    assert done.returncode == 0, done.stdout + done.stderr
    assert REPLY.strip() in done.stdout, done.stdout + done.stderr
    assert shell.way.providers(before) == []
    shell.bench.quiet()


@pytest.mark.parametrize(("name", "binding"), TABLE)
def test_program_runs_its_tool_and_tells_the_model(shell: Shell, tmp_path: Path, name: str, binding: str) -> None:
    """What it read of a file reaches the model, and the model's next words are printed."""
    _, model = LIVE[binding]
    before = shell.noted(model)

    done = _ask(shell, tmp_path, name, binding, PROGRAMS[name, binding].reading)

    assert done.returncode == 0, done.stdout + done.stderr
    assert shell.noted(model) > before, done.stdout + done.stderr
    assert REPLY.strip() in done.stdout, done.stdout + done.stderr
    shell.bench.quiet()


@pytest.mark.parametrize("name", ["claude", "codex", "gemini"])
def test_program_ends_when_the_day_is_spent(shell: Shell, tmp_path: Path, name: str) -> None:
    """It gives up after the first request, and its user reads why."""
    program = next(of for (at, _), of in PROGRAMS.items() if at == name)
    before = shell.refused()

    done = _ask(shell, tmp_path, name, program.spent, "hello")

    assert done.returncode != 0, done.stdout
    assert program.why in done.stdout + done.stderr, done.stdout + done.stderr
    assert shell.refused() - before == 1
