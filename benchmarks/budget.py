"""Whether budgets hold: many tasks reserve and resolve at once while processes are killed and clocks jump.

    python -m benchmarks.budget [--quick] [--reservations N] [--folder DIR]

A child process does the work through a real recorder, and is killed (SIGKILL) and started again. What the simulated
provider really charged is written to a file of its own, the bill, before the outcome is recorded, and at most what was
reserved durably; it survives the kills. At the end bill and log are held against the limits. Time is made of attempts,
so that many days pass; a day's limit is far less than the tasks want, so that most of the time is spent at the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.table import Row, at_most, note, show
from reconciler.core import events as ev
from reconciler.core.budget import Ask
from reconciler.core.reservations import NO_DURATIONS, Denied, Usage, forfeit, forfeit_open, reserve, settle, void
from reconciler.core.state import State
from reconciler.gateway.bridge import Bridge
from reconciler.gateway.day import DRIFT, TOLERANCE_S, Days
from reconciler.log.creation import create_log
from reconciler.log.open import log_at
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.log.stamp import format_time, parse_time
from reconciler.recorder import Recorder

ROOT = Path(__file__).resolve().parent.parent
TASKS: Final = 1_000
MODELS: Final = 4
ASK_MAX: Final = 1_000
"""Tokens that one request asks for at most."""

SHARE: Final = 0.6
"""How much of what a day's attempts would use its limit allows."""

DAY_S: Final = 86_400
SECOND: Final = 1_000_000

_CHARGE = struct.Struct("<QHHI")
"""A line of the bill: request, binding, day (ordinal less `_FIRST_DAY`), tokens."""

_FIRST_DAY = datetime.date(2026, 11, 23).toordinal()


class Plan(NamedTuple):
    """How much work there is, and how often it is disturbed."""

    reservations: int
    kills: int
    attempts_a_day: int

    @property
    def limit(self) -> int:
        """The daily limit of each binding."""
        return round(self.attempts_a_day / MODELS * ASK_MAX / 2 * SHARE)


def run(quick: bool, reservations: int | None = None, folder: Path | None = None) -> list[Row]:
    """Do the work in a new folder inside `folder`, and hold the bill against the log."""
    number = reservations or (20_000 if quick else 1_000_000)
    plan = Plan(number, 5 if quick else 25, max(2_000, number // 50))
    work = Path(tempfile.mkdtemp(prefix="pai-budget-", dir=folder))
    try:
        _prepare(work, plan)
        return _figures(work, plan, *_disturbed(work, plan))
    finally:
        shutil.rmtree(work)


def _prepare(folder: Path, plan: Plan) -> None:
    create_log(log_at(folder / "log.db"), origin="benchmark/budget", vkey="none")
    for name in ("bill", "jumps", "early"):
        (folder / name).touch()
    with Recorder(SqliteBackend(folder / "log.db")) as recorder:
        for model in range(MODELS):
            spec: dict[str, object] = {"provider": "openai", "model": "m", "maxTokensPerDay": plan.limit}
            payload = ev.BindingCreated(spec=spec, previous=None, changed=[], file="m", line=1, revision="3" * 40)
            draft = ev.Draft("ann", f"model/m{model}", payload)
            recorder.record(lambda _state, draft=draft: [draft])  # type: ignore[misc]


def _disturbed(folder: Path, plan: Plan) -> tuple[float, int]:
    """Run workers until all is reserved, killing them on the way; give the seconds it took, and the kills."""
    bill = folder / "bill"
    chance = random.Random(7)
    moments = sorted(chance.randrange(plan.reservations) for _ in range(plan.kills))
    started, killed = time.perf_counter(), 0
    for number in range(plan.kills + 1):
        command = [sys.executable, "-m", "benchmarks.budget", "--worker", str(folder), *map(str, (number, *plan))]
        with subprocess.Popen(command, cwd=ROOT) as worker:
            while worker.poll() is None:
                time.sleep(0.005)
                if number < plan.kills and bill.stat().st_size // _CHARGE.size >= moments[number]:
                    worker.kill()
        if worker.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the worker ended with {worker.returncode}")
        killed += worker.returncode != 0
    return time.perf_counter() - started, killed


def _figures(folder: Path, plan: Plan, seconds: float, killed: int) -> list[Row]:
    with Recorder(SqliteBackend(folder / "log.db")) as recorder:  # the last restart
        recorder.record(lambda state: forfeit_open(state, "restart"))
    billed: dict[int, int] = {}
    charged: Counter[tuple[str, str]] = Counter()
    for request, model, day, tokens in _CHARGE.iter_unpack((folder / "bill").read_bytes()):
        billed[request] = tokens
        charged[f"m{model}", datetime.date.fromordinal(_FIRST_DAY + day).isoformat()] += tokens
    log = _read_log(folder / "log.db", billed)
    missed = sum(max(0, tokens - log.counted[account]) for account, tokens in charged.items())
    used = sum(log.counted.values()) / (plan.limit * max(1, len(log.counted)))
    return [
        note(f"budget: reservations by {TASKS:,} tasks", log.reserved, ""),
        note("budget: processes killed", killed, ""),
        note("budget: clock jumps", (folder / "jumps").stat().st_size, ""),
        note("budget: days, of all bindings together", len(log.counted), ""),
        note("budget: part of these days' limits that was used", 100 * used, "%"),
        at_most("budget: tokens charged beyond it", _beyond(charged, plan.limit), 0, "tokens"),
        at_most("budget: tokens counted beyond it", _beyond(log.counted, plan.limit), 0, "tokens"),
        at_most("budget: tokens charged and not counted", missed, 0, "tokens"),
        at_most("budget: requests charged without a reservation", len(billed), 0, ""),
        at_most("budget: reservations on a day not begun yet", (folder / "early").stat().st_size, 0, ""),
        at_most("budget: reservations leaked", log.open, 0, ""),
        at_most("budget: reservations with two outcomes", log.twice, 0, ""),
        note("budget: reserved and resolved durably", log.reserved / seconds, "reservations/s"),
    ]


def _beyond(sums: Counter[tuple[str, str]], limit: int) -> int:
    return sum(max(0, tokens - limit) for tokens in sums.values())


class Log(NamedTuple):
    """What the log says at the end."""

    reserved: int
    open: int
    twice: int
    counted: Counter[tuple[str, str]]


def _read_log(path: Path, billed: dict[int, int]) -> Log:
    """Read the log from its bytes; what was reserved, and so much, is taken out of `billed`."""
    opened: set[str] = set()
    counted: Counter[tuple[str, str]] = Counter()
    reserved = twice = 0
    with contextlib.closing(open_reader(path)) as reader:
        for stored in reader.read():
            event = ev.decode(stored.body)
            payload = event.payload
            if isinstance(payload, ev.TokensReserved):
                reserved += 1
                opened.add(payload.request)
                if billed.get(request := int(payload.request), payload.tokens + 1) <= payload.tokens:
                    del billed[request]
            elif isinstance(payload, ev.Resolved):
                twice += payload.request not in opened
                opened.discard(payload.request)
                account = (event.subject.removeprefix("model/"), payload.day)
                if isinstance(payload, ev.TokensSettled):
                    counted[account] += payload.charged
                elif isinstance(payload, ev.TokensForfeited):
                    counted[account] += payload.tokens
    return Log(reserved, len(opened), twice, counted)


# The worker.


class Worker:
    """One life of the process that reserves and resolves."""

    def __init__(self, folder: Path, number: int, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(number)
        self._number = number
        self._bill = os.open(folder / "bill", os.O_WRONLY | os.O_APPEND)
        self._jumps, self._early = (os.open(folder / name, os.O_WRONLY | os.O_APPEND) for name in ("jumps", "early"))
        self._left = plan.reservations - os.fstat(self._bill).st_size // _CHARGE.size
        self._attempts = 0
        self._offset_s = 0
        self._recorder = Recorder(SqliteBackend(folder / "log.db", wait_s=5))
        self._day = day = self._recorder.read(lambda state: state.ledger.day) or "2026-11-24"
        start = self._chance.choice((-DAY_S, -60, 0, DAY_S - 60, DAY_S))  # a restart may find any clock
        self._start = parse_time(f"{day}T00:00:00Z") + start * SECOND
        self._days = Days(self._wall, self._steady)

    def work(self) -> None:
        """Forfeit what the last life left open, then reserve until there is enough."""
        self._recorder.record(lambda state: forfeit_open(state, "restart"))
        asyncio.run(self._everybody())
        self._recorder.close()

    def _steady(self) -> float:
        return self._attempts * DAY_S / self._plan.attempts_a_day

    def _wall(self) -> int:
        return self._start + round((self._steady() + self._offset_s) * SECOND)

    async def _everybody(self) -> None:
        self._bridge = Bridge()
        await asyncio.gather(*(self._caller(caller) for caller in range(TASKS)))

    async def _caller(self, caller: int) -> None:
        for number in self._numbers():
            request, model = str((self._number * TASKS + caller) * 10**9 + number), self._chance.randrange(MODELS)
            held = await self._reserve(request, model)
            if held is None:
                await asyncio.sleep(0)
                continue
            self._left -= 1
            self._check_day(held.day)
            charged = self._charge(model, held)
            for _ in range(self._chance.randrange(3)):
                await asyncio.sleep(0)
            await self._resolve(request, charged)

    def _numbers(self) -> Iterator[int]:
        number = 0
        while self._left > 0:
            self._attempts += 1
            if self._chance.random() < 10 / self._plan.attempts_a_day:
                self._offset_s = self._chance.choice((0, 0, 299, 300, 301, 3600, DAY_S, 3 * DAY_S, -301, -DAY_S))
                os.write(self._jumps, b".")
            yield (number := number + 1)

    async def _reserve(self, request: str, model: int) -> ev.TokensReserved | None:
        asked = Ask(
            input=self._chance.randint(1, ASK_MAX // 2), counted=0, output=self._chance.randint(1, ASK_MAX // 2)
        )
        lower, day = self._chance.random() < 0.5, self._days.today()

        def decide(state: State) -> list[ev.Draft]:
            made = reserve(
                state,
                f"m{model}",
                asked,
                lower=lower,
                day=day,
                request=request,
                agent="agent",
                key="key-1",
                surface="openai",
            )
            return [made.draft]

        try:
            ticket = self._recorder.submit(decide)
        except Denied:
            return None
        (event,) = (await self._bridge.outcome(ticket)).events
        assert isinstance(event.payload, ev.TokensReserved)
        return event.payload

    def _check_day(self, day: str) -> None:
        """Note a day that has begun neither in an earlier life nor by the clock that nobody sets."""
        latest = self._start + round(((1 + 1 / DRIFT) * self._steady() + TOLERANCE_S) * SECOND)
        if day > max(self._day, format_time(latest)[:10]):
            os.write(self._early, b".")

    def _charge(self, model: int, held: ev.TokensReserved) -> int | None:
        """Let the provider charge what it likes of what is held; None if nobody gets to know how much."""
        luck = self._chance.random()
        charged = held.tokens if luck < 0.3 else 0 if luck < 0.4 else self._chance.randint(0, held.tokens)
        day = datetime.date.fromisoformat(held.day).toordinal() - _FIRST_DAY
        os.write(self._bill, _CHARGE.pack(int(held.request), model, day, charged))
        return charged if self._chance.random() < 0.9 else None

    async def _resolve(self, request: str, charged: int | None) -> None:
        def decide(state: State) -> list[ev.Draft]:
            if charged is None:
                return forfeit(state, request, status=0, durations=NO_DURATIONS, reason="lost")
            if charged == 0:
                return void(state, request, status=429, durations=NO_DURATIONS, reason="refused")
            usage = Usage(charged, 0, 0, 0, 0, charged)
            return settle(state, request, usage, status=200, durations=NO_DURATIONS)

        await self._bridge.outcome(self._recorder.submit(decide))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a figure was missed. With `--worker`, be the process that is killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the work")
    parser.add_argument("--reservations", type=int, help="how many (default 1,000,000)")
    parser.add_argument("--folder", type=Path, help="where the log goes (default: the temporary folder)")
    parser.add_argument("--worker", nargs=5, metavar="X", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker:
        folder, number, *plan = arguments.worker
        Worker(Path(folder), int(number), Plan(*map(int, plan))).work()
        return 0
    rows = run(arguments.quick, arguments.reservations, arguments.folder)
    print(show(rows))
    return 0 if all(row.ok is not False for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
