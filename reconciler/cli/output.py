"""How data is printed: table, wide, json, yaml, name.

Text that came from git, a manifest or the log is escaped for tables, lines and CSV, so that it cannot steer a terminal;
json and yaml carry it as data, with what cannot be shown in their own escapes. Messages do not repeat a key that
somebody typed in the wrong place.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from reconciler.core.diagnostics import Diagnostic, csv_cell, format_line, printable, printable_json
from reconciler.core.errors import PaiError, QueryError

if TYPE_CHECKING:
    import yaml

FORMATS = ("table", "wide", "json", "yaml", "name")

Object = Mapping[str, object]


def open_streams() -> None:
    r"""Let no text stop a command: a character that the output's encoding lacks is written as `\u2014`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: object) -> None:
    """Print JSON for people and programs: indented, Unicode kept where it can be shown."""
    print(json_text(value, indent=2))


def print_data(value: object, form: str) -> None:
    """Print a value, with whatever structs are in it, as `json` or as `yaml`."""
    from msgspec import to_builtins

    (print_json if form == "json" else print_yaml)(to_builtins(value))


def print_json_array(items: Iterable[object]) -> None:
    """Print one JSON array as `print_json` does, item by item, however many there are."""
    empty = True
    for item in items:
        text = json_text(item, indent=2).replace("\n", "\n  ")
        print(f"{'[' if empty else ','}\n  {text}", end="")
        empty = False
    print("[]" if empty else "\n]")


def json_text(value: object, indent: int | None = None) -> str:
    """Write JSON that stays JSON in the encoding of stdout; what no terminal should get is escaped in it."""
    return printable_json(json.dumps(value, indent=indent, ensure_ascii=not _shows_unicode()))


def _shows_unicode() -> bool:
    return sys.stdout.encoding.lower().replace("-", "") == "utf8"


@cache
def _dumper() -> type[yaml.CSafeDumper]:
    """Make what writes YAML: it quotes a text that is a number in YAML 1.2 only (`1e3`, `0o14`), too."""
    import yaml

    class Dumper(yaml.CSafeDumper):
        pass

    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    return Dumper


_NUMBER = re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+)\Z")


def print_yaml(value: object) -> None:
    """Print YAML that reads back as the same values, by YAML 1.1 and 1.2."""
    import yaml

    def written(unicode: bool) -> str:
        return str(yaml.dump(value, Dumper=_dumper(), sort_keys=False, allow_unicode=unicode, default_flow_style=False))

    text = written(_shows_unicode())
    sys.stdout.write(text if text.replace("\n", "").isprintable() else written(False))


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str] = (), *, headed: bool = True
) -> None:
    """Print columns three spaces apart, as kubectl does; nothing is cut. Columns headed as in `numbers` end flush."""
    cells = [headers, *(tuple(map(printable, row)) for row in rows)]
    if not headed:
        del cells[0]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    columns = zip(headers, widths, strict=True)
    line = "   ".join(f"%{'' if header in numbers else '-'}{width}s" for header, width in columns)
    sys.stdout.write("".join((line % tuple(row)).rstrip() + "\n" for row in cells))


def print_csv(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print CSV whose cells nothing takes for more than text; see `csv_cell`."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(headers)
    for row in rows:
        writer.writerow(map(csv_cell, row))


def print_diagnostics(diagnostics: Sequence[Diagnostic], omitted: int = 0, *, to_stderr: bool = False) -> None:
    """Print one line a problem; `omitted` counts those that are not listed."""
    stream = sys.stderr if to_stderr else sys.stdout
    for diagnostic in diagnostics:
        print(format_line(diagnostic), file=stream)
    if omitted > 0:
        print(f"... and {omitted:,} more", file=stream)


def print_error(error: PaiError) -> None:
    """Print an error as people meet it: diagnostics, `error:`, the place in a query, `hint:`, all on stderr."""
    print_diagnostics(getattr(error, "diagnostics", ()), to_stderr=True)
    print(f"error: {_shown(error.message)}", file=sys.stderr)
    if isinstance(error, QueryError) and error.query:
        _point(error)
    if error.hint:
        print(f"hint: {_shown(error.hint)}", file=sys.stderr)


def _point(error: QueryError) -> None:
    """Print the query and carets below the part of it that is wrong."""
    ends = (error.start, error.start + error.length)
    before, part, after = (_shown(error.query[start:end]) for start, end in zip((0, *ends), (*ends, None), strict=True))
    print(f"  {before}{part}{after}\n  {' ' * len(before)}{'^' * max(1, len(part))}", file=sys.stderr)


def _shown(text: str) -> str:
    if "pak_" in text:
        from reconciler.core.keys import masked

        text = masked(text)
    return printable(text)


def note(text: str) -> None:
    """Print a message that is not data, after the data printed so far: a log has both in one file."""
    sys.stdout.flush()
    print(printable(text), file=sys.stderr)
