"""Every check of the project under one word each: `python3 -m tests [CHECK] [PYTEST OPTIONS]`, on any machine.

Where the packages are missing that the checks need, an environment with them is made first (`machine`); nothing but
Python's own library is needed until then.
Stops at the first check that fails, with its exit code. A tool that is missing is a failure: what CI checks, everybody
checks. Prints what it runs, so that a single line can be repeated by hand; ends with pytest's own closing line.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import machine

ROOT = machine.ROOT
SUITES = ("unit", "contract", "integration", "acceptance", "clients")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

TOOLS: dict[str, tuple[str, ...]] = {
    "format": ("ruff", "format", "--check", "."),
    "lint": ("ruff", "check", "."),
    "types": ("mypy",),
    "layers": ("lint-imports",),
}
ALL = ("format", "lint", "sizes", "types", "layers", "tests", "plain-paths")
RUNS = ("tests", "plain-paths")
"""Those of ALL that are pytest's; of a failure of them pytest says enough."""
PLAIN_PATHS = (
    "tests/unit/test_quick.py",
    "tests/unit/test_glance.py",
    "tests/integration/source/test_hook.py",
    "tests/integration/test_compare.py",
    "tests/integration/test_daemon_lines.py",
    "tests/integration/test_helped_reading.py",
    "tests/integration/test_one_verdict.py",
    "tests/integration/test_reconcile.py",
    "tests/integration/test_remembered_verdict.py",
    "tests/acceptance/test_cli_diff.py",
)
"""The tests of every place that asks whether cleverness is off (docs/decisions/0104-one-switch-for-cleverness.md)."""

USAGE = f"""usage: python3 -m tests [CHECK] [PYTEST OPTIONS]

checks, in the order of `all` (the default):
  format      ruff format --check
  lint        ruff check
  sizes       files of at most {FILE_LINES_MAX} lines, functions of at most {FUNCTION_LINES_MAX}, in reconciler/
  types       mypy, strict
  layers      lint-imports: imports point down
  tests       pytest: {", ".join(SUITES)}
  plain-paths the tests that depend on the switch of reconciler/quick.py, with all cleverness off
or one suite alone: {", ".join(SUITES)}; or `plain`: all suites with all cleverness off

Without the packages of requirements.lock it makes an environment of its own, .venv-tests, and runs there; all checks
are then preceded by what a newcomer does, pip install . && pai demo. System packages that are missing are installed.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the checks that the arguments name; give the first failing one's exit code."""
    name, *options = arguments or ["all"]
    if name in ("-h", "--help"):
        _say(USAGE)
        return 0
    if name not in (*ALL, *SUITES, "plain", "all"):
        _say(f"there is no check {name}\n\n{USAGE}", sys.stderr.fileno())
        return 2
    if not machine.is_prepared():
        return machine.run(list(arguments))
    for check in ALL if name == "all" else (name,):
        code = _run(check, options)
        if code:
            if check in ALL and check not in RUNS:
                _say(f"failed: {check}; alone: python -m tests {check}\n", sys.stderr.fileno())
            return code
    return 0


def _run(check: str, options: Sequence[str]) -> int:
    if check == "sizes":
        return _sizes()
    if check in TOOLS:
        program, *rest = TOOLS[check]
        return _command([_script(program), *rest], check)
    if check in ("plain", "plain-paths"):
        os.environ["PAI_PLAIN"] = "1"
    places = {"tests": ["tests"], "plain": ["tests"], "plain-paths": PLAIN_PATHS}.get(check, [f"tests/{check}"])
    return _command([sys.executable, "-m", "pytest", *places, *_workers(options), *options], check)


def _workers(options: Sequence[str]) -> list[str]:
    """Use all cores, unless the caller decides or looks at one test (a debugger needs one process)."""
    decided = any(o.startswith("-n") or o in ("-k", "-x", "-s", "--pdb") or "::" in o for o in options)
    return [] if decided else ["-n", "auto", "--dist", "worksteal"]


def _script(program: str) -> str:
    """Give the tool that is installed beside this Python; another environment's tool would judge by other rules."""
    return str(Path(sysconfig.get_path("scripts"), program))


def _command(command: list[str], check: str) -> int:
    shown = [Path(command[0]).name, *command[1:]]
    _say(f"== {check}: {shlex.join(shown)}\n")
    try:
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    except FileNotFoundError:
        _say(f"{shown[0]} is not installed here: pip install -r requirements.lock\n", sys.stderr.fileno())
        return 127


def _sizes() -> int:
    _say("== sizes: reconciler/\n")
    problems = [line for path in sorted((ROOT / "reconciler").rglob("*.py")) for line in _too_large(path)]
    for line in problems:
        _say(f"{line}\n")
    return 1 if problems else 0


def _too_large(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{name}:1: the file has {lines} lines, at most {FILE_LINES_MAX}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES_MAX}"


def _say(text: str, descriptor: int | None = None) -> None:
    """Write at once and past any buffer, so that lines keep their order with those of the tools."""
    sys.stdout.flush()
    os.write(sys.stdout.fileno() if descriptor is None else descriptor, text.encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
