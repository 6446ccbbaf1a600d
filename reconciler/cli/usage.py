"""Tokens spent, added up from the log: settled ones, and forfeited ones, whose use nobody knows.

The terms are those of `pai log`; all must hold. Days are UTC days as budgets count them: those of the reservations. The
bar compares the tokens charged.
"""

from __future__ import annotations

import argparse
import sys

from reconciler.audit.spending import KEYS, Key, Spending
from reconciler.cli.output import print_csv, print_data, print_table
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import open_reading, tell_pruned
from reconciler.cli.terms import preprocess, query_of, tell_unknown
from reconciler.core.errors import UsageError
from reconciler.log.index import FIGURES

__all__ = ["arguments", "preprocess", "run"]

BAR_WIDTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai usage`."""
    parser.add_argument("terms", nargs="*", metavar="TERM", help="such as model:NAME, agent:NAME, since:7d")
    parser.add_argument("--by", default="day,model", metavar="KEYS", help="day, model, agent (default: day,model)")
    parser.add_argument("-o", "--output", choices=("table", "wide", "json", "yaml", "csv"), default="table")


def run(args: argparse.Namespace) -> int:
    """Print one line a group."""
    by = _keys(args.by)
    query = query_of(args.terms)
    with open_reading(find_workspace(args.workspace)) as reading:
        tell_pruned(reading, query)
        groups = reading.spending(query, by)
        empty = "no tokens were spent" * (args.output in ("table", "wide"))
        tell_unknown(reading, query, found=len(groups), empty=empty)
    if args.output in ("json", "yaml"):
        print_data({"usage": [group.told(by) for group in groups]}, args.output)
    elif args.output == "csv":
        print_csv([*by, *FIGURES], [[*group.key, *map(str, group.figures().values())] for group in groups])
    elif groups:
        _table(by, groups)
    return 0


def _keys(text: str) -> list[Key]:
    keys = list(dict.fromkeys(text.split(",")))
    for key in keys:
        if key not in KEYS:
            raise UsageError(f"--by: cannot group by {key!r}", f"name one or more of {', '.join(KEYS)}, with commas")
    return [known for key in keys for known in KEYS if known == key]


def _table(by: list[Key], groups: list[Spending]) -> None:
    largest = max(group.charged for group in groups)
    numbers = [name.upper() for name in FIGURES]
    rows = [
        [*group.key, *(f"{value:,}" for value in group.figures().values()), _bar(group.charged, largest)]
        for group in groups
    ]
    print_table([*(key.upper() for key in by), *numbers, ""], rows, numbers)


def _bar(value: int, largest: int) -> str:
    """Draw a value as a part of the largest; whatever is not 0 can be seen."""
    if not value:
        return ""
    if not _can_print(_EIGHTHS):
        return "#" * max(1, round(BAR_WIDTH * value / largest))
    eighths = max(1, round(BAR_WIDTH * 8 * value / largest))
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
