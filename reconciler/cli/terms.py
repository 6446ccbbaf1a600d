"""The terms of a query as they are typed: what `pai log` and `pai usage` share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from reconciler.audit import Query, parse_terms, search
from reconciler.cli.output import note
from reconciler.core.text import cut
from reconciler.log.store import Reader

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


def tell_unknown(log: Reader, query: Query, *, found: int) -> None:
    """Say which names of a query the log does not know: of one that is excluded always, else if nothing was `found`.

    Each is looked for by itself, so a name that is merely elsewhere in time is known.
    """
    for term in query.terms:
        if (term.excluded or not found) and next(
            iter(search(log, Query((term._replace(excluded=False),)), 1)), None
        ) is None:
            note(f"the log knows no {term.field} {cut(term.value)}")
