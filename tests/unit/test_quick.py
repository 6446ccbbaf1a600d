"""One switch turns off what was bought with cleverness, and nothing of it stands anywhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import quick
from tests.__main__ import PLAIN_PATHS

ROOT = Path(__file__).parents[2]
SOURCES = [path for path in sorted((ROOT / "reconciler").rglob("*.py")) if path.name != "quick.py"]
OF_PYTHON = subprocess.check_output([sys.executable, "-c", "import gc; print(gc.get_threshold())"], text=True).strip()
SHOW = """
import sys, gc
from reconciler import {imported}
{called}
print(gc.isenabled(), gc.get_threshold(), sys.getswitchinterval(), "typing_extensions" in sys.modules)
"""


def shown(imported: str, called: str, plain: str) -> str:
    """Give what a process has set after an import and a call."""
    script = SHOW.format(imported=imported, called=called)
    environment = {"PYTHONPATH": str(ROOT), quick.VARIABLE: plain}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("imported", "called", "clever"),
    [
        ("cli", "import msgspec", "True (100000, 50, 50) 0.005 False"),
        ("quick", "quick.short_life()", f"False {OF_PYTHON} 0.005 False"),
        ("quick", "quick.long_life()", "True (25000, 10, 10) 0.0025 False"),
    ],
)
def test_interpreter_is_as_python_has_it_when_the_switch_is_set(imported: str, called: str, clever: str) -> None:
    """The collector, the switch of threads and what msgspec imports: set only without PAI_PLAIN; "0" is not set."""
    assert shown(imported, called, "") == shown(imported, called, "0") == clever
    plain = shown(imported, called, "1")
    assert plain == f"True {OF_PYTHON} 0.005 {imported == 'cli'}"


def test_settings_of_the_interpreter_are_made_in_one_place() -> None:
    """Who tunes the interpreter elsewhere does so past the switch."""
    tuned = re.compile(r"gc\.(disable|freeze|set_threshold)\(|setswitchinterval|_srcfile|sys\.modules\[")
    assert [path.name for path in SOURCES if tuned.search(path.read_text())] == []


def test_table_names_every_file_that_asks_for_the_switch() -> None:
    """The docstring tells what each place buys; one that is not in it has not been measured."""
    asking = [path for path in SOURCES if re.search(r"quick\.(PLAIN|short_life|long_life|command)\b", path.read_text())]
    assert asking
    called = {"hook.py": "short_life", "serve.py": "long_life", "__init__.py": "command", "verdict.py": "verdict."}
    assert quick.__doc__ is not None
    assert [path.name for path in asking if called.get(path.name, path.name) not in quick.__doc__] == []


def test_paths_that_run_plainly_are_there() -> None:
    """A file that was moved would leave the list without a word."""
    assert [path for path in PLAIN_PATHS if not (ROOT / path).is_file()] == []
