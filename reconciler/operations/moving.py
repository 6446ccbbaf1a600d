"""Moving a workspace's log into another store: every byte of it, compared afterwards; the source is closed at the end.

Nothing is recorded, so hashes, root and proofs stay. Until the end the source is the log: a move that is interrupted
leaves an unfinished copy, which has to be removed before another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

from reconciler.core.errors import CouldNotRun, LogDamaged, Refused, UsageError
from reconciler.core.state import FOLD_VERSION
from reconciler.log.check.whole import check
from reconciler.log.creation import projection_rows
from reconciler.log.problems import MADE_ANEW
from reconciler.log.replay import restore
from reconciler.log.store import Log, Reader, Stored
from reconciler.operations.asking import ask_daemon
from reconciler.operations.orders import Ping
from reconciler.operations.session import WAIT_S
from reconciler.tlog.merkle import Frontier
from reconciler.workspace import Workspace, require_owner, values


class MovedLog(NamedTuple):
    """What was moved: so many `events`, whose tree has the `root`; the place as it may be `shown`."""

    events: int
    root: str
    shown: str


def move(workspace: Workspace, url: str, tell: Callable[[int], None]) -> MovedLog:
    """Copy the log to the place of a URL, compare both, and close the source.

    `tell` is told how many more events are copied. Raises UsageError for a URL that is none, Refused for a pruned log,
    a place that has a log, or another user's workspace, CouldNotRun while a daemon runs, LogBusy, LogDamaged,
    LogNotWritable; the source is the log then.
    """
    require_owner(workspace.root)
    if ask_daemon(workspace, Ping()) is not None:
        raise CouldNotRun("a daemon runs in this workspace", "stop it, move the log, and start it with the new setting")
    source, target = workspace.log(), workspace.log(_checked(url))
    if target.exists():
        raise Refused(f"{target} has a log already", "name an empty place, or empty that of an interrupted move")
    backend = source.writer(WAIT_S)
    try:
        with contextlib.closing(backend.open()) as store:
            store.gather()
        with contextlib.closing(source.reader()) as reader:
            if reader.first():
                raise Refused("a log that was pruned cannot be moved yet", "export it, or keep it where it is")
            _refuse_damage(reader, source)
            _copy(reader, target, tell)
            moved = _compare(reader, target)
        source.leave(str(target))
    finally:
        backend.release()
    return moved


def _checked(url: str) -> str:
    try:
        return values.database(url)
    except values.BadValue as bad:
        raise UsageError(f"the URL {bad}", bad.hint) from None


def _copy(reader: Reader, target: Log, tell: Callable[[int], None]) -> None:
    chunks = ([Stored(*event) for event in chunk] for chunk in reader.chunks())
    first = next(chunks)
    target.create(first[:1], {}, FOLD_VERSION)
    backend = target.writer()
    try:
        with contextlib.closing(backend.open()) as store:
            for chunk in chain([first[1:]], chunks):
                if chunk:
                    store.append(chunk, {})
                tell(len(chunk))
            store.project(projection_rows(restore(store).state), FOLD_VERSION)
            store.gather()
    finally:
        backend.release()


def _compare(reader: Reader, target: Log) -> MovedLog:
    """Read the copy as a whole. Raises LogDamaged if it is not the same."""
    with contextlib.closing(target.reader()) as copy:
        _refuse_damage(copy, target)
        head = copy.head()
        if (head.size, head.peaks) != reader.head()[:2]:
            raise LogDamaged(f"{target} is not the same as what was copied", "empty it, and move again")
        return MovedLog(head.size, Frontier.unpack(head.size, head.peaks).root().hex(), str(target))


def _refuse_damage(reader: Reader, log: Log) -> None:
    found = [each.message for each in check(reader, place=log.place()) if MADE_ANEW not in each.message]
    if found:
        raise LogDamaged(f"{log} is damaged: {found[0]}", "pai verify says more")
