"""Following a log that somebody else writes: what has come since the last look, by polling.

The reader is opened anew when the file was replaced or could not be read. A log that is missing, being recovered or
unreadable for a moment is waited for; one that comes back without what was read already is an error, never silently
another log. Writes nothing, and knows no output.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from reconciler.audit.query import matches, read_row
from reconciler.audit.terms import Query, Row
from reconciler.core.errors import LogDamaged, PaiError
from reconciler.log.sqlite import SqliteReader, open_reader
from reconciler.log.store import Stored

PATIENCE_S: Final = 60.0
"""How long a log that cannot be read is waited for."""
LOOK_EVENTS_MAX: Final = 1000
"""Events that are read at one look, so that whoever follows gets what there is while more is read."""
LOOK_BYTES_MAX: Final = 1024 * 1024
"""Of those events; the last may pass it."""


class Tail:
    """The end of a log. `position` is the next event that `look` reads, `behind` whether the last look left any."""

    def __init__(self, path: Path, query: Query, position: int, leaf: bytes = b"") -> None:
        """Begin before `position`; `leaf` is the leaf hash of the event before it, b"" if that is not known."""
        self.position = position
        self.behind = False
        self._path = path
        self._query = query
        self._leaf = leaf
        self._reader: SqliteReader | None = None
        self._trouble_since: float | None = None
        self._looking = threading.Lock()
        self._left = False

    @property
    def waiting(self) -> bool:
        """Whether the last look found a log that cannot be read now."""
        return self._trouble_since is not None

    def look(self) -> list[Row]:
        """Give the events that match among the next ones, oldest first; none if there is nothing new.

        Raises LogDamaged if what was read before is gone, and what keeps the log from being read for PATIENCE_S.
        """
        try:
            with self._looking:
                return self._look()
        finally:
            if self._left:
                self.close()

    def close(self) -> None:
        """Let go of the log, from any thread: a look that is under way does so at its end.

        To close a log in one thread while another reads it would end the process.
        """
        self._left = True
        if self._looking.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._looking.release()

    def _look(self) -> list[Row]:
        try:
            reader = self._open()
            size = reader.size()
            if size < self.position:
                raise self._gone(f"it has {size} events, {self.position} were read")
            if self.position < (first := reader.first()):
                raise self._gone(f"it was pruned and begins at position {first}, {self.position} was to be read next")
            events = list(_few(reader.read(self.position, min(size, self.position + LOOK_EVENTS_MAX))))
        except _Gone as error:
            raise LogDamaged(error.message, error.hint) from None
        except PaiError:
            self._let_go()
            self.behind = False
            now = time.monotonic()
            if self._trouble_since is None:
                self._trouble_since = now
            if now - self._trouble_since > PATIENCE_S:
                raise
            return []
        self._trouble_since = None
        rows = [read_row(event) for event in events]
        if events:
            self.position, self._leaf = events[-1].seq + 1, events[-1].leaf
        self.behind = self.position < size
        return [row for row in rows if matches(self._query, row)]

    def _let_go(self) -> None:
        """Close the log; the next look opens it again."""
        if self._reader is not None:
            with contextlib.suppress(PaiError):
                self._reader.close()
            self._reader = None

    def _open(self) -> SqliteReader:
        if self._reader is not None and not self._reader.is_current():
            self._let_go()
        if self._reader is None:
            self._reader = open_reader(self._path)
            last = list(self._reader.read(self.position - 1, self.position)) if self.position and self._leaf else []
            if last and last[0].leaf != self._leaf:
                raise self._gone(f"another event stands at position {self.position - 1}")
        return self._reader

    def _gone(self, what: str) -> _Gone:
        return _Gone(f"{self._path} is not the log that was followed: {what}", "compare it with pai verify")


class _Gone(PaiError):
    """What was read before is not on the log any more."""


def _few(events: Iterable[Stored]) -> Iterator[Stored]:
    taken = 0
    for event in events:
        yield event
        taken += len(event.body)
        if taken >= LOOK_BYTES_MAX:
            return
