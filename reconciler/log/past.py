"""The state of any moment, for people who look: from the index and a few events, where replaying would take minutes.

What objects, secrets, keys and the branch were is told by the few events that are about them, and the index says where
these are. What was used of a day is in the accounts that the index keeps at the end of each block; the events from
there to the moment are folded. The answer is as good as the index, which `pai verify` checks; without an index of this
version the events are replayed. Of a pruned log the index begins where the log does; what was before is in the state
that the log begins with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from typing import Final

from reconciler.core import events as ev
from reconciler.core.budget import Account, Ledger, Reservation
from reconciler.core.state import FOLD_VERSION, State
from reconciler.log import pruned
from reconciler.log.index import INDEX_VERSION, read_account, unpack
from reconciler.log.replay import checked, event_at, projected, read_event, snapshot_before, state_at
from reconciler.log.store import LogHead, Reader

NEAR_EVENTS: Final = 4096
"""Up to so many events, replaying is quicker than looking into the index."""
_STEP: Final = 256
_PART: Final = 512
"""Events that are decoded at a time: meanwhile, some 0.7 ms, no other thread runs, as the gateway's loop would."""

_OUTCOMES: Final = (ev.TokensSettled, ev.TokensVoided, ev.TokensForfeited)
_PUSHED: Final = ("type", ev.PushAdmitted.type)
_COMMITS: Final = frozenset(each.type for each in ev.AnyPayload.__args__ if issubclass(each, ev.Commit))
_PASSED_OVER: Final = frozenset(
    each.type
    for each in ev.AnyPayload.__args__
    if issubclass(each, (ev.ObjectWritten, ev.ObjectDeleted, ev.RequestRefused, *_OUTCOMES))
)
"""Types with marks that tell nothing of what is in force, or nothing that the marks of versions do not tell."""


def state_then(reader: Reader, position: int) -> State:
    """Give the state after the first `position` events as a projection holds it, which has no open reservations.

    Raises NotFound beyond the log's ends, LogDamaged.
    """
    with reader.moment():
        head = reader.head()
        if position == head.size:
            return projected(reader)
        start = _block_before(reader, head, position)
        state = snapshot_before(reader, position)
        current = (head.projected, head.fold) == (head.size, FOLD_VERSION)
        if start <= reader.first() or not current or position > head.size or position - state.position <= NEAR_EVENTS:
            state = state_at(reader, position)
        else:
            if state.position > start:
                state = snapshot_before(reader, start)
            known = state.ledger
            _fold_objects(reader, state, start)
            state.ledger = Ledger(accounts=known.accounts | _accounts(reader, start))
            _fold_rest(reader, state, position, known.open)
    state.ledger = Ledger(accounts=state.ledger.accounts)
    return state


def objects_at(reader: Reader, position: int) -> State:
    """Give the state as `state_then` does; of a pruned log also that after its base's own revision was accepted.

    Raises NotFound for any other position before the base.
    """
    base, _ = pruned.start(reader)
    if position >= base.position:
        return state_then(reader, position)
    if position == base.accepted + 1 and base.pin is None:
        return base
    raise pruned.dropped(reader, position - 1)


def accepted_state(reader: Reader, state: State) -> State:
    """Give the objects of the last accepted revision: those of `state`, unless another revision is pinned there."""
    return state if state.pin is None else objects_at(reader, state.accepted + 1)


def _block_before(reader: Reader, head: LogHead, position: int) -> int:
    """Give where the last block of the index begins that a position is in, or the index ends; 0 without an index."""
    if head.index_version != INDEX_VERSION:
        return 0
    return head.indexed if position >= head.indexed else reader.block_of(position) or 0


def _fold_objects(reader: Reader, state: State, stop: int) -> None:
    """Fold the events from the state's position up to `stop` that change anything but the ledger."""
    positions = _changes(reader, state, stop)
    for at in range(0, len(positions), _STEP):
        for stored in reversed(list(reader.read_at(positions[at : at + _STEP]))):
            state.position = stored.seq
            state.apply(read_event(stored))
    state.position = stop
    state.time = event_at(reader, stop - 1).time


def _changes(reader: Reader, state: State, stop: int) -> list[int]:
    """Give the positions of the events that still tell at `stop`, oldest first.

    Of an object's versions that is the last. Of the commits with one outcome it is the last, and those that moved
    objects, which have marks of paths; but all of them as soon as pushes are remembered, until their commits come.
    """
    seen: dict[tuple[str, str], list[int]] = defaultdict(list)
    for block, kind, value, offsets in reader.changes(state.position, stop, _PASSED_OVER):
        found = [block + offset for offset in unpack(offsets)]
        seen[kind, "" if kind == "path" else value] += [seq for seq in found if state.position <= seq < stop]
    moving, pushes = set(seen.pop(("path", ""), ())), state.pushes or seen[_PUSHED]
    positions: set[int] = set()
    for (kind, value), found in seen.items():
        if kind == "version":
            positions.update(found[-1:])
        elif value in _COMMITS and not pushes:
            positions.update(found[-1:], moving.intersection(found))
        else:
            positions.update(found)
    return sorted(positions)


def _accounts(reader: Reader, block: int) -> dict[str, Account]:
    """Give, by binding, the account where a block begins, for all that have one in an earlier block."""
    missing = {name for kind, name in reader.rows() if kind == "account"}  # an account that is opened stays for ever
    found: dict[str, Account] = {}
    for name, account in reader.accounts_back(block):
        if name in missing:
            found[name] = read_account(account)
            missing.discard(name)
            if not missing:
                break
    return found


def _fold_rest(reader: Reader, state: State, position: int, known: Mapping[str, Reservation]) -> None:
    """Fold all events up to `position`; reservations that were made before them are looked up when they end.

    `known` are those that were open at a position where the index has all that came after.
    """
    opened = state.ledger.open
    for chunk in reader.chunks(state.position, position):
        parts = (chunk[at : at + _PART] for at in range(0, len(chunk), _PART))
        for event in chain.from_iterable(checked(part, state.position) for part in parts):
            payload = event.payload
            if isinstance(payload, _OUTCOMES) and payload.request not in opened:
                _reopen(reader, state, payload.request, known.get(payload.request))
            state.apply(event)


def _reopen(reader: Reader, state: State, request: str, known: Reservation | None) -> None:
    """Put back the reservation of a request that is open at the state's position, if there is one; else `known`."""
    for seq in reader.requests(request):
        if seq >= state.position:
            continue
        event = event_at(reader, seq)
        payload = event.payload
        if isinstance(payload, _OUTCOMES):
            return
        if isinstance(payload, ev.TokensReserved):
            model = event.subject.partition("/")[2]
            state.ledger.open[request] = Reservation(model, payload.agent, payload.day, payload.tokens, seq)
            return
    if known is not None:
        state.ledger.open[request] = known
