"""What takes all of a large log: `pai verify` beside hashing the same bytes, a replay beside a snapshot, an export.

python -m benchmarks.whole WORKSPACE [--export]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.site import pai
from benchmarks.table import Row, at_most, note, show
from benchmarks.timing import timed
from reconciler.core.state import State
from reconciler.log.replay import fold, restore
from reconciler.log.sqlite.store import open_reader
from reconciler.tlog.merkle import Frontier

MEMORY_MB = 300
"""What no query, check or export may pass."""
_ITSELF = [sys.executable, "-m", "benchmarks.whole"]


def run(workspace: Path, export: bool = False) -> list[Row]:
    """Measure, each in a process of its own."""
    hashed = timed([*_ITSELF, str(workspace), "--hash"])
    verified = timed([pai(), "-w", str(workspace), "verify"])
    if b"ok: " not in verified.output:  # notes may stand before it
        raise SystemExit(f"error: the log does not verify\n{verified.output.decode()}")
    replayed = timed([*_ITSELF, str(workspace), "--replay"])
    times = msgspec.json.decode(replayed.output, type=dict[str, float])
    rows = [
        note("hashing the leaves of all stored bytes", hashed.wall_s, "s"),
        note("hashing the leaves of all stored bytes, CPU", hashed.cpu_s, "s"),
        at_most("`pai verify` of everything", verified.wall_s, 60, "s"),
        note("`pai verify` of everything, CPU of its processes", verified.cpu_s, "s"),
        at_most("`pai verify`, against 2 x hashing", verified.wall_s, 2 * hashed.wall_s, "s", hashed.wall_s, "hashing"),
        at_most("`pai verify`, most memory of one of its processes", verified.peak_mb, MEMORY_MB, "MB"),
        at_most("state from a snapshot", times["snapshot"], 1, "s"),
        at_most("full replay, the same state", times["replay"], 120, "s"),
        at_most("full replay, most memory", replayed.peak_mb, MEMORY_MB, "MB"),
    ]
    return rows + _exported(workspace) if export else rows


def _exported(workspace: Path) -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="pai-export-", dir=workspace.parent))
    try:
        took = timed([pai(), "-w", str(workspace), "export", str(folder / "export")])
    finally:
        shutil.rmtree(folder)
    return [
        note("`pai export`", took.wall_s, "s"),
        at_most("`pai export`, most memory", took.peak_mb, MEMORY_MB, "MB"),
    ]


def _hash(workspace: Path) -> None:
    sha256 = hashlib.sha256
    with contextlib.closing(open_reader(workspace / "data" / "log.db")) as log:
        for bodies in log.bodies():
            for body in bodies:
                sha256(b"\x00" + body).digest()


def _replay(workspace: Path) -> None:
    """Print how long a start with a snapshot and a full replay take, once they give the same state."""
    with contextlib.closing(open_reader(workspace / "data" / "log.db")) as log:
        started = time.perf_counter()
        restored = restore(log)
        between = time.perf_counter()
        state, frontier = State(), Frontier()
        fold(state, frontier, log.chunks())
        ended = time.perf_counter()
    if not restored.snapshot or restored.state.digest() != state.digest():
        raise SystemExit("error: the snapshot is not what a replay gives")
    print(msgspec.json.encode({"snapshot": between - started, "replay": ended - between}).decode())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole", description=__doc__)
    parser.add_argument("workspace", type=Path, help="a workspace that benchmarks.stories made")
    parser.add_argument("--export", action="store_true", help="export the log too, beside the workspace")
    parser.add_argument("--hash", action="store_true", help="only hash")
    parser.add_argument("--replay", action="store_true", help="only replay")
    arguments = parser.parse_args(argv)
    if arguments.hash:
        _hash(arguments.workspace)
    elif arguments.replay:
        _replay(arguments.workspace)
    else:
        print(show(run(arguments.workspace, arguments.export)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
