"""Each field of a model's or an agent's spec, with the commit, author, time and file:line that set it."""

from __future__ import annotations

import argparse

from reconciler.audit.versions import Blame
from reconciler.cli.output import FORMATS, print_data, print_table
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import open_reading, tell_pruned
from reconciler.cli.targets import object_of, resource_name, targets_argument
from reconciler.core.errors import NotFound
from reconciler.core.text import cut, value_text


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai blame`."""
    targets_argument(parser, "one model or agent")
    parser.add_argument("-o", "--output", choices=FORMATS, default="table")


def run(args: argparse.Namespace) -> int:
    """Print one line a field."""
    kind, name = object_of(args.words, "blame")
    with open_reading(find_workspace(args.workspace)) as reading:
        try:
            found = reading.origins(kind, name)
        except NotFound:
            tell_pruned(reading)  # it may have been there
            raise
    if args.output == "name":
        print(resource_name(kind, name))
    elif args.output in ("json", "yaml"):
        print_data(found, args.output)
    else:
        print_table(("FIELD", "VALUE", "COMMIT", "AUTHOR", "TIME", "PLACE"), [_line(each) for each in found.fields])
    return 0


def _line(each: Blame) -> list[str]:
    when = each.time[:19].replace("T", " ")
    place = f"{each.file}:{each.line}"
    return [cut(each.field), cut(value_text(each.value)), each.commit[:7], cut(each.author), when, place]
