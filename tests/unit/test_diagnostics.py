"""A diagnostic as one line of text."""

from __future__ import annotations

import json

import pytest

from reconciler.core.diagnostics import (
    SHOWN_MAX,
    TEXT_SHOWN_MAX,
    Diagnostic,
    Severity,
    Shown,
    csv_cell,
    foremost,
    format_line,
    has_errors,
    printable,
    printable_json,
    shown,
)


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


def problem(line: int, severity: Severity = "error", **more: str) -> Diagnostic:
    return Diagnostic("a.yaml", line, 1, severity, "PAI201", more.get("message", "is wrong"), text=more.get("text", ""))


ERRORS = [problem(n) for n in (2, 4, 6)]
WARNINGS = [problem(n, "warning") for n in (1, 3, 5)]
MIXED = sorted(ERRORS + WARNINGS)


@pytest.mark.parametrize(
    ("most", "given"),
    [(6, MIXED), (5, MIXED[:4] + MIXED[5:]), (4, [*MIXED[:2], ERRORS[1], ERRORS[2]]), (3, ERRORS), (2, ERRORS[:2])],
)
def test_warning_is_left_out_before_an_error(most: int, given: list[Diagnostic]) -> None:
    """What is left stands in its order."""
    assert list(foremost(MIXED, most)) == given


def test_pusher_is_shown_the_foremost_and_how_many_there_are() -> None:
    """All are counted, also those that are not shown."""
    many = sorted([problem(n) for n in range(SHOWN_MAX)] + WARNINGS)
    assert shown(many) == Shown([d for d in many if d.severity == "error"], SHOWN_MAX + 3, SHOWN_MAX)
    assert shown(WARNINGS) == Shown(WARNINGS, 3, 0)
    assert (has_errors(many), has_errors(WARNINGS)) == (True, False)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", ""),
        ("wrng", ": wrng"),
        ("  wrng \nmore\nlines", ": wrng"),
        ("is wrong", ""),
        ("a.yaml", ""),
        ("x" * TEXT_SHOWN_MAX, ": " + "x" * TEXT_SHOWN_MAX),
        ("x" * TEXT_SHOWN_MAX + "y", ": " + "x" * TEXT_SHOWN_MAX + "…"),
    ],
)
def test_line_quotes_the_offending_text_unless_it_is_there_already(text: str, quoted: str) -> None:
    """Its first line as far as there is room; what the message or the path says already is not said twice."""
    assert format_line(problem(3, text=text)) == f"a.yaml:3:1: error PAI201 is wrong{quoted}"


@pytest.mark.parametrize(
    ("text", "escaped", "json_escaped"),
    [
        ("plain ü – ok", "plain ü – ok", "plain ü – ok"),
        ("a\x1b[2Jb", "a\\x1b[2Jb", "a\\u001b[2Jb"),
        ("ü\tü\r", "ü\\tü\\r", "\\u00fc\\u0009\\u00fc\\u000d"),
        ("\u202e\U000e0041", "\\u202e\\U000e0041", "\\u202e\\udb40\\udc41"),
        ("\udc80\udcff\udc7f", "\\x80\\xff\\udc7f", "\\udc80\\udcff\\udc7f"),
        ("\ud800\udd00", "\\ud800\\udd00", "\\ud800\\udd00"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text: str, escaped: str, json_escaped: str) -> None:
    """Control characters, those that turn the order of text, and bytes that are no UTF-8; all else stays."""
    assert printable(text) == escaped
    assert printable_json(text) == json_escaped
    assert printable_json(f"{text}\n") == f"{json_escaped}\n"


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@a", "'@a"), ("a=1", "a=1"), ("", ""), ("a\rb", "a\\rb")],
)
def test_cell_is_no_formula(text: str, cell: str) -> None:
    """A spreadsheet shows it as it is."""
    assert csv_cell(text) == cell
