"""The exported parts of a pruned log, verified against it: `pai verify --with DIR`.

One after the other they have to be whole in themselves, under the log's own key, to follow each other without gaps up
to where the log begins, and to end in the tree and the state that it begins with. So log and parts together are
verified as a log that was never pruned is. Reads only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from reconciler import durable
from reconciler.core.errors import NotFound, Refused
from reconciler.core.state import State, dump
from reconciler.evidence.layout import MINIMUM_INDEX, MINIMUM_INDEX_BYTES_MAX
from reconciler.evidence.offline import Export, verify_export
from reconciler.log import pruned
from reconciler.log.check.whole import LogProblem, Marks
from reconciler.log.store import Base, Reader
from reconciler.tlog.note import VerifierKey


def check_parts(
    log: Reader, key: VerifierKey, folders: Sequence[Path], marks: Marks, checked: Callable[[int], None]
) -> list[LogProblem]:
    """Verify the parts in `folders`, in whatever order they are named, and fill `marks`; give what does not fit.

    Raises NotFound if a folder is missing, Refused if the log is whole.
    """
    base = log.base()
    if base is None:
        raise Refused("the log was not pruned: there is nothing that a part could add", "leave --with out")
    return list(_problems(base, key, folders, marks, checked))


def _problems(
    base: Base, key: VerifierKey, folders: Sequence[Path], marks: Marks, checked: Callable[[int], None]
) -> Iterator[LogProblem]:
    state: State | None = State()
    reached = 0
    for first, folder in sorted((_first(folder), folder) for folder in folders):
        if first != reached:
            yield LogProblem(reached, f"no part has the events from #{reached} on: {folder} begins at #{first}")
            return
        found = verify_export(folder, key, checked, state, marks)
        yield from (LogProblem(each.position, f"{folder}: {each.message}") for each in found.problems)
        if found.problems or found.checkpoint is None:
            return
        reached, state = found.checkpoint.size, found.state
        yield from _compare(base, found, folder)
    if reached < base.position:
        yield LogProblem(reached, f"no part has the events from #{reached} to #{base.position - 1}")


def _compare(base: Base, found: Export, folder: Path) -> Iterator[LogProblem]:
    """Compare the last part with what the log begins with."""
    if found.checkpoint is None or found.checkpoint.size < base.position:
        return
    begins, frontier = pruned.load_base(base)
    if found.checkpoint.size > base.position:
        yield LogProblem(base.position, f"{folder} goes beyond #{base.position}, where the log begins")
    elif found.checkpoint.root != frontier.root():
        yield LogProblem(0, f"the tree that {folder} gives is not the one that the log begins with")
    elif found.state is not None and dump(found.state) != dump(begins):
        yield LogProblem(base.position, f"the state that the log begins with is not the one that {folder} gives")


def _first(folder: Path) -> int:
    """Give the position that a part says it begins at; what it really has, verifying finds."""
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder", "name the folders that pai prune exported to")
    try:
        return int(durable.read(folder / MINIMUM_INDEX, MINIMUM_INDEX_BYTES_MAX))
    except (OSError, ValueError):
        return 0
