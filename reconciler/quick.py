"""What was bought with cleverness for milliseconds, and the one switch that turns all of it off.

With the variable PAI_PLAIN set (to anything but "" or "0") Pai does the same by plainer means: whoever looks for a bug
can rule the cleverness out, and `python -m tests plain` runs the tests so. Nothing here changes what is said, judged or
recorded. What buys less than a twentieth of a promised figure (docs/benchmarks.md) has no place here.

| what | who asks | buys | of the figure |
| --- | --- | --- | --- |
| msgspec without typing_extensions | `command` | 7 ms | `pai prove` 100 ms |
| a collector that seldom runs | `command` | 67 ms | `pai get models` of 9,000, 400 ms |
| objects that are not looked at when the process ends | `command` | 9 ms | `pai prove` 100 ms |
| no collector at all | `short_life` | 16 ms | the hook 300 ms |
| small heaps; what was there before is left alone | `long_life` | pauses of 100 ms | the gateway's p99 10 ms |
| a computing thread that gives way after half the usual time | `long_life` | 2.5 ms | the gateway's p99 10 ms |
| the index of what was judged last (`verdict.load_index`) | `PLAIN` | 2,500 ms | the hook 300 ms |
| a verdict that continues the last one (`verdict.Judge`) | `PLAIN` | 10 ms | a push until in force 40 ms |
| unchanged files only glanced at (`review/compare.py`) | `PLAIN` | 900 ms | `pai diff` 500 ms |
| shares of a large tree read by others (`helped_reading.py`) | `PLAIN` | 500 ms | a cold start 3,000 ms |

Measured as CPU time, as median differences of pairs in turns (2 cores, Debian 12, Python 3.11, other work beside them);
the pauses and the shares are reckoned. What bounds memory or the waits of others is no such thing, and stays: bodies
and dear files that other processes read, lines that a thread writes.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import Final

VARIABLE: Final = "PAI_PLAIN"
PLAIN: Final = os.environ.get(VARIABLE, "0") not in ("", "0")
"""Whether all of it is off."""
GARBAGE_OF_COMMANDS: Final = (100_000, 50, 50)
GARBAGE_OF_THE_DAEMON: Final = (25_000, 10, 10)
SWITCH_S: Final = 0.0025
"""How long a thread that computes keeps the event loop waiting for the interpreter: half of Python's own."""


def command() -> None:
    """Prepare a process that lives shortly and keeps what it makes, before anything else is imported."""
    if PLAIN:
        return
    gc.set_threshold(*GARBAGE_OF_COMMANDS)
    atexit.register(gc.freeze)
    if "typing_extensions" not in sys.modules:
        # This is how Python says that a module cannot be imported; msgspec needs nothing of it on this Python.
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]
        try:
            import msgspec  # noqa: F401
        finally:
            del sys.modules["typing_extensions"]


def short_life() -> None:
    """Look for no garbage in a process that reads much once and ends."""
    if not PLAIN:
        gc.disable()


def long_life() -> None:
    """Prepare a process that serves: what is there now stays, and each request leaves cycles of its own.

    The thresholds of a command would stop it for 0.1 s at a time.
    """
    if PLAIN:
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_OF_THE_DAEMON)
    sys.setswitchinterval(SWITCH_S)
