"""Midnight, and a machine that slept, in a real `pai serve`: libfaketime sets the clocks of its process.

Unlike a person who sets a clock, it moves the steady clock as well, as time that passes does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from reconciler.simulator import Fault
from tests.support import Site, until
from tests.support_gateway import Bench, opened

TODAY = datetime.now(UTC).date() + timedelta(days=2)
"""A day that no event of the workspace can be after, whenever the tests began."""


def preloaded() -> str:
    """Give the library's path."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is missing: install it, the clock tests need it"
    return str(found[0])


class Clocked:
    """A gateway whose process has a clock of its own."""

    def __init__(self, bench: Bench, clock: Path) -> None:
        self.bench = bench
        self._clock = clock

    def set(self, day: date, time_of_day: str) -> None:
        """Let it be this time."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"@{day} {time_of_day}\n")
        new.rename(self._clock)

    def today(self) -> date:
        """Give the day that the process takes it to be."""
        return parsedate_to_datetime(self.bench.client.get("/v1/models").headers["date"]).date()

    def days(self) -> list[tuple[str, str]]:
        """Give what happened to tokens, each with its day."""
        return [(row["type"].split(".")[1], row["data"]["day"]) for row in self.bench.tokens("openai")]


@pytest.fixture
def clocked(gateway_template: Site, tmp_path: Path) -> Iterator[Clocked]:
    """Give a gateway that is started a few seconds before a midnight."""
    clock = tmp_path / "clock"
    clock.write_text(f"@{TODAY} 23:59:54\n")
    preload = {"LD_PRELOAD": preloaded(), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "TZ": "UTC"}
    with opened(gateway_template, tmp_path, **preload, PAI_GATEWAY_READ_TIMEOUT="60s") as bench:
        yield Clocked(bench, clock)


def streaming(bench: Bench, found: list[httpx.Response | httpx.HTTPError]) -> threading.Thread:
    """Begin a stream in a thread; its answer, or how it broke, is put into `found`."""

    def work() -> None:
        try:
            found.append(bench.ask("chat", "openai", stream=True))
        except httpx.HTTPError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until("the reservation", lambda: bench.tokens("openai"))
    return thread


def test_stream_over_midnight_counts_on_the_day_it_began(clocked: Clocked) -> None:
    """What was reserved before midnight is settled on that day; the next request has the new day's budget."""
    bench, tomorrow = clocked.bench, TODAY + timedelta(days=1)
    bench.simulator.fault(Fault(stall_after=3, stall_s=8))
    found: list[httpx.Response | httpx.HTTPError] = []
    thread = streaming(bench, found)
    assert clocked.today() == TODAY
    until("midnight", lambda: clocked.today() == tomorrow)
    assert bench.ask("chat", "openai").status_code == 200
    thread.join()
    (answer,) = found
    assert isinstance(answer, httpx.Response)
    assert "[DONE]" in answer.text
    bench.quiet()
    one, other = str(TODAY), str(tomorrow)
    assert clocked.days() == [("reserved", one), ("reserved", other), ("settled", other), ("settled", one)]
    assert bench.daemon.readiness()[0] == 200


def test_machine_that_slept_wakes_on_its_new_day(clocked: Clocked) -> None:
    """Days pass at once, also for every deadline: a stream that was under way is resolved, and new requests go on."""
    bench, later = clocked.bench, TODAY + timedelta(days=3)
    bench.simulator.fault(Fault(stall_after=3, stall_s=3))
    found: list[httpx.Response | httpx.HTTPError] = []
    thread = streaming(bench, found)
    until("the request upstream", lambda: bench.seen("openai"))
    clocked.set(later, "12:00:00")
    until("the new day", lambda: clocked.today() == later)
    thread.join()
    assert bench.ask("chat", "openai").status_code == 200
    bench.quiet()
    days = clocked.days()
    assert days[0] == ("reserved", str(TODAY))
    assert {day for what, day in days if what != "reserved"} == {str(TODAY), str(later)}
    assert days[-1] == ("settled", str(later))
    assert bench.daemon.readiness()[0] == 200


def resets(site: Site, env: dict[str, str]) -> set[str]:
    """Give when budgets are said to reset."""
    items = site.pai("get", "models", "-o", "json", env=env).json["items"]
    return {item["status"]["resetsAt"] for item in items}


def test_people_see_the_day_that_the_gateway_counts_on(gateway_template: Site, tmp_path: Path) -> None:
    """After a jump of the wall clock alone the old day goes on, for commands too, and after a restart the new one."""
    clock = tmp_path / "clock"
    clock.write_text(f"@{TODAY} 12:00:00\n")
    preload = {"LD_PRELOAD": preloaded(), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "TZ": "UTC"}
    preload["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    with opened(gateway_template, tmp_path, **preload) as bench:
        clocked, site = Clocked(bench, clock), bench.site
        after = {f"{TODAY + timedelta(days=1)}T00:00:00Z"}
        assert resets(site, {}) == after, "the daemon's day, not that of the command's clock"
        assert bench.ask("chat", "openai").status_code == 200
        bench.quiet()
        used = bench.tokens("openai")[-1]["data"]["charged"]
        jumped = TODAY + timedelta(days=40)
        clocked.set(jumped, "12:00:00")
        assert resets(site, preload) == after
        assert f"— {used:,} / " in site.pai("status", "robot", env=preload).out
        assert "the clock jumped forward" in site.pai("status", env=preload).out
        assert bench.metric('pai_budget_used_tokens{model="openai"}') == used
        refusal = bench.ask("chat", "openai-spent")
        assert {refusal.headers["x-pai-reset"]} == after
        bench.daemon.stop()
        assert resets(site, preload) == {f"{jumped + timedelta(days=1)}T00:00:00Z"}
        assert "— 0 / " in site.pai("status", "robot", env=preload).out
