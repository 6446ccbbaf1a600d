"""Making the index of a store: going on where it ends, or anew when it is of another version.

Sealing needs the accounts at the end of a block. The recorder has them in its state; making the index anew folds the
whole log, from its base on if it was pruned.
"""

from __future__ import annotations

from reconciler.core.errors import LogDamaged
from reconciler.core.state import State
from reconciler.log import pruned
from reconciler.log.index import BLOCK_EVENTS, INDEX_VERSION, BlockBuilder
from reconciler.log.replay import checked
from reconciler.log.store import Store

BEHIND_MAX = 100_000
"""Events beyond a block that the index may lack: a decision of so many that was not followed by its sealing."""


def open_block(store: Store, size: int = BLOCK_EVENTS) -> BlockBuilder:
    """Give the block that the next event goes into, with the events that are in no sealed block yet.

    Makes the index anew if it is of another version, or further behind than a crash leaves it. Raises LogDamaged.
    """
    head = store.head()
    behind = head.size - head.indexed
    if head.index_version != INDEX_VERSION or head.indexed < store.first() or not 0 <= behind <= BEHIND_MAX + size:
        reindex(store, size)
        head = store.head()
    block = BlockBuilder(head.indexed, size)
    for chunk in store.chunks(head.indexed):
        block.extend(checked(chunk, block.stop))
    return block


def reindex(store: Store, size: int = BLOCK_EVENTS) -> State:
    """Make the whole index anew from the events, and give the state at their end. Raises LogDamaged."""
    store.clear_index(INDEX_VERSION)
    state, _ = pruned.start(store)
    block = BlockBuilder(state.position, size)
    stop = store.size()
    while state.position < stop:
        start = state.position
        for chunk in store.chunks(start, min(stop, start + size)):
            for event in checked(chunk, state.position):
                state.apply(event)
                block.add(event)
        if block.full():
            store.save_block(block.seal(state.ledger.accounts))
        elif state.position == start:
            raise LogDamaged(f"position {start} is missing", "run `pai verify`")
    return state
