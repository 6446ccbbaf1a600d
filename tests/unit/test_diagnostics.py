"""A diagnostic as one line of text."""

from __future__ import annotations

import json

import pytest

from reconciler.core.diagnostics import Diagnostic, format_line, printable, printable_json


def line(path: str) -> str:
    """Write the line of a problem in a file."""
    return format_line(Diagnostic(path, 3, 5, "error", "PAI201", "is wrong", "mend it", ""))


def test_line_names_the_place_first() -> None:
    """Editors and people find the place by it."""
    assert line("models/a.yaml") == "models/a.yaml:3:5: error PAI201 is wrong (mend it)"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("::add-mask::a.yaml", "./::add-mask::a.yaml"),
        (" ::error::a.yaml", "./ ::error::a.yaml"),
        ("##vso[task.setvariable]a.yaml", "./\\x23#vso[task.setvariable]a.yaml"),
    ],
)
def test_path_is_no_command_to_a_ci_runner(path: str, shown: str) -> None:
    """Runners take orders from lines that begin so; the path is still the path."""
    assert line(path).startswith(f"{shown}:3:5: ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("    ::set-output name=x::y", "    \\x3a:set-output name=x::y"),
        ("::set-output name=a:b::y", "\\x3a:set-output name=a:b::y"),
        ("::stop-commands::x", "\\x3a:stop-commands::x"),
        ("field spec.##vso[task.prependpath]/tmp is", "field spec.\\x23#vso[task.prependpath]/tmp is"),
        ("x ##[add-mask]y ##[", "x \\x23#[add-mask]y \\x23#["),
        ("###[debug]", "#\\x23#[debug]"),
        ("::1/128", "::1/128"),
        ("fe80::1::", "fe80::1::"),
        ("## a heading [1], a::b::c", "## a heading [1], a::b::c"),
    ],
)
def test_text_holds_no_order_to_a_ci_runner(text: str, shown: str) -> None:
    """Azure's agent and GitHub's older form find one anywhere in a line of a step's output; addresses stay."""
    assert printable(text) == shown
    whole = printable_json(json.dumps([text]))
    assert json.loads(whole) == [text]
    assert "##[" not in whole
    assert "##vso[" not in whole
