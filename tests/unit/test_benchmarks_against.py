"""Benchmarks of two checkouts: what one prints is what the other one's comparison reads."""

from __future__ import annotations

from benchmarks.against import read_table
from benchmarks.table import at_least, at_most, note, show


def test_a_printed_table_is_read_again() -> None:
    """Every row is found with its figure and unit, large and small, below zero, with and without a verdict."""
    rows = [
        note("rate", 12_345.6, "events/s"),
        at_most("added, p50", 0.00123, 1, "ms", 0.5, "bare"),
        at_least("rate of nothing", 0, 10, "a/s"),
        note("difference", -1.5, "ms"),
    ]
    assert read_table(show(rows)) == {
        "rate": (12_346.0, "events/s"),
        "added, p50": (0.00123, "ms"),
        "rate of nothing": (0.0, "a/s"),
        "difference": (-1.5, "ms"),
    }
