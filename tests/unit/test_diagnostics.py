"""A diagnostic as one line of text."""

from __future__ import annotations

import pytest

from reconciler.core.diagnostics import Diagnostic, format_line


def line(path: str) -> str:
    """Write the line of a problem in a file."""
    return format_line(Diagnostic(path, 3, 5, "error", "PAI201", "is wrong", "mend it", ""))


def test_line_names_the_place_first() -> None:
    """Editors and people find the place by it."""
    assert line("models/a.yaml") == "models/a.yaml:3:5: error PAI201 is wrong (mend it)"


@pytest.mark.parametrize("path", ["::add-mask::a.yaml", "##vso[task.setvariable]a.yaml", " ::error::a.yaml"])
def test_path_is_no_command_to_a_ci_runner(path: str) -> None:
    """Runners take orders from lines that begin so; the path is still the path."""
    assert line(path).startswith(f"./{path}:3:5: ")
