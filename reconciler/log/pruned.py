"""What a pruned log begins with: the state, the tree and the events that stand for what was dropped.

A log may have been cut (`pai prune`): events before a position that is a whole number of tiles were exported and
dropped. What is left is the *base*, the state and the Merkle frontier there; the hashes of all complete subtrees; and
*kept* events, those on which stands what is in force, each with the eight hashes that lead to its tile's root. An event
on the log says so, and where the others are: `log.pruned.v1`. Proofs, roots and consistency from the base on need no
more (C2SP tlog-tiles calls its position the minimum index). Reads only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from reconciler.core.budget import Account
from reconciler.core.errors import LogDamaged, NotFound
from reconciler.core.events import Event, LogPruned, decode
from reconciler.core.state import FOLD_VERSION, State, load
from reconciler.log.store import Base, Kept, Reader
from reconciler.tlog.merkle import TILE_HEIGHT, TILE_WIDTH, Frontier, leaf_hash, node_hash

_HINT: Final = "run `pai verify` to see all that is wrong, and restore the file from a backup"


class Pruning(NamedTuple):
    """One cut: the event that says so, and its position."""

    position: int
    event: Event
    payload: LogPruned


def start(reader: Reader) -> tuple[State, Frontier]:
    """Give the state and the frontier that a replay begins with: of nothing, or of a pruned log's base.

    Raises LogDamaged if the base is not whole.
    """
    base = reader.base()
    return (State(), Frontier()) if base is None else load_base(base)


def load_base(base: Base) -> tuple[State, Frontier]:
    """Read a base, whichever version of Pai wrote it. Raises LogDamaged."""
    if base.fold > FOLD_VERSION:
        said = f"the state at position {base.position}, where the log begins, is of version {base.fold}"
        raise LogDamaged(f"{said}, and this program reads up to {FOLD_VERSION}", "use the newer Pai that has pruned it")
    try:
        if base.digest != hashlib.sha256(base.data).hexdigest():
            raise ValueError("it does not match its digest")
        state = load(base.data)
        if state.position != base.position:
            raise ValueError(f"it is the state at position {state.position}")
        return state, Frontier.unpack(base.position, base.peaks)
    except ValueError as error:
        raise LogDamaged(f"the state at position {base.position}, where the log begins: {error}", _HINT) from error


def account_at_base(reader: Reader, model: str) -> Account | None:
    """Give a binding's account where the log begins, None if it had none."""
    state, _ = start(reader)
    return state.ledger.accounts.get(model)


def prunings(reader: Reader) -> Iterator[Pruning]:
    """Give the cuts of the log, newest first. Raises LogDamaged if one is not told by an event."""
    base = reader.base()
    position = None if base is None else base.event
    while position is not None:
        found = pruning_at(reader, position)
        yield found
        if found.payload.previous is not None and found.payload.previous >= position:
            raise LogDamaged(f"the event at position {position} tells of a cut after it", _HINT)
        position = found.payload.previous


def pruning_at(reader: Reader, position: int) -> Pruning:
    """Read the event that tells of a cut. Raises LogDamaged if it is none."""
    for stored in reader.read(position, position + 1):
        try:
            event = decode(stored.body)
        except ValueError:
            break
        if leaf_hash(stored.body) == stored.leaf and isinstance(event.payload, LogPruned):
            return Pruning(position, event, event.payload)
    raise LogDamaged(f"the event at position {position} does not say that the log was pruned", _HINT)


def where(reader: Reader, position: int) -> Pruning | None:
    """Find the cut that dropped the event at a position, None if it was not dropped."""
    if position >= reader.first():
        return None
    return next((cut for cut in prunings(reader) if cut.payload.begin <= position < cut.payload.first), None)


def dropped(reader: Reader, position: int, what: str = "") -> NotFound:
    """Make the error that an event is not on the log any more; `what` names what was asked for, if not that event."""
    first, cut = reader.first(), where(reader, position)
    message = f"{what or f'position {position}'} is not on the log any more, which begins at #{first}"
    if cut is None:
        return NotFound(message, "pai log type:log.pruned says where the events before are")
    day, actor = cut.event.time[:10], cut.event.actor
    hint = f"events #{cut.payload.begin} to #{cut.payload.first - 1} were exported to {cut.payload.export}"
    return NotFound(f"{message}: pruned on {day} by {actor}", f"{hint}; pai verify reads it")


def kept_digest(kept: Iterable[Kept]) -> str:
    """Give the SHA-256, in hex, of the positions and leaf hashes of kept events, which must be in order."""
    found = hashlib.sha256()
    for each in kept:
        found.update(b"%d " % each.seq + each.leaf)
    return found.hexdigest()


def path_in_tile(leaves: Sequence[bytes], offset: int) -> bytes:
    """Give the hashes that lead from a leaf to the root of its full tile, the leaf's sibling first."""
    if len(leaves) != TILE_WIDTH:
        raise LogDamaged(f"a tile of the log has {len(leaves)} leaf hashes", _HINT)
    row, at, path = list(leaves), offset, []
    while len(row) > 1:
        path.append(row[at ^ 1])
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
        at >>= 1
    return b"".join(path)


def tile_root(kept: Kept) -> bytes:
    """Give the root of the tile that a kept event's path leads to."""
    at, found = kept.seq % TILE_WIDTH, kept.leaf
    for level in range(TILE_HEIGHT):
        step = kept.path[32 * level : 32 * level + 32]
        found = node_hash(step, found) if at >> level & 1 else node_hash(found, step)
    return found
