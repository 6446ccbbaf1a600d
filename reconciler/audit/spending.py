"""Tokens spent, added up from the log: what was settled, and what was forfeited because nobody knows.

Reserved and voided tokens are not spent. Days are those of the reservations, which budgets count by; the times of a
query apply to the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from reconciler.audit.query import search
from reconciler.audit.terms import Query, Row, Term
from reconciler.core.events import TokensForfeited, TokensSettled
from reconciler.log.store import Reader

KEYS: Final = ("day", "model", "agent")
"""What can be grouped by."""

FIGURES: Final = ("requests", "input", "cached", "output", "reasoning", "charged")
_SPENT = (TokensSettled.type, TokensForfeited.type)


class Spending(msgspec.Struct):
    """The tokens of one group; `key` has its values in the order asked for.

    `cached` is a part of `input`, `reasoning` of `output`. What was forfeited is in `charged` alone: nobody knows its
    parts.
    """

    key: tuple[str, ...]
    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    charged: int = 0

    def add(self, data: dict[str, Any]) -> None:
        """Add one settled or forfeited reservation."""
        self.requests += 1
        self.charged += data["charged"] if "charged" in data else data["tokens"]
        self.input += data.get("input", 0)
        self.cached += data.get("cached", 0)
        self.output += data.get("output", 0)
        self.reasoning += data.get("reasoning", 0)


def spending(log: Reader, query: Query, by: Sequence[str]) -> list[Spending]:
    """Add up what the query finds, in groups of the KEYS `by`, sorted by them: newest day first, names from a to z."""
    outcomes = msgspec.structs.replace(query, terms=(Term("type", "tokens."), *query.terms))
    groups: dict[tuple[str, ...], Spending] = {}
    for row in search(log, outcomes):
        if row.type not in _SPENT:
            continue
        key = tuple(_value(row, name) for name in by)
        group = groups.get(key)
        if group is None:
            group = groups[key] = Spending(key)
        group.add(row.data)
    found = list(groups.values())
    for place, name in reversed(list(enumerate(by))):  # sorting keeps the order of equals
        found.sort(key=lambda group: group.key[place], reverse=name == "day")
    return found


def _value(row: Row, name: str) -> str:
    return row.subject.partition("/")[2] if name == "model" else str(row.data[name])
