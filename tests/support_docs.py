"""Pages that cannot rot: the console blocks of a page are run in one shell, in order, and compared with what it shows.

A block's commands begin with `$ `, the lines that continue one with `> `; the lines below are what it prints. Only what
differs from run to run (hashes, times, paths, trailing blanks) is made equal before comparing; a page may have more of
that. A line `[...]` stands for any lines. What a page cannot show (making the workspace that it speaks of, waiting for
the daemon) is put around its commands by its test.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support import PAI

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
DEADLINE_S = 240
LEFT_OUT = "[...]"
MARK = "=== next command ==="
Volatile = Sequence[tuple[re.Pattern[str], str]]
VOLATILE: Volatile = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\S*/pai-demo-\w+"), "DEMO"),
    (re.compile(r"(?<=revision )[0-9a-f]{7}\b|(?<=commit )[0-9a-f]{7}\b|(?<=refuses )[0-9a-f]{7}\b"), "COMMIT"),
    (re.compile(r"\b[0-9a-f]{7}(?= \S+\.yaml:\d+ )|(?<=commit    )[0-9a-f]{7}\b"), "COMMIT"),
    (re.compile(r"(?<=resets at )\d{4}-\d\d-\d\dT00:00:00Z"), "MIDNIGHT"),
)


class Step(NamedTuple):
    """One command of a console block and the lines shown below it."""

    command: str
    shown: list[str]


def blocks(page: Path, language: str) -> list[list[str]]:
    """Give the fenced blocks of one language, as lines."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in found]


def steps(page: Path) -> list[Step]:
    """Give the commands of a page's console blocks; what `pai demo` shows looks like commands and is its output."""
    found: list[Step] = []
    for lines in blocks(page, "console"):
        for number, line in enumerate(lines):
            if line.startswith("$ ") and not (number and lines[0] == "$ pai demo"):
                found.append(Step(line.removeprefix("$ "), []))
            elif line.startswith("> ") and not found[-1].shown and lines[0] != "$ pai demo":
                found[-1] = Step(f"{found[-1].command}\n{line.removeprefix('> ')}", [])
            else:
                found[-1].shown.append(line)
    return found


def after(step: Step) -> str:
    """Wait for what a command starts in the background, as whoever types the next one does."""
    waits = step.command.startswith("pai serve")
    return 'until [ -S "$PAI_WORKSPACE/data/pai.sock" ]; do sleep 0.05; done\n' if waits else ""


def with_pai(environment: Mapping[str, str]) -> dict[str, str]:
    """Give an environment in which `pai` is the one under test, and its lines come in their order as on a terminal."""
    path = f"{Path(PAI).parent}:{environment['PATH']}"
    return {**environment, "PYTHONUNBUFFERED": "1", "PATH": path}


def run_steps(
    wanted: Sequence[Step],
    folder: Path,
    environment: Mapping[str, str],
    *,
    prepare: str = "",
    then: Callable[[Step], str] = after,
) -> list[str]:
    """Run commands one after the other in one shell in `folder` and give what each printed, stdout and stderr together.

    `prepare` are shell lines that come before the first, `then` gives those that follow a command unseen. What the
    shell started in the background is ended with it.
    """
    script = f"trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{prepare}\n"
    script += "".join(f"echo '{MARK}'\n{step.command}\n{then(step)}" for step in wanted)
    done = subprocess.run(
        ["bash", "-c", script],
        env=with_pai(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    outputs = done.stdout.split(f"{MARK}\n")[1:]
    assert len(outputs) == len(wanted), done.stdout
    return outputs


def plain(text: str, home: str, volatile: Volatile = ()) -> str:
    """Make equal what differs from run to run: what every page has of it, and `volatile`."""
    text = "".join(f"{line.rstrip()}\n" for line in text.replace(home, "HOME").splitlines())
    for pattern, word in (*VOLATILE, *volatile):
        text = pattern.sub(word, text)
    return text


def assert_shown(step: Step, output: str, home: str, volatile: Volatile = ()) -> None:
    """Check that a command printed what is shown below it; `home` is the folder that the page calls /home/alice."""
    shown = plain("\n".join(step.shown), "/home/alice", volatile)
    pattern = "".join("(?:.*\n)*?" if line == LEFT_OUT else f"{re.escape(line)}\n" for line in shown.splitlines())
    printed = plain(output, home, volatile)
    assert re.fullmatch(pattern, printed), f"$ {step.command}\n--- shown\n{shown}--- printed\n{printed}"


def table(page: Path, first_header: str) -> list[list[str]]:
    """Give the cells of the rows of the table whose first header is `first_header`."""
    lines = page.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows
