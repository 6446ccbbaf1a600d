"""Each field of a model's or an agent's spec, with the commit, author, time and file:line that set it."""

from __future__ import annotations

import argparse
import contextlib

import msgspec

from reconciler.audit import Blame, blame
from reconciler.cli.objects import about_object, not_on_the_log
from reconciler.cli.output import print_json, print_table
from reconciler.core.text import cut, value_text
from reconciler.log.sqlite import open_reader
from reconciler.workspace import Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai blame`."""
    about_object(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line a field."""
    with contextlib.closing(open_reader(Workspace.find(args.workspace).database)) as log:
        found = blame(log, args.kind, args.name)
        if not found:
            raise not_on_the_log(log, args.kind, args.name)
    if args.output == "json":
        print_json({"kind": args.kind, "name": args.name, "fields": msgspec.to_builtins(found)})
    else:
        print_table(("FIELD", "VALUE", "COMMIT", "AUTHOR", "TIME", "PLACE"), [_line(each) for each in found])
    return 0


def _line(each: Blame) -> list[str]:
    when = each.time[:19].replace("T", " ")
    place = f"{each.file}:{each.line}"
    return [cut(each.field), cut(value_text(each.value)), each.commit[:7], cut(each.author), when, place]
