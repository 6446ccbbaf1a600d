"""`pai prune`: events are exported, proven to be there, and only then dropped.

The order, each step durable before the next: a checkpoint of the whole log; the export, read back from the disk and
verified as a stranger would; the state that the exported bytes give, which with the rest of the log has to give the
live one; `log.pruned.v1` through the recorder, and a checkpoint over it; and then one transaction that drops. A crash
before that leaves the whole log, which `pai prune` with the same folder goes on from; one after it the pruned log.

No daemon may run: what is dropped is dropped by the one holder of the log's lock.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from reconciler.audit.query import count_before, search
from reconciler.audit.terms import Query, Term, event_time, parse_when
from reconciler.core.errors import CouldNotRun, LogDamaged, PaiError, Refused, UsageError
from reconciler.core.events import Draft, LogPruned
from reconciler.core.state import FOLD_VERSION, State, dump, load
from reconciler.evidence import folders, tiles
from reconciler.evidence.offline import verify_export
from reconciler.evidence.published import first_key
from reconciler.log import pruned
from reconciler.log.replay import fold
from reconciler.log.store import Base, Kept, Reader
from reconciler.log.tree import Tree
from reconciler.operations.asking import ask_daemon
from reconciler.operations.kept import kept_events
from reconciler.operations.orders import Ping
from reconciler.operations.parts import Parts
from reconciler.operations.session import WAIT_S
from reconciler.tlog.merkle import TILE_WIDTH, Frontier
from reconciler.workspace import Workspace

_HINT = "run `pai verify`; nothing was dropped"


class Pruned(NamedTuple):
    """What was done: events `begin` to `first` - 1 were dropped but for `kept` ones. `warning` is "" or a concern."""

    begin: int
    first: int
    kept: int
    warning: str


class _Cut(NamedTuple):
    base: Base
    kept: list[Kept]
    digest: str


def find_cut(log: Reader, before: str, now: datetime) -> int:
    """Give the position that a log may begin at so that it has everything from WHEN on: a whole number of tiles.

    `before` is a time, a date, 90d (ago) or #SEQ. Raises UsageError.
    """
    if before.startswith("#"):
        digits = before[1:]
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
            raise UsageError(f"--before: cannot read the position {before!r}", "write #SEQ as pai log shows it")
        wanted = int(digits)
    else:
        time = parse_when(before, now)
        if time > event_time(now):
            raise UsageError(f"--before {before}: that time is still to come", "name one that is past")
        wanted = count_before(log, time, log.size())
    return min(wanted, log.size()) // TILE_WIDTH * TILE_WIDTH


def prune(
    workspace: Workspace, before: str, folder: Path, actor: str, now: datetime, tell: Callable[[int], None]
) -> Pruned:
    """Export what is before `before` to `folder` and drop it.

    `folder` is new or empty, or what an earlier call has left there. Raises Refused if there is nothing to drop,
    CouldNotRun while a daemon runs, LogBusy, LogDamaged, LogNotWritable; nothing was dropped then, unless it says so.
    """
    if ask_daemon(workspace, Ping()) is not None:
        hint = "stop it, prune, and start it again: nothing may be recorded in between"
        raise CouldNotRun("a daemon runs in this workspace", hint)
    with Parts(workspace, wait_s=WAIT_S) as parts:
        warning = parts.vouch()
        with contextlib.closing(workspace.log().reader()) as log:
            begin, first = log.first(), find_cut(log, before, now)
            if first <= begin:
                raise Refused(*_nothing(log, begin, before))
            parts.recorder.read(lambda state: _require_no_pin(state, first))
            _export(parts, folder, first, tell)
            cut = _prepare(parts, log, folder, first, actor)
            live = parts.recorder.read(_where)
        warning = parts.vouch() or warning
    _drop(workspace, cut)
    try:
        with Parts(workspace, wait_s=WAIT_S) as parts:  # makes the index anew, and looks at everything once more
            now_live = parts.recorder.read(_where)
    except CouldNotRun as error:
        told = f"events #{begin} to #{first - 1} are in {folder} and no longer in the log, but then: {error.message}"
        raise CouldNotRun(told, error.hint) from error
    if now_live[0] == live[0] and now_live != live:
        raise LogDamaged("the state is not the one of before", "restore the log from a backup; keep the export")
    return Pruned(begin, first, len(cut.kept), warning)


def _require_no_pin(state: State, first: int) -> None:
    """Refuse to drop what an unpinning brings back. Raises Refused."""
    if state.pin is not None and state.accepted < first:
        what = f"revision {state.pin.commit[:7]} is pinned, and #{state.accepted} is what comes back after it"
        raise Refused(f"{what}: it would be dropped", f"pai unpin first, or prune before #{state.accepted}")


def _where(state: State) -> tuple[int, str]:
    return state.position, state.digest()


def _nothing(log: Reader, begin: int, before: str) -> tuple[str, str]:
    start = f"the log begins at #{begin}" if begin else f"the log has {log.size():,} events"
    message = f"there is nothing to prune: {start}, and before {before} there is no whole tile of {TILE_WIDTH} events"
    return message, "name a later time or position"


def _export(parts: Parts, folder: Path, first: int, tell: Callable[[int], None]) -> None:
    """Have the part in the folder, unless an earlier call left one there; what it is worth is found out afterwards."""
    if (folder / "checkpoint").is_file():
        return
    folders.require_new(folder)
    tiles.export_part(parts.workspace, parts.notary, folder, first, tell)


def _prepare(parts: Parts, log: Reader, folder: Path, first: int, actor: str) -> _Cut:
    """Verify the part from the disk, make what the log will begin with, and record the cut."""
    before = log.base()
    begins = State() if before is None else pruned.load_base(before)[0]
    begin = begins.position
    found = verify_export(folder, first_key(log), lambda _: None, begins)
    if found.problems or found.checkpoint is None or found.state is None:
        said = found.problems[0].message if found.problems else "it does not go on where the log begins"
        raise Refused(f"{folder} is no whole export: {said}", "name another folder; nothing was dropped")
    if (found.first, found.checkpoint.size) != (begin, first):
        there = f"#{found.first} to #{found.checkpoint.size - 1}"
        hint = f"--before '#{found.checkpoint.size}' goes on with it; or name another folder"
        raise Refused(f"{folder} has the events {there}, and #{begin} to #{first - 1} are to be dropped", hint)
    with log.moment():
        _compare(parts, log, found.state, first, found.checkpoint.root)
        kept = kept_events(log, found.state)
    state = dump(found.state)
    digest = hashlib.sha256(state).hexdigest()
    payload = LogPruned(
        first=first,
        begin=begin,
        root=base64.b64encode(found.checkpoint.root).decode("ascii"),
        checkpoint=(folder / "checkpoint").read_text("utf-8"),
        export=os.fsencode(folder.absolute()).decode("utf-8", "replace"),
        state=digest,
        kept=len(kept),
        digest=pruned.kept_digest(kept),
        previous=None if before is None else before.event,
    )
    event = _recorded(log, payload)
    if event is None:
        subject = f"log/{found.checkpoint.origin}"
        event = parts.recorder.record(lambda _: [Draft(actor, subject, payload)]).first
    frontier = Tree(log).frontier(first)
    return _Cut(Base(first, frontier.pack(), state, digest, event, FOLD_VERSION), kept, digest)


def _compare(parts: Parts, log: Reader, state: State, first: int, root: bytes) -> None:
    """Make sure that the part and the rest of the log give the tree and the state that are in force."""
    frontier = Tree(log).frontier(first)
    if frontier.root() != root:
        raise LogDamaged("the export is not the beginning of this log", _HINT)
    replayed, grown = load(dump(state)), Frontier(frontier.size, frontier.peaks)
    fold(replayed, grown, log.chunks(first))
    if grown.pack() != log.head().peaks or replayed.digest() != parts.recorder.read(State.digest):
        raise LogDamaged("what was exported and the rest of the log do not give the state in force", _HINT)


def _recorded(log: Reader, payload: LogPruned) -> int | None:
    """Find the event that an earlier call recorded about this very cut."""
    for row in search(log, Query((Term("type", LogPruned.type),))):
        if pruned.pruning_at(log, row.seq).payload == payload:
            return row.seq
    return None


def _drop(workspace: Workspace, cut: _Cut) -> None:
    """Drop, as the holder of the lock: the recorder has let go of it, and nobody else can have changed the past."""
    backend = workspace.log().writer(WAIT_S)
    try:
        with contextlib.closing(backend.open()) as store:
            said = pruned.pruning_at(store, cut.base.event).payload
            if (said.first, said.state, said.begin) != (cut.base.position, cut.digest, store.first()):
                raise LogDamaged("the log is not the one that was looked at", _HINT)
            store.prune(cut.base, cut.kept)
            with contextlib.suppress(PaiError):  # the space is used again in any case
                store.shrink()
    finally:
        backend.release()
