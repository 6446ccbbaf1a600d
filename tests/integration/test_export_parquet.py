"""The Parquet export: read back with pyarrow, it says what the rows of `pai log -o jsonl` say, in typed columns."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from reconciler.evidence import parquet, rows
from reconciler.operations.install import install
from reconciler.operations.parts import Parts
from reconciler.simulator import Simulator
from reconciler.workspace import Workspace
from tests.acceptance.test_docs import DOCS, table
from tests.support import Site, copied
from tests.support_gateway import PROVIDER_KEYS, Bench
from tests.support_log import decide, secret


def read(folder: Path) -> pyarrow.Table:
    """Read an export."""
    return pyarrow.parquet.read_table(folder / "events.parquet")


def test_columns_say_what_the_log_says(gateway_template: Site, tmp_path: Path) -> None:
    """Served, refused and cut-off requests and all that was pushed: each row as jsonl has it, in its own type."""
    accepted = {name: {key} for name, key in PROVIDER_KEYS.items()}
    with (
        Simulator(keys=accepted) as simulator,
        Bench(copied(gateway_template, tmp_path), simulator, {}).running() as bench,
    ):
        bench.ask("chat", "openai")
        bench.ask("chat", "openai-spent")
        bench.quiet()
        bench.site.pai("export", tmp_path / "parquet", "--format", "parquet")
        shown = [json.loads(line) for line in bench.site.pai("log", "-o", "jsonl", "--reverse").out.splitlines()]
    found = read(tmp_path / "parquet")
    assert found.schema.metadata[b"pai.origin"] == shown[0]["data"]["origin"].encode()
    listed: list[dict[str, Any]] = found.to_pylist()
    assert len(listed) == len(shown)
    for row, event in zip(listed, shown, strict=True):
        for name in ("seq", "type", "actor", "subject", "id", "leafHash"):
            assert row[name] == event[name]
        assert row["time"] == datetime.fromisoformat(event["time"])
        assert row["time"].utcoffset() == datetime.now(UTC).utcoffset()
        assert json.loads(row["data"]) == event["data"]
        data = event["data"] | event["data"].get("durations", {})
        for name in (*parquet.TEXTS, *parquet.NUMBERS, *parquet.DURATIONS):
            if name not in ("revision", "agent"):
                assert row[name] == data.get(name), name
        assert row["day"] == (date.fromisoformat(data["day"]) if "day" in data else None)
    settled = next(row for row in listed if row["type"] == "tokens.settled.v1")
    assert (settled["model"], settled["agent"], settled["status"]) == ("openai", "robot", 200)
    assert type(settled["charged"]) is int
    accepted_row = next(row for row in listed if row["type"] == "revision.accepted.v1")
    assert accepted_row["subject"] == f"revision/{accepted_row['revision']}"
    agents = [row for row in listed if row["type"] == "agent.created.v1"]
    assert {row["agent"] for row in agents} == {"robot", "outsider"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with some hundred events."""
    made = install(tmp_path_factory.mktemp("parquet") / "workspace")
    with Parts(made) as parts:
        parts.recorder.record(decide(*(secret(f"s{n}") for n in range(300))))
    return made


def test_rows_are_written_in_groups(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the log is, a group of rows is all that is held: by number, and by bytes where events are large."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 64)
    assert rows.export(workspace, tmp_path / "rows", "parquet", "o", lambda _: None) == 301
    groups = pyarrow.parquet.ParquetFile(tmp_path / "rows" / "events.parquet").metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [64, 64, 64, 64, 45]
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1000)
    rows.export(workspace, tmp_path / "bytes", "parquet", "o", lambda _: None)
    assert pyarrow.parquet.ParquetFile(tmp_path / "bytes" / "events.parquet").metadata.num_row_groups > 40
    assert read(tmp_path / "rows").equals(read(tmp_path / "bytes"))


def test_documented_columns_are_those_of_the_file() -> None:
    """docs/exports.md names every column with its type, and no other."""
    documented: dict[str, str] = {}
    for names, types, _ in table(DOCS / "exports.md", "column"):
        kinds = types.split("; ")
        for n, name in enumerate(re.findall(r"`(\w+)`", names)):
            documented[name] = kinds[min(n, len(kinds) - 1)]
    schema = parquet.schema(pyarrow, "o")
    types = {field.name: f"{field.type}{', null' * field.nullable}" for field in schema}
    assert documented == types


def test_missing_pyarrow_is_said_with_the_way_out(team: Site, tmp_path: Path) -> None:
    """Without the extra: exit 3, what to install, and no folder."""
    broken = tmp_path / "without"
    (broken / "pyarrow").mkdir(parents=True)
    (broken / "pyarrow" / "__init__.py").write_text("raise ImportError('not installed')\n")
    env = {"PYTHONPATH": str(broken)}
    done = team.pai("export", tmp_path / "out", "--format", "parquet", code=3, env=env)
    assert done.err.startswith("error: Parquet is written by pyarrow, which is not installed here\n")
    assert "hint: pip install 'pai-reconciler[parquet]'" in done.err
    assert not (tmp_path / "out").exists()
