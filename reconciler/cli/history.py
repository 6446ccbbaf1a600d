"""Every version of one model or agent, newest first: when, who, which commit, where, and what it changed.

The versions are those on the log: they stay when the object is deleted or the branch is rewritten.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from reconciler.audit.versions import FieldChange, Version
from reconciler.cli.output import FORMATS, print_data, print_table
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import open_reading, tell_pruned
from reconciler.cli.targets import object_of, resource_name, targets_argument
from reconciler.core.text import cut, value_text


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai history`."""
    targets_argument(parser, "one model or agent")
    parser.add_argument("-o", "--output", choices=FORMATS, default="table")


def run(args: argparse.Namespace) -> int:
    """Print one line a changed field; the lines of a version have its commit on the first of them."""
    kind, name = object_of(args.words, "history")
    with open_reading(find_workspace(args.workspace)) as reading:
        tell_pruned(reading)
        found = reading.versions(kind, name)
    if args.output == "name":
        print(resource_name(kind, name))
    elif args.output in ("json", "yaml"):
        print_data(found, args.output)
    else:
        headers = ("SEQ", "TIME", "COMMIT", "AUTHOR", "PLACE", "CHANGE")
        print_table(headers, [line for version in found.versions for line in _lines(version)], ("SEQ",))
    return 0


def _lines(version: Version) -> Iterator[Sequence[str]]:
    when = version.time[:19].replace("T", " ")
    head = [str(version.position), when, version.commit[:7], cut(version.author)]
    if version.change == "deleted" or not version.changes:
        yield [*head, f"{version.file}:{version.line}", version.change]
        return
    for number, change in enumerate(version.changes):
        place = f"{version.file}:{change.line}"
        yield [*(head if not number else [""] * len(head)), place, _text(change, version.change == "created")]


def _text(change: FieldChange, created: bool) -> str:
    new = cut(value_text(change.new))
    return f"{cut(change.field)} {new if created else f'{cut(value_text(change.old))} -> {new}'}"
