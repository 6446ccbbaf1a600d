"""Following a log that somebody else writes: what has come since the last look, by polling.

The reader is opened anew when the file was replaced, copied over or could not be read. A log that is missing, being
recovered or unreadable for a moment is waited for. One that comes back without what was read already (a backup that was
put back) is followed on from where it differs, never silently; what was pruned before it was read is an error. Writes
nothing, and knows no output.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from reconciler.audit.query import matches, read_row
from reconciler.audit.terms import EventRow, Query
from reconciler.core.errors import LogDamaged, PaiError, TooLong
from reconciler.log.store import Log, Reader, Stored

PATIENCE_S: Final = 60.0
"""How long a log that cannot be read is waited for."""
LOOK_EVENTS_MAX: Final = 1000
"""Events that are read at one look, so that whoever follows gets what there is while more is read."""
LOOK_BYTES_MAX: Final = 1024 * 1024
"""Of those events; the last may pass it."""
GENTLE_EVENTS: Final = 64
PAUSE_S: Final = 0.0002
"""Between so many events that are read gently: other threads get their turn."""
KNOWN_MAX: Final = 4096
"""Events that are remembered by their hashes, to find where another log begins to differ."""


class Tail:
    """The end of a log. `position` is the next event that `look` reads, `behind` whether the last look left any.

    `notice` is what the last look has to say, "" for nothing: the log is not the one of before, and is followed on.
    """

    def __init__(self, log: Log, query: Query, position: int) -> None:
        """Begin before `position`."""
        self.position = position
        self.behind = False
        self.notice = ""
        self._log = log
        self._query = query
        self._leaves = deque[bytes](maxlen=KNOWN_MAX)  # of the events before `position`, the last at the end
        self._reader: Reader | None = None
        self._trouble_since: float | None = None
        self._looking = threading.Lock()
        self._left = False

    @property
    def waiting(self) -> bool:
        """Whether the last look found a log that cannot be read now."""
        return self._trouble_since is not None

    def look(self, deadline: float | None = None) -> list[EventRow]:
        """Give the events that match among the next ones, oldest first; none if there is nothing new.

        With a `deadline`, a time of the monotonic clock, it is gentle (see `Reader.be_gentle`) and gives what it has
        read until then; the next look goes on. Raises LogDamaged if what was to be read was pruned, and what keeps the
        log from being read for PATIENCE_S.
        """
        try:
            with self._looking:
                return self._look(deadline)
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

    def _look(self, deadline: float | None) -> list[EventRow]:
        self.notice = ""
        events: list[Stored] = []
        late, size = False, self.position
        try:
            reader = self._open(deadline)
            size = self._find_place(reader)
            events.extend(_few(reader.read(self.position, min(size, self.position + LOOK_EVENTS_MAX))))
        except TooLong:
            late = True
        except _Pruned as error:
            raise LogDamaged(error.message, "follow it again; pai verify --with DIR reads what was exported") from None
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
        rows = [read_row(event) for event in (events if deadline is None else _gently(events))]
        if events:
            self.position = events[-1].seq + 1
            self._leaves.extend(event.leaf for event in events)
        self.behind = late or self.position < size
        return [row for row in rows if matches(self._query, row)]

    def _find_place(self, reader: Reader) -> int:
        """Make sure that the log continues what was read, or say that it does not and go on; give its size."""
        size, first = reader.size(), reader.first()
        if self.position < first:
            raise _Pruned(f"the log was pruned: it begins at position {first}, {self.position} was to be read next")
        if size < self.position:
            self._go_on(self._fork(reader, size), f"it has {size} events, {self.position} were read")
        elif self.position > first and self._leaves and not self._stands(reader, self.position, self._leaves[-1]):
            what = f"another event stands at position {self.position - 1}"
            self._go_on(self._fork(reader, size), what)
        if not self._leaves and self.position > first:
            self._leaves.extend(reader.hashes(0, max(first, self.position - KNOWN_MAX), self.position))
        return size

    def _fork(self, reader: Reader, size: int) -> int:
        """Give the position from which on the log has other events than were read; its end if nothing is the same."""
        for back, leaf in enumerate(reversed(self._leaves)):
            position = self.position - back
            if position <= size and self._stands(reader, position, leaf):
                return position
        return size

    @staticmethod
    def _stands(reader: Reader, position: int, leaf: bytes) -> bool:
        return reader.hashes(0, position - 1, position) == [leaf]

    def _go_on(self, position: int, what: str) -> None:
        self.notice = f"this is not the log that was followed: {what}; going on from position {position}"
        self.position = position
        self._leaves.clear()

    def _let_go(self) -> None:
        """Close the log; the next look opens it again."""
        if self._reader is not None:
            with contextlib.suppress(PaiError):
                self._reader.close()
            self._reader = None

    def _open(self, deadline: float | None) -> Reader:
        opened, self._reader = self._reader, self._reader or self._log.reader()
        if deadline is not None:
            self._reader.be_gentle(deadline)
        if opened is None:
            self._reader.keep_little()
        elif not opened.is_current():
            self._let_go()
            return self._open(deadline)
        return self._reader


class _Pruned(PaiError):
    """What was to be read next is not on the log any more, and waiting does not bring it back."""


def _gently(events: Iterable[Stored]) -> Iterator[Stored]:
    for number, event in enumerate(events, 1):
        yield event
        if number % GENTLE_EVENTS == 0:
            time.sleep(PAUSE_S)


def _few(events: Iterable[Stored]) -> Iterator[Stored]:
    taken = 0
    for event in events:
        yield event
        taken += len(event.body)
        if taken >= LOOK_BYTES_MAX:
            return
