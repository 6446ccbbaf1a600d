"""Following a log in one thread, and leaving in another."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from reconciler.audit.tail import Tail
from reconciler.audit.terms import Query
from reconciler.log.open import log_at
from reconciler.log.sqlite.place import SqliteLog


class _Reader:
    """A log that is read until it is told to end."""

    def __init__(self) -> None:
        self.reading, self.end = threading.Event(), threading.Event()
        self.closed_while_read = False
        self.closed = 0

    def size(self) -> int:
        """Take as long as it is told to."""
        self.reading.set()
        self.end.wait(10)
        self.reading.clear()
        return 0

    def first(self) -> int:
        """Give the first position."""
        return 0

    def read(self, *_: int) -> list[Any]:
        """Give no events."""
        return []

    def keep_little(self) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Note when that is."""
        self.closed += 1
        self.closed_while_read |= self.reading.is_set()


def test_log_is_not_closed_while_another_thread_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would end the process; the look that is under way closes it at its end, and nobody waits for that."""
    reader = _Reader()
    monkeypatch.setattr(SqliteLog, "reader", lambda _: reader)
    followed = Tail(log_at(Path("log.db")), Query(), 0)
    looking = threading.Thread(target=followed.look)
    looking.start()
    assert reader.reading.wait(10)
    followed.close()
    assert not reader.closed_while_read
    reader.end.set()
    looking.join(10)
    assert reader.closed == 1
    followed.close()
    assert (reader.closed, reader.closed_while_read) == (1, False), "it is closed once"
