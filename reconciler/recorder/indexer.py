"""Committed events on their way into the index, in steps so small that whoever records meanwhile hardly waits.

The index may be behind the log: events after it are read by whoever searches (`log.index`). So what a decision of very
many events adds to it is written after the answer, a step between two commits, and in several blocks. A block ends
where the accounts are known: at the end of a batch, and anywhere in a batch that changes none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from reconciler.core.budget import Account
from reconciler.core.events import Event
from reconciler.core.state import changes_accounts
from reconciler.log.index import BLOCK_EVENTS
from reconciler.log.reindexing import open_block
from reconciler.log.store import Store

STEP_EVENTS: Final = 512
"""Events of one step, and of a block that ends within a batch: some 20 ms where each is about an object of its own."""


class _Part(NamedTuple):
    """Events of one batch, which are in no block yet, and the accounts after it if a block ends with it."""

    events: Sequence[Event]
    accounts: Mapping[str, Account] | None
    divisible: bool


class Indexer:
    """Gathers what was committed, and seals block after block."""

    def __init__(self, store: Store, size: int = BLOCK_EVENTS, accounts: Mapping[str, Account] | None = None) -> None:
        """Go on where the index of `store` ends; `accounts` are those at the end of the log. Raises LogDamaged."""
        self._store = store
        self._size = size
        self._block = open_block(store, size)
        self._parts: deque[_Part] = deque()
        if accounts is not None and self._block.full():  # left by a program that was killed
            self._store.save_block(self._block.seal(accounts))
        self._stop = self._block.first  # of the last block that was sealed or is going to be

    def due(self, position: int) -> bool:
        """Tell whether a block ends with the batch that ends at a position."""
        return position - self._stop >= self._size

    def end(self, position: int) -> None:
        """Let a block end there: the batch that ends there is going to be added with its accounts."""
        self._stop = position

    @property
    def behind(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._parts)

    def add(self, events: Sequence[Event], accounts: Mapping[str, Account] | None) -> None:
        """Take a committed batch; `accounts` are those after it, if a block ends with it. A small one is done at once.

        Raises LogNotWritable.
        """
        if self._parts or len(events) > STEP_EVENTS:
            divisible = accounts is not None and len(events) > STEP_EVENTS and not any(map(changes_accounts, events))
            self._parts.append(_Part(events, accounts, divisible))
            return
        self._block.extend(events)
        if accounts is not None:
            self._seal(accounts)

    def step(self) -> None:
        """Do a little of what is left. Raises LogNotWritable."""
        events, accounts, divisible = self._parts.popleft()
        self._block.extend(islice(events, STEP_EVENTS))
        if len(events) > STEP_EVENTS:
            self._parts.appendleft(_Part(events[STEP_EVENTS:], accounts, divisible))
            if divisible and accounts is not None:
                self._seal(accounts)
        elif accounts is not None:
            self._seal(accounts)

    def _seal(self, accounts: Mapping[str, Account]) -> None:
        self._store.save_block(self._block.seal(accounts))
