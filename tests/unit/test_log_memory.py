"""What the log in memory says of itself."""

from __future__ import annotations

import pytest

from reconciler.core.errors import LogBusy, LogDamaged, PaiError
from reconciler.log.creation import create_log
from reconciler.log.memory import MemoryLog
from tests.support_log import ORIGIN, some


def said(caught: pytest.ExceptionInfo[PaiError]) -> tuple[str, str]:
    return caught.value.message, caught.value.hint


def test_log_in_memory_says_what_is_wrong_and_what_to_do() -> None:
    """Not made, made already, written by another, and events that do not go on where it ends."""
    log = MemoryLog()
    assert str(log) == "the log in memory"
    for opening in (log.reader, log.writer, log.copied):
        with pytest.raises(LogDamaged) as caught:
            opening()
        assert said(caught) == ("the log in memory was not made", "make it first")
    create_log(log, origin=ORIGIN, vkey="key")
    with pytest.raises(LogDamaged) as caught:
        create_log(log, origin=ORIGIN, vkey="key")
    assert said(caught) == ("the log in memory exists already; a log is never made over another", "")
    backend = log.writer()
    with pytest.raises(LogBusy) as busy:
        log.writer()
    assert said(busy) == ("the log in memory is being written by another one", "wait until that one ends")
    with pytest.raises(LogDamaged) as caught:
        backend.open().append(some(5, 2), {})
    assert said(caught) == ("the log has 1 events, position 5 does not continue it", "")
    backend.release()
    log.writer().release()
