"""Blobs of a repository that other processes read for this one: shares of a large tree, and files that are dear.

A dear file is a large one, or one of very many fields and items: reading it holds the interpreter for long, and takes
memory that stays. A process that serves others leaves those to a helper. What a helper does not say is read by who
asked, so that it costs time and nothing else.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import msgspec

from reconciler import quick
from reconciler.core.errors import SourceUnavailable
from reconciler.manifests.facts import VERSION, Entry, Facts
from reconciler.manifests.judging import SIZE_MAX
from reconciler.manifests.reading import PART_SIZE, SUFFIXES, facts_of, size_of
from reconciler.manifests.reading import SIZE_MAX as FILE_SIZE_MAX
from reconciler.source.git import Repository, TreeEntry

HELPED_FROM = 2000
"""Blobs to read for which other processes are asked to help."""
HEAD_START = 1200
"""Blobs that one process reads in the time that another takes to start (0.3 s)."""
HELPERS_MAX, HELPER_TIMEOUT_S = 3, 10.0
"""How long helpers may take once the own share is read; the shares are equal, so they should be done."""
DEAR_SIZE, DEAR_DENSITY = 64 * 1024, 256 * 1024
"""Bytes of a file, and what it may be for `size_of` (2,000 lines, fields and items), beyond which it is dear."""
_DENSE_FROM = DEAR_DENSITY // (PART_SIZE + 1)
"""Bytes that a dense file has at least."""
DEAR_TIMEOUT_S = 60.0
"""How long a helper may take for each dear file; usual are 3 s at most, on a machine that has nothing else to do."""
NICENESS = 10
"""Of a helper that reads dear files, as of what git runs for others."""
_HELPER = "import sys; sys.path[:] = sys.argv[1:]; from reconciler.helped_reading import help_reading; help_reading()"


def is_read(entry: TreeEntry) -> bool:
    """Tell whether the entry is a manifest by its name."""
    return entry.kind == "file" and entry.path.endswith(SUFFIXES)


class ReadingHelper:
    """A process that reads blobs of a repository for this one. Raises OSError, ValueError if it cannot be started."""

    def __init__(self, repository: Path, oids: list[str], niceness: int = 0) -> None:
        # Files, no pipes: neither side ever waits for the other to read or write.
        with ExitStack() as stack:
            given, self._answer = stack.enter_context(TemporaryFile()), stack.enter_context(TemporaryFile())
            given.write(msgspec.msgpack.encode((os.fsencode(repository), oids, niceness)))
            given.seek(0)
            command = [sys.executable, "-E", "-P", "-c", _HELPER, *sys.path]
            self._process = subprocess.Popen(command, stdin=given, stdout=self._answer, stderr=subprocess.DEVNULL)
            given.close()
            stack.pop_all()

    def facts(self, timeout_s: float) -> dict[str, Facts]:
        """Wait for the answer: facts by blob id, of fewer blobs or none if anything went wrong."""
        with suppress(OSError, ValueError, subprocess.TimeoutExpired):
            if self._process.wait(max(0.0, timeout_s)) == 0:
                self._answer.seek(0)
                parts = _parts(self._answer)
                if next(parts, None) == VERSION.encode():  # the program may have been replaced since this one started
                    return dict(map(_fact_decoder.decode, parts))
        return {}

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._answer.close()


_fact_decoder = msgspec.msgpack.Decoder(tuple[str, Facts])
_LENGTH_BYTES = 8


def _put(part: bytes) -> None:
    sys.stdout.buffer.write(len(part).to_bytes(_LENGTH_BYTES) + part)


def _parts(answer: IO[bytes]) -> Iterator[bytes]:
    """Yield what `_put` wrote, one by one: no answer is held, or decoded, as a whole. Raises ValueError."""
    left = os.fstat(answer.fileno()).st_size
    while left:
        length = int.from_bytes(answer.read(_LENGTH_BYTES))
        left -= _LENGTH_BYTES + length
        if left < 0:
            raise ValueError("the answer is not whole")
        yield answer.read(length)


class Helped:
    """The blobs that helpers read."""

    def __init__(self) -> None:
        self._helpers: dict[str, tuple[ReadingHelper, list[str], float]] = {}

    def __contains__(self, oid: str) -> bool:
        return oid in self._helpers

    def add(self, helper: ReadingHelper, oids: list[str], timeout_s: float) -> None:
        """Leave `oids` to `helper`, which may take so long once it is asked."""
        self._helpers.update(dict.fromkeys(oids, (helper, oids, timeout_s)))

    def facts(self, oid: str) -> dict[str, Facts]:
        """Collect what the helper of `oid` says; from then on no blob is left to it."""
        helper, oids, timeout_s = self._helpers[oid]
        for each in oids:
            del self._helpers[each]
        return helper.facts(timeout_s)


@contextmanager
def helpers(repository: Repository, entries: Collection[TreeEntry], dear: list[str]) -> Iterator[Helped]:
    """Leave the blobs that are `dear` to one process, and equal shares of what else a large tree has to further CPUs.

    Iterating over the entries, the first blob of a share comes after all that are read here.
    """
    helped = Helped()
    with ExitStack() as stack:

        def leave(oids: list[str], timeout_s: float, niceness: int = 0) -> None:
            with suppress(OSError, ValueError):
                helped.add(
                    stack.enter_context(closing(ReadingHelper(repository.path, oids, niceness))), oids, timeout_s
                )

        if dear and _others_see(repository, dear[-1]):
            leave(dear, DEAR_TIMEOUT_S * len(dear), NICENESS)
        count = 0 if quick.PLAIN else min(_cpus() - 1, HELPERS_MAX)
        if count > 0 and len(entries) >= HELPED_FROM:
            apart = frozenset(dear)
            oids = [oid for oid in dict.fromkeys(e.oid for e in entries if is_read(e)) if oid not in apart]
            share = (len(oids) - HEAD_START) // (count + 1)
            if len(oids) >= HELPED_FROM and share > 0 and _others_see(repository, oids[-1]):
                for number in range(count):
                    end = len(oids) - number * share
                    leave(oids[end - share : end], HELPER_TIMEOUT_S)
        yield helped


def dear_blobs(repository: Repository, entries: Iterable[TreeEntry]) -> list[str]:
    """Name the blobs of manifests that hold an interpreter for more than a few ms. Raises SourceUnavailable."""
    return [
        oid
        for oid in dict.fromkeys(e.oid for e in entries if is_read(e))
        if _is_dear(repository, repository.size(oid), oid)
    ]


def _is_dear(repository: Repository, size: int, oid: str) -> bool:
    if size > DEAR_SIZE:
        return size <= FILE_SIZE_MAX
    return size >= _DENSE_FROM and size_of(repository.blob(oid)) > DEAR_DENSITY


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _others_see(repository: Repository, oid: str) -> bool:
    """Tell whether the object can be read without the quarantine that `repository` may have been opened with."""
    with suppress(SourceUnavailable):
        return Repository.open(repository.path).size(oid) >= 0
    return False


def help_reading() -> None:
    """Be a helper: read what standard input asks for and write the facts, up to the first blob that cannot be read."""
    quick.short_life()
    folder, oids, niceness = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=tuple[bytes, list[str], int])
    os.nice(niceness)
    _put(VERSION.encode())
    taken = 0
    with suppress(SourceUnavailable):
        repository = Repository.open(Path(os.fsdecode(folder)))
        for oid in oids:
            known: dict[str, Facts] = {}
            size = repository.size(oid)
            facts_of(Entry(SUFFIXES[0], "file", oid, size, partial(repository.blob, oid)), known)
            for each in known.items():
                _put(msgspec.msgpack.encode(each))
                taken += each[1].size
            if taken > SIZE_MAX:
                break  # whoever asked finds that out
            if size > DEAR_SIZE:
                gc.collect()  # its errors refer to each other
