"""The terms of a query as they are typed: what `pai log` and `pai usage` share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.audit.terms import Query, parse_terms
from reconciler.cli.output import note

if TYPE_CHECKING:
    from reconciler.audit.reading import Reading

_EXCLUDE = "!"
"""What `-TERM` is written as behind argparse's back, which would take it for an option."""


def preprocess(argv: list[str]) -> list[str]:
    """Mark excluding terms (`-type:daemon`) so that argparse does not take them for options."""
    return [
        _EXCLUDE + word[1:] if word.startswith("-") and not word.startswith("--") and ":" in word else word
        for word in argv
    ]


def query_of(terms: Sequence[str]) -> Query:
    """Parse the terms that argparse has passed on. Raises UsageError."""
    return parse_terms(["-" + term[1:] if term.startswith(_EXCLUDE) else term for term in terms], datetime.now(UTC))


def count(text: str) -> int:
    """Read a number of things: plain digits, from 1 to 2^53 - 1."""
    if not re.fullmatch("[0-9]{1,16}", text) or not 1 <= int(text) < 2**53:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {2**53 - 1}, in plain digits")
    return int(text)


def tell_unknown(reading: Reading, query: Query, *, found: int, empty: str) -> None:
    """Say on stderr which names of a query the log does not know; see `Reading.unknown`.

    An empty table is one line: `empty` if there is nothing else to say of it. Forms for programs have no `empty`, and
    nothing is said of those.
    """
    if not found and not empty:
        return
    said = reading.unknown(query, found=found)
    for line in said if found else ["; ".join(said) or empty]:
        note(line)
