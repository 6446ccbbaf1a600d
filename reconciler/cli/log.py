"""Query the log, newest first; all terms must hold.

terms:
  type:binding         events whose type begins so          model:NAME, agent:NAME  about this object
  revision:3f2a91c     of this commit (a prefix will do)    actor:EMAIL             made by
  field:maxTokensPerDay  that changed this field            path:FILE               written in this file
  request:ID           of this request                      since:7d until:DATE     in this time
  -TERM                excludes what TERM matches

Terms may also come as one text: "type:binding model:a". A follower (--follow) prints what there is, oldest first (the
newest N with --limit), then what comes, also across a restart of the daemon, until it is interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import select
import sys
from collections.abc import Callable, Iterable, Iterator

import msgspec

from reconciler.audit.lines import describe
from reconciler.audit.reading import Reading
from reconciler.audit.terms import EventRow, Query
from reconciler.cli.output import json_text, note, print_csv, print_json_array
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import open_reading, tell_pruned
from reconciler.cli.terms import count, preprocess, query_of, tell_unknown
from reconciler.core.diagnostics import printable
from reconciler.core.errors import UsageError
from reconciler.core.text import cut

__all__ = ["arguments", "preprocess", "run"]

LOOK_S = 0.1
"""How often a follower looks for new events."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai log`."""
    parser.add_argument("terms", nargs="*", metavar="TERM", help="what must hold, see above")
    parser.add_argument("--limit", type=count, metavar="N", help="the newest N (default: all)")
    parser.add_argument("--reverse", action="store_true", help="oldest first (of the newest N, with --limit)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until interrupted")
    parser.add_argument("-o", "--output", choices=("table", "json", "jsonl", "csv"), default="table")


def run(args: argparse.Namespace) -> int:
    """Print the matching events."""
    if args.follow and args.output == "json":
        raise UsageError("--follow never comes to the end of a JSON array", "use -o jsonl: one object a line")
    query = query_of(args.terms)
    print_rows = _PRINTERS[args.output]
    with open_reading(find_workspace(args.workspace)) as reading:
        tell_pruned(reading, query)
        if args.follow:
            for line in reading.unknown(query, found=0):
                note(line)
            print_rows(_followed(reading, query, args.limit))
        else:
            count = itertools.count()
            print_rows(row for row, _ in zip(_found(reading, query, args.limit, args.reverse), count, strict=False))
            tell_unknown(reading, query, found=next(count), empty="no events match" * (args.output == "table"))
    return 0


def _found(
    reading: Reading, query: Query, limit: int | None, reverse: bool, before: int | None = None
) -> Iterable[EventRow]:
    """Give the events that match; a limit means the newest, in whatever order they are shown."""
    if reverse and limit is not None:
        return reversed(list(reading.search(query, limit, before=before)))
    return reading.search(query, limit, oldest_first=reverse, before=before)


def _followed(reading: Reading, query: Query, limit: int | None) -> Iterator[EventRow]:
    """Give what there is, oldest first, then what comes, until whoever reads stdout has gone."""
    tail, told = reading.follow(query), False
    yield from _found(reading, query, limit, True, tail.position)
    reading.close()  # a log that stays open between the looks is the tail's business
    with contextlib.closing(tail):
        while True:
            rows = tail.look()
            if tail.notice:
                note(f"warning: {tail.notice}")
            yield from rows
            if tail.waiting and not told:
                note("the log cannot be read now; waiting for it")
            told = tail.waiting
            if not tail.behind:
                sys.stdout.flush()
                if _nobody_reads(LOOK_S):
                    return


def _nobody_reads(wait_s: float) -> bool:
    """Wait, or come back at once with True when the other end of stdout is closed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors and hang-ups are told whether or not they are asked for
    return bool(poll.poll(wait_s * 1000))


def _table(rows: Iterable[EventRow]) -> None:
    for row in rows:
        when = row.time[:19].replace("T", " ")
        kind = row.type.removesuffix(".v1")
        print(printable(f"{row.seq:>6}  {when}  {kind:<18} {row.subject}  {describe(row)}  {cut(row.actor)}"))


def _jsonl(rows: Iterable[EventRow]) -> None:
    for row in rows:
        print(json_text(msgspec.to_builtins(row)))


def _csv(rows: Iterable[EventRow]) -> None:
    headers = ["seq", "time", "type", "actor", "subject", "data", "id", "leafHash"]
    cells = ((row.seq, row.time, row.type, row.actor, row.subject, row.data, row.id, row.leaf_hash) for row in rows)
    print_csv(headers, ([each if isinstance(each, str) else json_text(each) for each in line] for line in cells))


_PRINTERS: dict[str, Callable[[Iterable[EventRow]], None]] = {
    "table": _table,
    "json": lambda rows: print_json_array(map(msgspec.to_builtins, rows)),
    "jsonl": _jsonl,
    "csv": _csv,
}
