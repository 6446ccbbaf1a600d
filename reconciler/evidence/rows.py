"""`pai export --format`: all events as one file of rows for other people's tools.

Reads only, and every event's bytes are hashed on the way. Memory does not grow with the log.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from reconciler.core.diagnostics import csv_cell, printable_json
from reconciler.core.errors import LogDamaged
from reconciler.evidence import folders, formats, parquet
from reconciler.log.store import Reader, Stored
from reconciler.tlog.merkle import leaf_hash
from reconciler.workspace import Workspace

Format = Literal["jsonl", "csv", "cloudevents", "ocsf", "parquet"]
FILES: Final[dict[Format, str]] = {
    "jsonl": "events.jsonl",
    "csv": "events.csv",
    "cloudevents": "events.jsonl",
    "ocsf": "events.jsonl",
    "parquet": "events.parquet",
}
_STEP: Final = 1000
_encode = msgspec.json.Encoder().encode


def export(workspace: Workspace, target: Path, form: Format, origin: str, checked: Callable[[int], None]) -> int:
    """Write the file of a format into the new or empty folder `target`; give the number of events.

    `checked` is told how many more events are done. Raises Refused, CouldNotRun (also if a format needs what is not
    installed), LogDamaged.
    """
    if form == "parquet":
        parquet.require()  # before anything is made
    name = FILES[form]
    with (
        contextlib.closing(workspace.log().reader()) as log,
        folders.filled(target, name) as draft,
        log.moment(),
        (draft / name).open("wb") as file,
    ):
        events = _read(log, checked)
        match form:
            case "csv":
                return _csv(events, file, origin)
            case "parquet":
                return parquet.write(events, file, origin)
            case _:
                make = {"jsonl": formats.row, "cloudevents": formats.cloudevent, "ocsf": formats.ocsf}[form]
                count = 0
                for stored in events:
                    file.write(_encode(make(stored, origin)) + b"\n")
                    count += 1
                return count


def _read(log: Reader, checked: Callable[[int], None]) -> Iterator[Stored]:
    first = log.first()
    position = 0
    for count, stored in enumerate(log.read()):
        position = stored.seq if stored.seq < first else max(first, position)  # kept ones have gaps between them
        if stored.seq != position or leaf_hash(stored.body) != stored.leaf:
            raise LogDamaged(f"the event at position {position} is not whole", "run `pai verify`; nothing was exported")
        if count % _STEP == 0:
            checked(_STEP)
        position += 1
        yield stored


def _csv(events: Iterator[Stored], file: BinaryIO, origin: str) -> int:
    count = 0
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        for count, stored in enumerate(events, 1):
            made = formats.row(stored, origin)
            if count == 1:
                writer.writerow(made)
            writer.writerow([_cell(value) for value in made.values()])
    return count


def _cell(value: object) -> str:
    return csv_cell(printable_json(bytes(value).decode()) if isinstance(value, msgspec.Raw) else str(value))
