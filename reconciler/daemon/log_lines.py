"""The daemon's own lines on standard error. There is one for every request, so a line has to cost little.

A write gives the interpreter away to another thread, and getting it back takes longer than the line; and whoever reads
the lines may stop reading, so that a write does not return. So a thread writes them and nobody waits for it: lines of
the event loop wait a moment for others, warnings and lines of other threads make it write at once all that there is.
What nobody takes is counted from `LOST_FROM` lines on. At the end of the program everything is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import TextIO

from reconciler.core.diagnostics import printable

TOGETHER_S = 0.05
"""How long a line of the event loop waits for others."""
LINES_MAX = 1000
LOST_FROM = 10_000
LEAVE_S = 0.05
"""How long a line that is to be written at once is waited for."""
END_S = 2.0
"""How long the end of the program waits for the last lines to be taken."""


def configure(stream: TextIO) -> None:
    """Write the daemon's lines to `stream`."""
    handler = _Together(stream)
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # no line for each piece of garbage that a stranger sends


class _Line(logging.Formatter):
    """One line, whatever is told: of remotes, branches and forges others choose the words. A stack keeps its lines.

    It is the line that `logging` writes, without writing the second anew for each.
    """

    _second, _shown = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.stack_info:
            return "\n".join(map(printable, super().format(record).split("\n")))
        return f"{self.formatTime(record)} {record.levelname} {record.name}: {printable(record.getMessage())}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        del datefmt
        second = int(record.created)
        if second != self._second:
            self._shown, self._second = time.strftime(self.default_time_format, time.localtime(second)), second
        return f"{self._shown},{int(record.msecs):03d}"


class _Together(logging.Handler):
    """Keeps lines, and has a thread write them together."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: list[str] = []
        self._lost = 0
        self._kept = threading.Lock()  # not the handler's: logging holds that one while it flushes at the end
        self._waiting = self._stuck = False
        self._wake = threading.Event()
        self._written = threading.Event()
        threading.Thread(target=self._run, name="pai-log", daemon=True).start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep a line. If it is to be written at once, wait for that, but not again while nobody reads."""
        at_once = record.levelno >= logging.WARNING or asyncio._get_running_loop() is None
        self._take(record, at_once=at_once)
        if at_once and not self._stuck:
            self._stuck = not self._written.wait(LEAVE_S)
        return True

    def _take(self, record: logging.LogRecord, *, at_once: bool) -> None:
        try:
            line = self.format(record) + "\n"
            with self._kept:
                if len(self._lines) >= LOST_FROM:
                    self._lost += 1
                    return
                self._lines.append(line)
            if at_once or len(self._lines) >= LINES_MAX:
                self._written.clear()
                self._wake.set()
            elif not self._waiting:
                self._waiting = True
                asyncio.get_running_loop().call_later(TOGETHER_S, self._waited)
        except Exception:  # as logging has it: a line that cannot be written stops nobody
            self.handleError(record)

    def flush(self) -> None:
        """Have everything written, and wait for that, unless nobody reads."""
        self._written.clear()
        self._wake.set()
        self._written.wait(END_S)

    def _waited(self) -> None:
        self._waiting = False
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._kept:
                lines, lost = self._lines, self._lost
                self._lines, self._lost = [], 0
            if lost:
                lines.append(f"{lost:,} lines were lost here, since nobody read them\n")
            with contextlib.suppress(OSError, ValueError):  # nobody reads; there is nowhere to say so
                self._stream.write("".join(lines))
                self._stream.flush()
            self._stuck = False
            if not self._wake.is_set():
                self._written.set()
