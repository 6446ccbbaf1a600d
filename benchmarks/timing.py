"""Running one command: how long it took, and what it cost."""

from __future__ import annotations

import os
import subprocess
import time
from typing import NamedTuple

from benchmarks.site import environment


class Took(NamedTuple):
    """What a command took: on a busy machine the CPU time says more than `wall_s`. CPU with the processes it started.

    `peak_mb` is the most memory that one process of it had. A process that is started begins as a copy of this one, so
    it is at least what this one has.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    output: bytes


def timed(command: list[str]) -> Took:
    """Run a command that has to end with 0 or 1."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"error: {command} gave {process.returncode}\n{output.decode()}")
    return Took(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)
