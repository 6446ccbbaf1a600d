"""Every proof that nothing is lost and no budget passed, in one command, at a hundredth of its size or the whole.

    python -m tests.faults [--full] [--seed N] [--folder DIR] [NAME ...]

What a release promises (`PROOFS`) is run in slices, each a run of the tests that prove it with a seed of its own, which
is printed. With --folder, slices that passed are noted there, and the same command goes on after them. Prints a
table for docs/benchmarks.md; ends with 1 at the first slice that fails, and says how to run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HUNDREDTH = 100
LOG = "tests/integration/test_log_faults.py"


class Proof(NamedTuple):
    """`whole` of something, `slice` at a time; {size}, {first} and {last} of a slice stand in settings and command."""

    name: str
    what: str
    whole: int
    slice: int
    settings: Mapping[str, str]
    command: tuple[str, ...]


def _tests(*names: str) -> tuple[str, ...]:
    return ("pytest", "-q", "-n0", "-p", "no:cacheprovider", *names)


PROOFS = (
    Proof(
        "kills",
        "kills of the log's writer: events lost, gaps",
        8_000,
        1_000,
        {"PAI_KILLS": "{size}"},
        _tests(f"{LOG}::test_no_acknowledged_event_is_lost_by_kill_9"),
    ),
    Proof(
        "kills-of-passes",
        "kills of the reconciler and the daemon: halves, events lost",
        1_500,
        500,
        {"PAI_KILLS": "{size}"},
        _tests("tests/integration/test_kill.py"),
    ),
    Proof(
        "kills-under-requests",
        "kills of the daemon under requests: outcomes missing or twice, limits passed",
        500,
        50,
        {"PAI_GATEWAY_KILLS": "{size}"},
        _tests("tests/integration/test_gateway_crashes.py::test_kills_at_any_moment_leave_balanced_books"),
    ),
    Proof(
        "calls",
        "system calls that kill, fail or write short: events lost",
        2_000,
        200,
        {"PAI_POINTS": "{first}:{last}:4"},
        _tests(f"{LOG}::test_no_acknowledged_event_is_lost_at_a_system_call"),
    ),
    Proof(
        "images",
        "images of a disk whose power was cut: corrupt, events lost",
        100_000,
        10_000,
        {"PAI_IMAGES": "{size}"},
        _tests("tests/integration/test_crash_images.py"),
    ),
    Proof(
        "budgets",
        "reservations by 1,000 tasks under kills and clock jumps: tokens over",
        1_000_000,
        250_000,
        {},
        ("benchmarks.budget", "--reservations", "{size}"),
    ),
    Proof(
        "cancels",
        "streams that clients left: reservations leaked",
        100_000,
        5_000,
        {"PAI_CANCELS": "{size}"},
        _tests("tests/integration/test_gateway_cancels.py"),
    ),
    Proof(
        "tampering",
        "mutations of a log, and as many of an export: not found",
        10_000,
        1_000,
        {"PAI_MUTATIONS": "{size}"},
        _tests("tests/integration/test_tampering_evidence.py"),
    ),
)


def main(arguments: Sequence[str]) -> int:
    """Run the proofs that the arguments name; give 0 if each holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the sizes of a release, not a hundredth")
    parser.add_argument("--seed", type=int, default=1, help="of the first slice; each further one has the next")
    parser.add_argument("--folder", type=Path, help="where to note what passed, and go on from there")
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(proof.name for proof in PROOFS))
    options = parser.parse_args(arguments)
    wanted = [proof for proof in PROOFS if not options.names or proof.name in options.names]
    if unknown := set(options.names) - {proof.name for proof in PROOFS}:
        parser.error(f"there is no proof {', '.join(sorted(unknown))}")
    notes = Notes(options.folder)
    for proof in wanted:
        whole = proof.whole if options.full else max(1, proof.whole // HUNDREDTH)
        if not _run(proof, whole, options.seed, notes):
            return 1
    sys.stdout.write(_table(wanted, notes, full=options.full))
    return 0


class Notes:
    """Slices that passed, with the seconds that each took; kept in a folder if there is one."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / "passed.json"
        self.passed: dict[str, float] = {}
        if self._file is not None and self._file.exists():
            self.passed = json.loads(self._file.read_text("utf-8"))

    def note(self, name: str, seconds: float) -> None:
        """Note a slice."""
        self.passed[name] = seconds
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(self.passed, indent=1), "utf-8")


def _run(proof: Proof, whole: int, seed: int, notes: Notes) -> bool:
    for number, first in enumerate(range(0, whole, proof.slice)):
        last = min(whole, first + proof.slice)
        name = f"{proof.name} {first}-{last} of {whole}, seed {seed + number}"
        if name in notes.passed:
            continue
        say = {"size": last - first, "first": first + 1, "last": last + 1}
        given = {key: value.format(**say) for key, value in proof.settings.items()}
        given["PAI_SEED"] = str(seed + number)
        command = [sys.executable, "-m", *(part.format(**say) for part in proof.command)]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **given}, check=False, capture_output=True, text=True
        )
        took = time.monotonic() - began
        sys.stdout.write(f"{name}: {'passed' if done.returncode == 0 else 'FAILED'} in {took:.0f} s\n")
        sys.stdout.flush()
        if done.returncode:
            shown = " ".join([*(f"{key}={value}" for key, value in given.items()), shlex.join(command)])
            sys.stdout.write(f"{done.stdout[-8000:]}{done.stderr[-4000:]}\nalone: {shown}\n")
            return False
        notes.note(name, took)
    return True


def _table(proofs: Sequence[Proof], notes: Notes, *, full: bool) -> str:
    lines = ["| what | how many | seconds |", "| --- | --- | --- |"]
    for proof in proofs:
        whole = proof.whole if full else max(1, proof.whole // HUNDREDTH)
        took = sum(
            s for name, s in notes.passed.items() if name.startswith(f"{proof.name} ") and f" of {whole}," in name
        )
        lines.append(f"| {proof.what}: 0 | {whole:,} | {took:,.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
