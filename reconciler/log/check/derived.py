"""The second half of a check: everything that is derived from the events, made anew by replaying them and compared.

Projection, snapshots and index must be what replaying gives. The other half (`check_bytes`) checks the events' own
bytes and hashes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from reconciler.core.events import Event, LogAccepted, decode, decode_all
from reconciler.core.state import FOLD_VERSION, State, dump, row, row_keys
from reconciler.log.check.index import IndexCheck
from reconciler.log.problems import MADE_ANEW, LogProblem, cut
from reconciler.log.store import LogHead, Reader, Snapshot


def check_derived(
    reader: Reader, head: LogHead, snapshots: Sequence[Snapshot], replay: Replay, checked: Callable[[int], None]
) -> Iterator[LogProblem]:
    """Replay the log from the state of `replay` on and give what does not fit.

    `checked` is told how many more events are done.
    """
    left = {snapshot.position: snapshot for snapshot in snapshots}
    index = IndexCheck(reader, head)
    state = replay.state
    yield from _reached(left, state)
    for chunk in reader.bodies(state.position):
        at = 0
        while at < len(chunk):
            part = chunk[at : at + cut(state.position, (*left, index.stop), len(chunk))]
            at += len(part)
            events = replay.take(part)
            yield from (LogProblem(None, message) for message in index.take(events, state))
            yield from _reached(left, state)
        checked(len(chunk))
    for snapshot in left.values():
        yield LogProblem(None, f"the snapshot at {snapshot.position} lies at no position of the log")
    yield from _compare_rows(reader, head, state)
    yield from (LogProblem(None, message) for message in index.end())


class Replay:
    """The state that the events give so far, and the acceptances among them; what cannot be read is counted."""

    def __init__(self, state: State) -> None:
        """`state` is the one that the events go on from, which grows by them."""
        self.state = state
        self.accepted: list[LogAccepted] = []

    def take(self, bodies: Sequence[bytes]) -> Sequence[Event | None]:
        """Take the next events, and give them; None for what cannot be read."""
        events = _readable(bodies)
        state, apply = self.state, self.state.apply
        for event in events:
            if event is None:
                state.position += 1
            else:
                apply(event)
                if type(event.payload) is LogAccepted:
                    self.accepted.append(event.payload)
        return events


def _readable(bodies: Sequence[bytes]) -> Sequence[Event | None]:
    with contextlib.suppress(ValueError):
        return decode_all(bodies)
    events: list[Event | None] = []
    for body in bodies:
        try:
            events.append(decode(body))
        except ValueError:
            events.append(None)
    return events


def _reached(left: dict[int, Snapshot], state: State) -> Iterator[LogProblem]:
    snapshot = left.pop(state.position, None)
    if snapshot is None:
        return
    if snapshot.intact() and snapshot.fold == FOLD_VERSION and snapshot.data != dump(state):
        yield LogProblem(None, f"the snapshot at position {snapshot.position} is not the state that the events give")


def _compare_rows(reader: Reader, head: LogHead, state: State) -> Iterator[LogProblem]:
    if (head.projected, head.fold) != (head.size, FOLD_VERSION):
        yield LogProblem(
            None,
            f"the projection stands at position {head.projected}, version {head.fold}, the log at {head.size}, "
            f"version {FOLD_VERSION}; {MADE_ANEW}",
        )
        return
    stored = reader.rows()
    wanted = {key: row(state, key) for key in row_keys(state)}
    for kind, name in sorted(stored.keys() | wanted.keys()):
        if stored.get((kind, name)) != wanted.get((kind, name)):
            yield LogProblem(None, f"the projection row {kind}/{name} is not what the events give")
