"""The terms of a query as they are typed: what `pai log` and `pai usage` share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from reconciler.audit import Query, parse_terms

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
