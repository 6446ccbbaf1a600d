"""The daemon's own lines on standard error. There is one for every request, so a line has to cost little.

A write gives the interpreter away to another thread, and getting it back takes longer than the line. So lines of the
event loop wait a moment for others and leave together; warnings, and lines of other threads, leave at once with all
that waited before them. At the end of the program everything leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TextIO

TOGETHER_S = 0.05
"""How long a line of the event loop waits for others."""
LINES_MAX = 1000


def configure(stream: TextIO) -> None:
    """Write the daemon's lines to `stream`."""
    handler = _Together(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # What no line shows is not looked up for each (see "Optimization" in logging's documentation).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # no line for each piece of garbage that a stranger sends


class _Together(logging.StreamHandler[TextIO]):
    """Writes lines together where nobody waits for them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._waiting = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep or write a line; logging holds the handler's lock."""
        try:
            self._lines.append(self.format(record) + self.terminator)
            loop = asyncio._get_running_loop()
            if loop is None or record.levelno >= logging.WARNING or len(self._lines) >= LINES_MAX:
                self.flush()
            elif not self._waiting:
                self._waiting = True
                loop.call_later(TOGETHER_S, self._waited)
        except Exception:  # as logging has it: a line that cannot be written stops nobody
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits."""
        self.acquire()
        try:
            if self._lines:
                lines, self._lines = self._lines, []
                self.stream.write("".join(lines))
            super().flush()
        finally:
            self.release()

    def _waited(self) -> None:
        self._waiting = False
        with contextlib.suppress(OSError, ValueError):  # nobody reads; there is nowhere to say so
            self.flush()
