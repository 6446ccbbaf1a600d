"""`pai export --format parquet`: all events as one table of flat, typed columns (docs/exports.md has them).

Needs pyarrow, which only the extra `parquet` installs; it is imported when this is used and nowhere else. Rows are
written in groups of bounded size, so memory does not grow with the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from types import ModuleType
from typing import Any, BinaryIO, Final

import msgspec

from reconciler.core.errors import CouldNotRun
from reconciler.evidence import formats
from reconciler.log.store import Stored

GROUP_ROWS: Final = 16_384
GROUP_BYTES: Final = 16 << 20
"""Stored bytes after which a group of rows is written, however few rows it has."""

TEXTS: Final = ("agent", "request", "surface", "key", "reason", "revision", "file")
"""Fields of `data` that are text columns of the same name."""
NUMBERS: Final = (
    "tokens", "charged", "input", "cached", "cacheWrite", "output", "reasoning", "needed", "remaining", "count",
    "status", "binding", "line",
)  # fmt: skip
"""Fields of `data` that are int64 columns of the same name."""
DURATIONS: Final = ("firstByteMs", "totalMs")

_Columns = dict[str, list[Any]]


def require() -> ModuleType:
    """Give pyarrow. Raises CouldNotRun if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        hint = "pip install 'pai-reconciler[parquet]'"
        raise CouldNotRun("Parquet is written by pyarrow, which is not installed here", hint) from error
    module: ModuleType = pyarrow
    return module


def schema(arrow: ModuleType, origin: str) -> Any:
    """Give the table's schema; its metadata name the log."""
    text, number = arrow.string(), arrow.int64()
    columns = [("seq", number), ("time", arrow.timestamp("us", tz="UTC"))]
    columns += [(name, text) for name in ("type", "actor", "subject", "id", "leafHash", "model")]
    columns += [("day", arrow.date32()), *((name, text) for name in TEXTS)]
    columns += [(name, number) for name in (*NUMBERS, *DURATIONS)]
    columns += [("data", text)]
    required = {"seq", "time", "type", "actor", "subject", "id", "leafHash", "data"}
    fields = [arrow.field(name, kind, nullable=name not in required) for name, kind in columns]
    return arrow.schema(fields, metadata={"pai.origin": origin})


def write(events: Iterator[Stored], file: BinaryIO, origin: str) -> int:
    """Write the events as a table, group by group, and give their number. Raises CouldNotRun, OSError."""
    arrow = require()
    made = schema(arrow, origin)
    writer = arrow.parquet.ParquetWriter(file, made, compression="zstd")
    count = 0
    for columns in _groups(events, made.names, origin):
        writer.write_table(arrow.table(columns, schema=made), row_group_size=GROUP_ROWS)
        count += len(columns["seq"])
    writer.close()
    return count


def _groups(events: Iterator[Stored], names: list[str], origin: str) -> Iterator[_Columns]:
    columns: _Columns = {name: [] for name in names}
    size = 0
    for stored in events:
        row = _row(stored, origin)
        for name, values in columns.items():
            values.append(row.get(name))
        size += len(stored.body)
        if size >= GROUP_BYTES or len(columns["seq"]) == GROUP_ROWS:
            yield columns
            columns, size = {name: [] for name in names}, 0
    if columns["seq"]:
        yield columns


def _row(stored: Stored, origin: str) -> dict[str, Any]:
    row: dict[str, Any] = formats.row(stored, origin)
    data: dict[str, Any] = msgspec.json.decode(row["data"])
    kind, _, name = row["subject"].partition("/")
    row |= {"time": datetime.fromisoformat(row["time"]), "data": bytes(row["data"]).decode()}
    row["model"] = name if kind == "model" else None
    if kind == "agent":
        row["agent"] = name
    for names, wanted in ((TEXTS, str), (NUMBERS, int)):
        row |= {name: data[name] for name in names if type(data.get(name)) is wanted}
    if "commit" in data and kind == "revision":
        row["revision"] = data["commit"]
    if "day" in data:
        row["day"] = date.fromisoformat(data["day"])
    row |= data.get("durations", {})
    return row
