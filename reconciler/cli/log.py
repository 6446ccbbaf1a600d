"""Query the log, newest first; all terms must hold.

terms:
  type:binding         events whose type begins so          model:NAME, agent:NAME  about this object
  revision:3f2a91c     of this commit (a prefix will do)    actor:EMAIL             made by
  field:maxTokensPerDay  that changed this field            path:FILE               written in this file
  request:ID           of this request                      since:7d until:DATE     in this time
  -TERM                excludes what TERM matches
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable

import msgspec

from reconciler.audit import Row, cut, describe, search
from reconciler.cli.output import json_text, print_csv, print_json
from reconciler.cli.terms import preprocess, query_of
from reconciler.core.diagnostics import printable
from reconciler.core.errors import UsageError
from reconciler.log.sqlite import open_reader
from reconciler.workspace import Workspace

__all__ = ["arguments", "preprocess", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai log`."""
    parser.add_argument("terms", nargs="*", metavar="TERM", help="what must hold, see above")
    parser.add_argument("--limit", type=int, metavar="N", help="events at most (default: all)")
    parser.add_argument("--reverse", action="store_true", help="oldest first")
    parser.add_argument("-o", "--output", choices=("table", "json", "jsonl", "csv"), default="table")


def run(args: argparse.Namespace) -> int:
    """Print the matching events."""
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit} is below 1", "leave it out for all events")
    query = query_of(args.terms)
    workspace = Workspace.find(args.workspace)
    with contextlib.closing(open_reader(workspace.database)) as log:
        rows = search(log, query, args.limit, oldest_first=args.reverse)
        _PRINTERS[args.output](rows)
    return 0


def _table(rows: Iterable[Row]) -> None:
    for row in rows:
        when = row.time[:19].replace("T", " ")
        kind = row.type.removesuffix(".v1")
        print(printable(f"{row.seq:>6}  {when}  {kind:<18} {row.subject}  {describe(row)}  {cut(row.actor)}"))


def _json(rows: Iterable[Row]) -> None:
    print_json(msgspec.to_builtins(list(rows)))


def _jsonl(rows: Iterable[Row]) -> None:
    for row in rows:
        print(json_text(msgspec.to_builtins(row)))


def _csv(rows: Iterable[Row]) -> None:
    headers = ["seq", "time", "type", "actor", "subject", "data", "id", "leafHash"]
    print_csv(headers, (_cells(row) for row in rows))


def _cells(row: Row) -> list[str]:
    data = json_text(row.data)
    return [str(row.seq), row.time, row.type, row.actor, row.subject, data, row.id, row.leaf_hash]


_PRINTERS: dict[str, Callable[[Iterable[Row]], None]] = {"table": _table, "json": _json, "jsonl": _jsonl, "csv": _csv}
