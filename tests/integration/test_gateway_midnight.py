"""Midnight and clocks that jump, under open requests: a reservation's day is the day that it was made on.

The gateway runs in this process, on real sockets, so that its clocks can be set.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from reconciler.core.budget import Account
from reconciler.gateway.app import Ready
from reconciler.gateway.day import Days
from reconciler.gateway.service import Options, Service
from reconciler.listening import DoorLimits
from reconciler.operations.parts import Parts
from reconciler.simulator import Fault, Simulator
from reconciler.workspace import Workspace
from tests.support import DEADLINE_S, Site, agent, copied, until
from tests.support_gateway import PROVIDER_KEYS, PROVIDERS, asked, bound, headers_of, refused

YESTERDAY, TODAY, TOMORROW = "2026-11-22", "2026-11-23", "2026-11-24"
BUDGET = 1000


class Clocks:
    """A wall clock and a steady one, which stand still until they are told."""

    def __init__(self, start: datetime) -> None:
        self.wall_s = start.timestamp()
        self.steady_s = 1000.0
        self.step_s = 0.0

    def look(self) -> int:
        """Give the time of the wall clock in microseconds; each look takes a while."""
        self.pass_s(self.step_s)
        return round(self.wall_s * 1_000_000)

    def pass_s(self, seconds: float) -> None:
        """Let time pass for both."""
        self.wall_s += seconds
        self.steady_s += seconds

    def jump_s(self, seconds: float) -> None:
        """Set the wall clock."""
        self.wall_s += seconds


class Clocked:
    """A gateway whose clocks are the test's."""

    def __init__(self, parts: Parts, simulator: Simulator, clocks: Clocks) -> None:
        self.parts = parts
        self.simulator = simulator
        self.clocks = clocks
        self.days = Days(clocks.look, lambda: clocks.steady_s)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        origins = {name: simulator.origin(name) for name in PROVIDERS}  # type: ignore[arg-type]
        options = Options(origins, 16384, (), 5.0, 30.0, 60.0, DoorLimits(10.0, 10.0))
        ready = lambda: Ready(True, [])  # noqa: E731
        service = Service(parts.recorder, parts.backends, options, self.days, CollectorRegistry(), ready)
        run = service.run(self._listening, self._stopping)
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(run,))
        origin = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.client = httpx.Client(base_url=origin, timeout=DEADLINE_S)

    def __enter__(self) -> Clocked:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._loop.close()

    def ask(self, **options: object) -> httpx.Response:
        """Send a chat request."""
        path, body = asked("chat", "daily", **options)  # type: ignore[arg-type]
        return self.client.post(path, json=body, headers=headers_of("chat"))

    def account(self) -> Account:
        """Give the binding's account as it is now."""
        return self.parts.recorder.read(lambda state: state.ledger.accounts["daily"])

    def spend(self) -> None:
        """Use the day up until a request is refused."""
        while self.ask(limit=100).status_code == 200:
            pass


@pytest.fixture(scope="module")
def daily_template(gateway_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a workspace with a binding of a small budget, only to be copied."""
    site = copied(gateway_template, tmp_path_factory.mktemp("daily"))
    files = {"models/daily.yaml": bound("daily", "openai", day=BUDGET), "agents/robot.yaml": agent("robot", "daily")}
    site.clone("daily").pushed(files)
    site.pai("reconcile")
    return site


@pytest.fixture
def site(daily_template: Site, tmp_path: Path) -> Site:
    """Give a workspace of its own with that binding."""
    return copied(daily_template, tmp_path)


@contextlib.contextmanager
def clocked(site: Site, start: str, day: str = "2026-11-23") -> Iterator[Clocked]:
    """Have a gateway run whose clocks begin at a time of a day."""
    accepted = {name: {key} for name, key in PROVIDER_KEYS.items()}
    clocks = Clocks(datetime.fromisoformat(f"{day}T{start}").replace(tzinfo=UTC))
    with (
        Parts(Workspace.find(site.root, {})) as parts,
        Simulator(keys=accepted) as simulator,
        Clocked(parts, simulator, clocks) as gateway,
    ):
        yield gateway


def test_stream_over_midnight_counts_to_the_day_of_its_reservation(site: Site) -> None:
    """A stream that began before midnight and ends after it is settled to the old day; the new one begins empty."""
    with clocked(site, "23:59:58") as gateway:
        gateway.simulator.fault(Fault(delay_s=0.05))
        path, body = asked("chat", "daily", stream=True, limit=100)
        with gateway.client.stream("POST", path, json=body, headers=headers_of("chat")) as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            gateway.clocks.pass_s(60)
            assert gateway.ask(limit=100).status_code == 200
            assert b"[DONE]" in b"".join(pieces)
        until("the stream's outcome", lambda: len(rows_of(site)) == 4)
        first, second, third, last = rows_of(site)
        assert [row["day"] for row in (first, second, third, last)] == [TODAY, TOMORROW, TOMORROW, TODAY]
        assert (last["request"], third["request"]) == (first["request"], second["request"])
        assert gateway.account() == Account(TOMORROW, third["charged"], 0)


def rows_of(site: Site) -> list[dict[str, Any]]:
    """Give the data of the binding's token events, oldest first."""
    return [row["data"] for row in site.rows("type:tokens", "model:daily")]


def test_midnight_opens_a_new_budget_and_tells_its_reset(site: Site) -> None:
    """A spent day refuses with the moment of its end, and from that moment on the binding serves again."""
    with clocked(site, "23:59:00") as gateway:
        gateway.spend()
        answer = gateway.ask(limit=100)
        assert refused("chat", answer).status == 429
        assert answer.headers["x-pai-reset"] == f"{TOMORROW}T00:00:00Z"
        gateway.clocks.pass_s(59)
        assert gateway.ask(limit=100).status_code == 429
        gateway.clocks.pass_s(1)
        answer = gateway.ask(limit=100)
        assert answer.status_code == 200
        assert int(answer.headers["x-pai-tokens-remaining"]) > BUDGET - 100


def test_media_are_counted_also_if_midnight_comes_between_two_looks(site: Site) -> None:
    """On a spent day nobody is asked to count; what then fits into the new one has to be counted all the same."""
    with clocked(site, "23:59:57") as gateway:
        gateway.spend()
        gateway.clocks.step_s = 2
        file = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjc="}
        path, body = asked("responses", "daily", limit=100)
        body["input"] = [{"role": "user", "content": [file]}]
        answer = gateway.client.post(path, json=body, headers=headers_of("responses"))
        assert answer.status_code == 200, answer.text
        assert gateway.account().day == TOMORROW
        seen = [request.path for request in gateway.simulator.requests()]
        assert seen[-2:] == ["/v1/responses/input_tokens", "/v1/responses"]


@pytest.mark.parametrize("jump_s", [301, 3600, 86_400, 40 * 86_400])
def test_clock_that_jumps_forward_opens_no_new_budget(site: Site, jump_s: int) -> None:
    """A jump of more than five minutes is no midnight: the spent day stays spent, until the steady clock says so."""
    with clocked(site, "23:58:00") as gateway:
        gateway.spend()
        gateway.clocks.jump_s(jump_s)
        for _ in range(3):
            assert gateway.ask(limit=100).status_code == 429
            gateway.clocks.pass_s(10)
        assert gateway.account().day == TODAY
        gateway.clocks.pass_s(120)
        assert gateway.ask(limit=100).status_code == 200


@pytest.mark.parametrize("jump_s", [-1, -3600, -86_400, -40 * 86_400])
def test_clock_that_jumps_back_opens_no_old_budget(site: Site, jump_s: int) -> None:
    """A clock set back does not bring yesterday's budget back, nor its day."""
    with clocked(site, "00:00:01") as gateway:
        gateway.spend()
        gateway.clocks.jump_s(jump_s)
        assert gateway.ask(limit=100).status_code == 429
        assert gateway.account().day == TODAY


def test_restart_with_an_earlier_clock_goes_on_with_the_ledgers_day(site: Site) -> None:
    """A machine that starts with yesterday's clock counts to the day that the log knows already."""
    with clocked(site, "12:00:00") as gateway:
        gateway.spend()
        used = gateway.account().used
    with clocked(site, "12:00:00", YESTERDAY) as gateway:
        assert gateway.ask(limit=100).status_code == 429
        assert gateway.account() == Account(TODAY, used, 0)
