"""What an attacker can do to others: the daemon's memory and another agent's pace under each attack of a list.

    python -m benchmarks attacks            # all of them
    python -m benchmarks.attacks NAME ...   # some

Each attack comes from a process of its own, at a real `pai serve` of its own, for a bounded time, on loopback. Beside
it an agent sends a small chat request every 20 ms; the same without the attack is measured before it. The figures:
memory grows by 100 MB at most, with children and files of memory, and the probe's slowest of a hundred takes 50 ms at
most, from when it was due. Attacker and attacked share this machine's cores: where it is busy, read the ratio to the
probe alone.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

from benchmarks import attacks_bodies, attacks_doors, attacks_git, attacks_provider
from benchmarks.attacks_site import (
    CONTROL_S,
    NICE,
    SECONDS,
    SECONDS_QUICK,
    Base,
    Place,
    Probe,
    Sampler,
    base,
    serving,
)
from benchmarks.attacks_told import Told
from benchmarks.table import Row, show

GROWTH_MB, PROBE_P99_MS = 100.0, 50.0
LATE_S = 30.0
"""How long after its time an attack is waited for before it is ended."""

_CONTEXT = multiprocessing.get_context("spawn")


class Attack(NamedTuple):
    """What is done, in a process of its own; `remote` says that the daemon follows the malicious remote."""

    work: Callable[[Place], Told]
    remote: bool = False


ATTACKS: Mapping[str, Attack] = {
    **{name: Attack(work) for name, work in attacks_doors.ATTACKS.items()},
    **{name: Attack(work) for name, work in attacks_bodies.ATTACKS.items()},
    **{name: Attack(work) for name, work in attacks_provider.ATTACKS.items()},
    **{name: Attack(work) for name, work in attacks_git.ATTACKS.items()},
    "remote: packed info/refs": Attack(attacks_git.wait_for_fetches, remote=True),
}


def run(quick: bool, names: Sequence[str] = ()) -> list[Row]:
    """Run every attack, or those whose names begin with one of `names`; half as long each if `quick`."""
    chosen = {name: attack for name, attack in ATTACKS.items() if not names or name.startswith(tuple(names))}
    folder = Path(tempfile.mkdtemp(prefix="pai-attacks-"))
    rows: list[Row] = []
    try:
        with attacks_provider.running() as evil, attacks_git.remote() as url, base(folder, evil) as common:
            for name, attack in chosen.items():
                print(f"  {name}", file=sys.stderr, flush=True)
                further = {"PAI_SOURCE_REPO": url, "PAI_SOURCE_INTERVAL": "1s"} if attack.remote else {}
                found = _measure(common, name, attack, SECONDS_QUICK if quick else SECONDS, further)
                print("\n".join("    " + " | ".join(row[:2] + row[-1:]) for row in found), file=sys.stderr, flush=True)
                rows += found
    finally:
        shutil.rmtree(folder)
    return rows


def _measure(common: Base, name: str, attack: Attack, seconds: float, further: dict[str, str]) -> list[Row]:
    with serving(common, seconds, further) as served:
        alone = Probe(served)
        alone.begin()
        time.sleep(CONTROL_S)
        control = alone.end()
        beside = Probe(served)
        beside.begin()
        memory = Sampler(served.pid)
        told = _attack(attack, served.place)
        pace = beside.end()
        used = memory.end()
    grown = used.growth
    sizes = (
        f"daemon {used.before:,.0f} MB, peak {used.peak:,.0f}, then {used.after:,.0f}; children {used.children:,.0f},"
        f" files of memory {used.files:,.0f}"
    )
    times = (
        f"{pace.p99 / control.p99:.2f} x alone; p50 {pace.p50:.3g}, most {pace.most:,.0f} ms;"
        f" alone p50 {control.p50:.3g}, p99 {control.p99:.3g} ms"
    )
    failed = f"; {pace.failed} of the probe's failed" if pace.failed else ""
    held = pace.p99 <= PROBE_P99_MS and not pace.failed
    return [
        Row(f"{name}: memory", f"{grown:,.0f} MB", "<= 100 MB", grown / GROWTH_MB, grown <= GROWTH_MB, sizes),
        Row(f"{name}: probe p99", f"{pace.p99:,.3g} ms", "<= 50 ms", pace.p99 / PROBE_P99_MS, held, times + failed),
        Row(f"{name}: got through", f"{told.wrong}", "<= 0", None, not told.wrong, told.text),
    ]


def _attack(attack: Attack, place: Place) -> Told:
    """Carry an attack out in a process of its own, which is ended if it does not end by itself."""
    answers: Queue[Told] = _CONTEXT.Queue()
    process = _CONTEXT.Process(target=_carry_out, args=(attack.work, place, answers))
    process.start()
    process.join(place.seconds + LATE_S)
    if process.is_alive():
        process.kill()
        process.join()
        return Told("it had to be ended")
    return answers.get(timeout=1) if process.exitcode == 0 else Told("the attack itself failed")


def _carry_out(work: Callable[[Place], Told], place: Place, answers: Queue[Told]) -> None:
    import os

    os.nice(NICE)
    answers.put(work(place))


def main() -> int:
    """Run the attacks whose names begin so."""
    print(show(run(False, sys.argv[1:])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
