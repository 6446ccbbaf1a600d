"""A progress bar for what takes over a second: on stderr, if that is a terminal, and gone when the work is done.

A thread draws it, so that the work itself only counts. Without a total the bar moves to and fro and tells the seconds.
Nothing else may be printed while it stands.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

AFTER_S = 1.0
"""What is done sooner shows no bar."""
_REDRAW_S = 0.1
_CELLS = 24
_MOVING_CELLS = 5


class Progress:
    """The bar of one piece of work; use it as a context manager and call `add` for what is done."""

    def __init__(self, label: str, total: int = 0, *, stream: TextIO | None = None, after_s: float = AFTER_S) -> None:
        """`total` counts what there is to do, 0 if nobody knows; `stream` is stderr unless given."""
        self._label = label
        self._total = total
        self._done = 0
        self._stream = sys.stderr if stream is None else stream
        self._after_s = after_s
        self._began = time.monotonic()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="pai-progress", daemon=True)
        self._drawn = 0

    def add(self, count: int) -> None:
        """Count what is done."""
        self._done += count

    def line(self) -> str:
        """Give the bar as it stands now."""
        if self._total:
            full = min(_CELLS, self._done * _CELLS // self._total)
            return f"{self._label} [{'=' * full:<{_CELLS}}] {self._done:,} of {self._total:,}"
        seconds = time.monotonic() - self._began
        way = _CELLS - _MOVING_CELLS
        at = abs((int(seconds / _REDRAW_S) + way) % (2 * way) - way)
        return f"{self._label} [{' ' * at}{'=' * _MOVING_CELLS}{' ' * (way - at)}] {seconds:.0f} s"

    def __enter__(self) -> Self:
        if self._stream.isatty() and os.environ.get("TERM") != "dumb":
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        if self._thread.is_alive():
            self._thread.join()

    def _draw(self) -> None:
        wait_s = self._after_s
        try:
            while not self._finished.wait(wait_s):
                line = self.line()
                self._stream.write(f"\r{line:<{self._drawn}}")
                self._stream.flush()
                self._drawn, wait_s = len(line), _REDRAW_S
            if self._drawn:
                self._stream.write(f"\r{'':<{self._drawn}}\r")
                self._stream.flush()
        except OSError:
            pass  # the terminal has gone; the work goes on
