"""A second process that does one half of a check (`check_bytes`) while this one does the other.

Its findings count like
those of this process; if it gives none, for whatever reason, the caller does the work.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import IO, Final

import msgspec

from reconciler import __version__
from reconciler.log.check.stored import BytesFindings, check_bytes
from reconciler.log.open import again
from reconciler.tlog.merkle import Frontier

EVENTS_MIN: Final = 50_000
"""From how many events on a second process saves more than its start takes."""

_HELPER: Final = "import sys; sys.path[:] = sys.argv[1:]; from reconciler.log.check.beside import main; main()"


class _Task(msgspec.Struct):
    place: str
    first: int
    peaks: bytes
    stop: int
    sizes: list[int]
    deep: bool


def is_worth_it(events: int) -> bool:
    """Tell whether a check of so many events gains from a second process on this machine."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cpus > 1 and events >= EVENTS_MIN


class Helper:
    """A process that checks the bytes of a log."""

    def __init__(self, process: subprocess.Popen[bytes], answer: IO[bytes]) -> None:
        """`answer` is the file that the process writes."""
        self._process = process
        self._answer = answer

    def findings(self) -> BytesFindings | None:
        """Wait for what it found; None if it failed."""
        if self._process.wait() != 0:
            return None
        with contextlib.suppress(OSError, ValueError):
            self._answer.seek(0)
            version, findings = _answer_decoder.decode(self._answer.read())
            if version == __version__:  # the program may have been replaced since this process started
                return findings
        return None


@contextlib.contextmanager
def start(place: str, begin: Frontier, stop: int, sizes: Iterable[int], deep: bool) -> Iterator[Helper | None]:
    """Have another process do what `check_bytes` does; it ends with the `with`. None if it cannot be started."""
    task = _Task(place, begin.size, begin.pack(), stop, list(sizes), deep)
    command = [sys.executable, "-E", "-P", "-c", _HELPER, *sys.path]
    with contextlib.ExitStack() as stack:
        helper = None
        with contextlib.suppress(OSError):
            # Files, no pipes: neither side ever waits for the other to read or write.
            given, answer = stack.enter_context(TemporaryFile()), stack.enter_context(TemporaryFile())
            given.write(msgspec.msgpack.encode(task))
            given.seek(0)
            process = subprocess.Popen(command, stdin=given, stdout=answer, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            helper = Helper(process, answer)
        yield helper


def main() -> None:
    """Be the second process: read the task from stdin, write the findings to stdout."""
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Task)
    with contextlib.closing(again(task.place).reader()) as log, log.moment():
        if log.first() != task.first:
            return  # the log was pruned since the check began: no answer
        findings = check_bytes(log, Frontier.unpack(task.first, task.peaks), task.stop, task.sizes, task.deep)
    sys.stdout.buffer.write(msgspec.msgpack.encode((__version__, findings)))


_answer_decoder = msgspec.msgpack.Decoder(tuple[str, BytesFindings])
