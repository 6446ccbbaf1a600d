"""One measured figure beside the one to reach, and how a list of them is printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """A line of the table; `ratio` is measured / figure, `ok` is None if no figure is asked for.

    `baseline` says how many times as much as something else measured in the same run it is.
    """

    name: str
    measured: str
    figure: str
    ratio: float | None
    ok: bool | None
    baseline: str = ""


def at_least(name: str, value: float, figure: float, unit: str, baseline: float | None = None, of: str = "") -> Row:
    """Make a row for a figure that must be reached; `baseline` is what `of` took in the same run, in the same unit."""
    return Row(
        name,
        _number(value, unit),
        f">= {_number(figure, unit)}",
        value / figure,
        value >= figure,
        _times(value, baseline, of),
    )


def at_most(name: str, value: float, figure: float, unit: str, baseline: float | None = None, of: str = "") -> Row:
    """Make a row for a figure, perhaps 0, that must not be passed; `baseline` and `of` as in `at_least`."""
    return Row(
        name,
        _number(value, unit),
        f"<= {_number(figure, unit)}",
        value / figure if figure else None,
        value <= figure,
        _times(value, baseline, of),
    )


def note(name: str, value: float, unit: str) -> Row:
    """Make a row that only informs."""
    return Row(name, _number(value, unit), "", None, None)


def show(rows: Sequence[Row]) -> str:
    """Lay the rows out as a Markdown table."""
    cells = [("what", "measured", "figure", "ratio", "", "against, in the same run")]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = "" if row.ok is None else "ok" if row.ok else "MISSED"
        cells.append((row.name, row.measured, row.figure, ratio, verdict, row.baseline))
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def _times(value: float, baseline: float | None, of: str) -> str:
    return "" if baseline is None else f"{value / baseline:.2f} x {of}"


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}"
