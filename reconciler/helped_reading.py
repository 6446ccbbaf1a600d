"""Blobs of a repository that other processes read for this one.

What a helper does not say is read by who asked, so that it costs time and nothing else.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic

import msgspec

from reconciler.core.errors import SourceUnavailable
from reconciler.manifests import VERSION, Entry, Facts, facts_of
from reconciler.manifests.judging import SIZE_MAX
from reconciler.manifests.reading import SUFFIXES
from reconciler.source import Repository, TreeEntry

HELPED_FROM = 2000
"""Blobs to read for which other processes are asked to help."""
HEAD_START = 1200
"""Blobs that one process reads in the time that another takes to start (0.3 s)."""
HELPERS_MAX, HELPER_TIMEOUT_S = 3, 10.0
"""How long helpers may take once the own share is read; the shares are equal, so they should be done."""
_HELPER = "import sys; sys.path[:] = sys.argv[1:]; from reconciler.helped_reading import help_reading; help_reading()"


def is_read(entry: TreeEntry) -> bool:
    """Tell whether the entry is a manifest by its name."""
    return entry.kind == "file" and entry.path.endswith(SUFFIXES)


class Helper:
    """A process that reads blobs of a repository for this one. Raises OSError, ValueError if it cannot be started."""

    def __init__(self, repository: Path, oids: list[str]) -> None:
        # Files, no pipes: neither side ever waits for the other to read or write.
        with ExitStack() as stack:
            given, self._answer = stack.enter_context(TemporaryFile()), stack.enter_context(TemporaryFile())
            given.write(msgspec.msgpack.encode((os.fsencode(repository), oids)))
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
                version, facts = _answer_decoder.decode(self._answer.read())
                if version == VERSION:  # the program may have been replaced since this process started
                    return facts
        return {}

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._answer.close()


_answer_decoder = msgspec.msgpack.Decoder(tuple[str, dict[str, Facts]])


class Helped:
    """The blobs that helpers read; iterating over a tree, the first of them comes after all that are read here."""

    def __init__(self) -> None:
        self._oids: set[str] = set()
        self._helpers: list[Helper] = []

    def __contains__(self, oid: str) -> bool:
        return oid in self._oids

    def add(self, helper: Helper, oids: list[str]) -> None:
        """Leave `oids` to `helper`."""
        self._helpers.append(helper)
        self._oids.update(oids)

    def facts(self) -> dict[str, Facts]:
        """Collect what all helpers say; from then on no blob is left to them."""
        self._oids.clear()
        until = monotonic() + HELPER_TIMEOUT_S
        return {oid: facts for helper in self._helpers for oid, facts in helper.facts(until - monotonic()).items()}


@contextmanager
def helpers(repository: Repository, entries: list[TreeEntry]) -> Iterator[Helped]:
    """Leave equal shares of a large tree to one process per further CPU; of a small one, nothing."""
    helped = Helped()
    with ExitStack() as stack:
        if (count := min(_cpus() - 1, HELPERS_MAX)) > 0 and len(entries) >= HELPED_FROM:
            oids = list(dict.fromkeys(e.oid for e in entries if is_read(e)))
            share = (len(oids) - HEAD_START) // (count + 1)
            if len(oids) >= HELPED_FROM and share > 0 and _others_see(repository, oids[-1]):
                for number in range(count):
                    end = len(oids) - number * share
                    with suppress(OSError, ValueError):
                        helper = stack.enter_context(closing(Helper(repository.path, oids[end - share : end])))
                        helped.add(helper, oids[end - share : end])
        yield helped


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _others_see(repository: Repository, oid: str) -> bool:
    """Tell whether the object can be read without the quarantine that `repository` may have been opened with."""
    with suppress(SourceUnavailable):
        return Repository.open(repository.path).size(oid) >= 0
    return False


def help_reading() -> None:
    """Be a helper: read what standard input asks for and write the facts, up to the first blob that cannot be read."""
    gc.disable()
    folder, oids = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=tuple[bytes, list[str]])
    known: dict[str, Facts] = {}
    taken = 0
    with suppress(SourceUnavailable):
        repository = Repository.open(Path(os.fsdecode(folder)))
        for oid in oids:
            facts_of(Entry(SUFFIXES[0], "file", oid, repository.size(oid), partial(repository.blob, oid)), known)
            taken += known[oid].size if oid in known else 0
            if taken > SIZE_MAX:
                break  # whoever asked finds that out
    sys.stdout.buffer.write(msgspec.msgpack.encode((VERSION, known)))
