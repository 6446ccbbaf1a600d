"""What operators watch is of today, also before the first request of a day."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from reconciler.admin.app import Metrics
from reconciler.core import events as ev
from reconciler.core.events import Durations
from reconciler.core.health import Health
from reconciler.log.creation import create_log
from reconciler.log.open import log_at
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder

YESTERDAY, TODAY = "2026-11-22", "2026-11-23"
FIGURES: dict[str, Any] = {"agent": "a", "day": YESTERDAY, "durations": Durations(0, 0), "reason": "", "status": 200}


def settled() -> list[ev.Draft]:
    """Give a binding of 100 tokens a day of which yesterday used 70."""
    made = ev.BindingCreated(
        spec={"provider": "openai", "model": "gpt-4o", "maxTokensPerDay": 100},
        previous=None,
        changed=[],
        file="m.yaml",
        line=1,
        revision="0" * 40,
    )
    held = ev.TokensReserved(
        request="r", agent="a", key="k", surface="openai", day=YESTERDAY, tokens=80, input=50, output=30, binding=1
    )
    used = ev.TokensSettled(
        request="r", input=50, cached=0, cache_write=0, output=20, reasoning=0, charged=70, **FIGURES
    )
    return [ev.Draft("a", "model/m", payload) for payload in (made, held, used)]


def test_budget_gauges_begin_the_day_at_nothing(tmp_path: Path) -> None:
    """A day that has begun shows nothing used, although no request has come yet; the day before showed what was."""
    create_log(log_at(tmp_path / "log.db"), origin="o", vkey="v")
    with Recorder(SqliteBackend(tmp_path / "log.db", wait_s=5)) as recorder:
        recorder.record(lambda _: settled())

        def used(day: Callable[[], str]) -> bytes:
            return generate_latest(Metrics(recorder, lambda: Health(True, [], "", ""), day).registry)

        assert b'pai_budget_used_tokens{model="m"} 70.0' in used(lambda: YESTERDAY)
        assert b'pai_budget_used_tokens{model="m"} 0.0' in used(lambda: TODAY)
