"""The views of a log's file for people and tools that ask SQLite itself."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from reconciler.core import events as ev
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder
from tests.support_log import binding, decide, new_log


def test_views_tell_what_happened_and_what_is_in_force(tmp_path: Path) -> None:
    """Under plain names; what was spent also of events that are in no block of the index yet."""
    path = new_log(tmp_path)
    outcome = {"request": "q", "agent": "bot", "day": "2026-11-22", "status": 200, "reason": ""}
    spent = outcome | {"durations": ev.Durations(first_byte_ms=1, total_ms=2)}
    settled = ev.TokensSettled(**spent, input=9, cached=3, cache_write=2, output=4, reasoning=1, charged=13)  # type: ignore[arg-type]
    agent = ev.AgentCreated(
        spec={"modelBindings": ["m"]}, previous=None, changed=[], file="a.yaml", line=2, revision="r"
    )
    drafts = [
        binding("m", 7),
        ev.Draft("ann", "agent/bot", agent),
        ev.Draft("bot", "model/m", settled),
        ev.Draft("bot", "model/m", ev.TokensForfeited(**spent, tokens=30)),  # type: ignore[arg-type]
    ]
    with Recorder(SqliteBackend(path)) as recorder:
        for each in drafts:
            recorder.record(decide(each))

    def asked(view: str) -> tuple[list[str], list[tuple[object, ...]]]:
        with closing(sqlite3.connect(path)) as db:
            found = db.execute(f"SELECT * FROM {view}")  # noqa: S608
            return [column[0] for column in found.description], found.fetchall()

    columns, found = asked("log")
    assert columns == ["seq", "time", "type", "actor", "subject", "data", "id", "leaf_hash"]
    _, stored = asked("events")
    for row, (seq, body, leaf) in zip(found, stored, strict=True):
        event = json.loads(bytes(body))
        assert row[:5] == (seq, *(event[name] for name in ("time", "type", "actor", "subject")))
        assert (json.loads(str(row[5])), *row[6:]) == (event["data"], event["id"], leaf.hex())
    figures = ["requests", "input", "cached", "output", "reasoning", "charged"]
    assert asked("usage") == (["day", "model", "agent", *figures], [("2026-11-22", "m", "bot", 2, 9, 3, 4, 1, 43)])
    columns, found = asked("models")
    assert columns == ["name", "spec", "file", "line", "revision"]
    assert [(name, json.loads(str(spec))["maxTokensPerDay"], *rest) for name, spec, *rest in found] == [
        ("m", 7, "models/m.yaml", 1, "a" * 40)
    ]
    assert asked("agents")[1] == [("bot", '{"modelBindings":["m"]}', "a.yaml", 2, "r")]
