"""What a request costs on its way through the gateway, beside the bare upstream and other gateways.

    python -m benchmarks gateway

A real `pai serve` in front of simulated providers in a process of their own, under a load generator in another one.
Every request is authenticated, reserved durably, metered and settled durably. Peers are in front of the same upstream
and get the same requests, in turns with Pai, so that whatever else the machine does meets all of them. All share the
machine's cores: read the ratios, not the rates.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import peers
from benchmarks.doors import BUDGET, Door
from benchmarks.load import HOST, Outcome, holding, put
from benchmarks.peers import LITELLM, PORTKEY
from benchmarks.served import CHUNKS, PAI, UPSTREAM, charged, serving, simulating
from benchmarks.site import percentile
from benchmarks.table import Row, at_least, at_most, note

CHAT_AT_ONCE, STREAMS_AT_ONCE, OPEN_STREAMS, BUDGET_AT_ONCE = 64, 32, 1_000, 64
SYNCS = 300
PACE_MS, SLOW_MS = 20, 1_000
"""The pause between the chunks of a paced stream, and of one that is only to be open."""


class _Amounts(NamedTuple):
    """How many requests of each kind one round sends; `slow` ones where a gateway takes long."""

    rounds: int
    chat: int
    chat_slow: int
    single: int
    single_slow: int
    streams: int
    streams_slow: int
    growth: int


_FULL = _Amounts(5, 4_000, 400, 400, 100, 640, 96, 1_000_000)
_QUICK = _Amounts(2, 2_000, 128, 300, 50, 320, 64, 20_000)


class _Taken(NamedTuple):
    """What answers took: CPU seconds of the gateway's processes for 1,000 of them, answers a second, times in ms."""

    cpu_s: float
    rate: float
    whole_p50: float
    whole_p99: float
    first_p50: float


def run(quick: bool) -> list[Row]:
    """Measure five rounds of each, or two small ones."""
    amounts = _QUICK if quick else _FULL
    others = note("load average before the run, of whatever else ran", os.getloadavg()[0], "tasks")
    _allow_files()
    folder = Path(tempfile.mkdtemp(prefix="pai-benchmark-"))
    try:
        with (
            simulating() as upstream,
            simulating("--delay-ms", str(SLOW_MS)) as slow,
            simulating("--delay-ms", str(PACE_MS), provider="gemini") as paced,
            serving(folder, upstream, slow, paced) as own,
        ):
            idle = own.memory_mb()
            bare = upstream.door
            with peers.started(folder, f"http://{HOST}:{bare.port}") as peer_doors:
                doors = {PAI: own, **peer_doors}
                rows = _chat(doors, amounts) + _single(folder, doors, bare, amounts) + _streams(doors, bare, amounts)
                rows += _paced(own, paced.door, amounts) + _budget(own, peer_doors.get(LITELLM), bare)
                memory = [note(f"memory, {name}", door.memory_mb(), "MB") for name, door in peer_doors.items()]
            rows.append(at_most("memory idle", idle, 90, "MB"))
            return [*rows, *_open_streams(own), *_growth(own, amounts.growth), *memory, others]
    finally:
        shutil.rmtree(folder)


def _in_turns(
    loads: dict[str, tuple[Door, str, int, int]], rounds: int, stream: bool, spread_s: float = 0.0
) -> dict[str, _Taken]:
    """Put each load (door, model, connections, count) once in every round, after one small one to warm up.

    A peer that does not answer is left out.
    """
    found: dict[str, list[tuple[Outcome, float]]] = {name: [] for name in loads}
    for number in range(rounds + 1):
        for name in list(found):
            door, model, connections, count = loads[name]
            sent = max(connections, count // 4) if number == 0 else count
            before = door.cpu_s()
            outcome = put(door.load(model, connections, sent, stream=stream, spread_s=spread_s))
            if outcome.failed:
                problem = f"{name} did not answer {outcome.failed} of {sent}: {outcome.failure}"
                if name in (PAI, UPSTREAM):
                    raise SystemExit(f"error: {problem}")
                print(problem, file=sys.stderr, flush=True)
                del found[name]
            elif number:
                found[name].append((outcome, door.cpu_s() - before))
    return {name: _taken(rounds_of) for name, rounds_of in found.items()}


def _taken(rounds: list[tuple[Outcome, float]]) -> _Taken:
    """Put the rounds together: sums of what adds up, the middle round of what does not."""
    done = sum(outcome.done for outcome, _ in rounds)
    seconds = sum(outcome.seconds for outcome, _ in rounds)

    def middle(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    return _Taken(
        1000 * sum(cpu_s for _, cpu_s in rounds) / done,
        done / seconds,
        middle([outcome.whole.p50 for outcome, _ in rounds]),
        middle([outcome.whole.p99 for outcome, _ in rounds]),
        middle([outcome.first.p50 for outcome, _ in rounds]),
    )


def _chat(doors: dict[str, Door], amounts: _Amounts) -> list[Row]:
    """Many small chat requests at once."""
    loads = {
        name: (door, "fast", CHAT_AT_ONCE, amounts.chat_slow if name == LITELLM else amounts.chat)
        for name, door in doors.items()
    }
    taken = _in_turns(loads, amounts.rounds, stream=False)
    what, own = f"chat, {CHAT_AT_ONCE} at once", taken[PAI]
    rows = [at_most(f"{what}: CPU for 1,000", own.cpu_s, 0.6, "s", *_beside(taken, LITELLM))]
    for name, part in ((LITELLM, 20), (PORTKEY, 2)):
        if name in taken:
            other = taken[name].cpu_s
            rows.append(at_most(f"{what}: CPU against 1/{part} of {name}", own.cpu_s, other / part, "s", other, name))
    rows.append(note(f"{what}: rate", own.rate, "requests/s"))
    return rows + _told(what, taken, "requests/s")


def _single(folder: Path, doors: dict[str, Door], upstream: Door, amounts: _Amounts) -> list[Row]:
    """One request after the other, and the same without a gateway."""
    loads = {
        name: (door, "fast", 1, amounts.single_slow if name == LITELLM else amounts.single)
        for name, door in {UPSTREAM: upstream, **doors}.items()
    }
    taken = _in_turns(loads, amounts.rounds, stream=False)
    bare = taken.pop(UPSTREAM)
    what = "chat, one at once: added"
    rows = [
        at_most(f"{what}, p50", taken[PAI].whole_p50 - bare.whole_p50, 1.5, "ms", bare.whole_p50, UPSTREAM),
        at_most(f"{what}, p99", taken[PAI].whole_p99 - bare.whole_p99, 10, "ms", bare.whole_p99, UPSTREAM),
        note("two bare fdatasync of 4 kB each, p50", 2 * _sync_ms(folder), "ms"),
    ]
    for name, other in taken.items():
        if name != PAI:
            rows.append(note(f"{what}, p50, {name}", other.whole_p50 - bare.whole_p50, "ms"))
            rows.append(note(f"{what}, p99, {name}", other.whole_p99 - bare.whole_p99, "ms"))
    return rows


def _streams(doors: dict[str, Door], upstream: Door, amounts: _Amounts) -> list[Row]:
    """Streams as fast as they go."""
    loads = {
        name: (door, "fast", STREAMS_AT_ONCE, amounts.streams_slow if name == LITELLM else amounts.streams)
        for name, door in {UPSTREAM: upstream, **doors}.items()
    }
    taken = _in_turns(loads, amounts.rounds, stream=True)
    bare = taken.pop(UPSTREAM)
    what, own = f"streams of {CHUNKS} chunks, {STREAMS_AT_ONCE} at once", taken[PAI]
    if LITELLM in taken:
        other = taken[LITELLM].rate
        rows = [at_least(f"{what}: rate", own.rate, 20 * other, "streams/s", other, LITELLM)]
    else:
        rows = [note(f"{what}: rate", own.rate, "streams/s")]
    rows.append(note(f"{what}: CPU for 1,000", own.cpu_s, "s"))
    rows += _told(what, taken, "streams/s")
    return rows + [
        note(f"{what}: first chunk above direct, p50, {name}", other.first_p50 - bare.first_p50, "ms")
        for name, other in taken.items()
    ]


def _paced(own: Door, paced: Door, amounts: _Amounts) -> list[Row]:
    """Streams that come as slowly as from a provider and begin one after the other: what is measured is no queue."""
    loads = {
        UPSTREAM: (paced, "gemini-2.0-flash", STREAMS_AT_ONCE, amounts.streams),
        PAI: (own, "paced", STREAMS_AT_ONCE, amounts.streams),
    }
    taken = _in_turns(loads, amounts.rounds, stream=True, spread_s=CHUNKS * PACE_MS / 1000)
    bare = taken[UPSTREAM].first_p50
    name = f"streams, a chunk every {PACE_MS} ms, {STREAMS_AT_ONCE} at once: first chunk above direct, p50"
    return [at_most(name, taken[PAI].first_p50 - bare, 10, "ms", bare, UPSTREAM)]


def _budget(own: Door, litellm: Door | None, upstream: Door) -> list[Row]:
    """Tokens that the upstream charged for requests on a budget, all sent at once."""
    passed: dict[str, float] = {}
    for door in (own, litellm):
        if door is not None:
            put(door.load("tight", BUDGET_AT_ONCE, BUDGET_AT_ONCE))
            passed[door.name] = charged(upstream, f"gpt-4o-tight-{door.name.lower()}")
    name = f"tokens used on a budget of {BUDGET}, {BUDGET_AT_ONCE} at once"
    other = (passed[LITELLM], LITELLM) if passed.get(LITELLM) else (None, "")
    return [at_most(name, passed[PAI], BUDGET, "tokens", *other)]


def _open_streams(own: Door) -> list[Row]:
    """Memory while very many streams are open, each between two chunks."""
    with holding(own.load("slow", OPEN_STREAMS, OPEN_STREAMS, stream=True, hold=True)) as outcome:
        held = own.memory_mb()
        result = outcome()
    if result.failed:
        raise SystemExit(f"error: {result.failed} of {OPEN_STREAMS} open streams failed: {result.failure}")
    return [at_most(f"memory with {OPEN_STREAMS:,} open streams", held, 250, "MB")]


def _growth(own: Door, count: int) -> list[Row]:
    """Memory after half of many requests, when the caches are full, and after all of them."""
    put(own.load("fast", CHAT_AT_ONCE, count // 2))
    before = own.memory_mb()
    put(own.load("fast", CHAT_AT_ONCE, count // 2))
    return [at_most(f"memory growth over the latter half of {count:,} requests", own.memory_mb() - before, 5, "MB")]


def _beside(taken: dict[str, _Taken], name: str) -> tuple[float | None, str]:
    return (taken[name].cpu_s, name) if name in taken else (None, "")


def _told(what: str, taken: dict[str, _Taken], unit: str) -> list[Row]:
    rows: list[Row] = []
    for name, other in taken.items():
        if name != PAI:
            rows.append(note(f"{what}: CPU for 1,000, {name}", other.cpu_s, "s"))
            rows.append(note(f"{what}: rate, {name}", other.rate, unit))
    return rows


def _sync_ms(folder: Path) -> float:
    """Give the middle time that making 4 kB durable takes on this disk."""
    times = []
    with (folder / "bare").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(1000 * (time.perf_counter() - started))
    return percentile(times, 50)


def _allow_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
