"""The daemon's lines all come, in order: those of the loop together, warnings and those of other threads at once.

And whoever does not read them keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from reconciler.daemon import log_lines
from tests.support import until


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Give what the daemon writes to, and leave logging as it was."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    before = (root.level, uvicorn.level)
    handlers = list(root.handlers)
    for handler in handlers:
        root.removeHandler(handler)
    written = io.StringIO()
    log_lines.configure(written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(before[0])
    uvicorn.setLevel(before[1])


def messages(stream: io.StringIO) -> list[str]:
    """Give the messages that were written."""
    return [line.partition(": ")[2] for line in stream.getvalue().splitlines()]


def test_lines_of_the_loop_wait_for_each_other(stream: io.StringIO) -> None:
    """They are not written one by one, and all are there a moment later, in order."""
    log = logging.getLogger("pai.test")

    async def run() -> None:
        for number in range(5):
            log.info("line %d", number)
        assert not messages(stream)
        await asyncio.sleep(3 * log_lines.TOGETHER_S)
        until("them to be written", lambda: messages(stream) == [f"line {number}" for number in range(5)])

    asyncio.run(run())


def test_warning_is_written_at_once_with_what_waits(stream: io.StringIO) -> None:
    """A warning does not wait, and does not overtake."""
    log = logging.getLogger("pai.test")

    async def run() -> None:
        log.info("before")
        log.warning("now")
        until("both to be written", lambda: messages(stream) == ["before", "now"])

    asyncio.run(run())


def test_line_of_another_thread_is_written_at_once(stream: io.StringIO) -> None:
    """A thread has no loop that would write it later."""
    log = logging.getLogger("pai.test")

    async def run() -> None:
        log.info("before")
        thread = threading.Thread(target=log.info, args=("from a thread",))
        thread.start()
        thread.join()
        until("both to be written", lambda: messages(stream) == ["before", "from a thread"])

    asyncio.run(run())


def test_what_waits_is_written_at_the_end(stream: io.StringIO) -> None:
    """A loop that ends before its lines left loses none: logging flushes when the program ends."""
    log = logging.getLogger("pai.test")

    async def run() -> None:
        log.info("last")

    asyncio.run(run())
    logging.getLogger().handlers[0].flush()
    assert messages(stream) == ["last"]


def test_lines_that_wait_are_bounded(stream: io.StringIO) -> None:
    """A flood is written as it comes."""
    log = logging.getLogger("pai.test")

    async def run() -> None:
        for number in range(log_lines.LINES_MAX):
            log.info("%d", number)
        until("all to be written", lambda: len(messages(stream)) == log_lines.LINES_MAX)

    asyncio.run(run())


def test_lines_that_nobody_reads_keep_nobody_waiting_and_are_counted() -> None:
    """A pipe that is full blocks the thread that writes and no other; what did not fit is told afterwards."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "r") as reader:
        handler = log_lines._Together(stream)
        record = logging.LogRecord("pai.test", logging.WARNING, "", 0, "x" * 100, None, None)
        for _ in range(3 * log_lines.LOST_FROM):
            handler.handle(record)
        found = ""
        while "lost here" not in found:
            found += os.read(reader.fileno(), 65536).decode()
        lost = int(found.rpartition(" lines were lost here")[0].rpartition("\n")[2].replace(",", ""))
        assert found.count("x" * 100) + lost == 3 * log_lines.LOST_FROM
        handler.flush()


def test_end_of_the_program_writes_what_waits(stream: io.StringIO) -> None:
    """Logging flushes at the end with the handler's lock held: the thread that writes must not need it."""
    handler = next(one for one in logging.getLogger().handlers if isinstance(one, log_lines._Together))

    async def run() -> None:
        logging.getLogger("pai.test").info("the last line")
        with contextlib.closing(handler):
            handler.acquire()
            try:
                handler.flush()
                assert messages(stream) == ["the last line"]
            finally:
                handler.release()

    asyncio.run(run())


def test_line_is_the_one_that_logging_writes() -> None:
    """Also when the second turns, and back: records come from several threads."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    ours, theirs = log_lines._Line(form), logging.Formatter(form)
    for created in (1e9, 1e9 + 0.0625, 1e9 + 1.5, 1e9 + 0.5, 1e9 + 86_400.75):
        record = logging.LogRecord("pai", logging.INFO, "", 0, "%s said", ("it",), None)
        record.created, record.msecs = created, created % 1 * 1000
        assert ours.format(record) == theirs.format(record)


def test_what_is_told_of_others_is_one_line_and_steers_no_terminal(stream: io.StringIO) -> None:
    """A branch's name may have C1 controls, bidirectional signs and line separators; a trace has lines of its own."""
    log = logging.getLogger("pai.test")
    odd = "x\x9b31m\u202e\x85\u2028\x1b[2J\nend"
    log.warning("its branches: %s", odd)
    try:
        raise ValueError(odd.replace("\n", " "))
    except ValueError:
        log.exception("failed")
    until("them to be written", lambda: "ValueError" in stream.getvalue())
    written = stream.getvalue()
    assert "its branches: x\\x9b31m\\u202e\\x85\\u2028\\x1b[2J\\nend\n" in written
    assert all(line.isprintable() for line in written.split("\n"))
    assert "\nTraceback" in written
