"""What is kept beside the events so that starts and questions are quick: projection, index and snapshots.

All of it is derived. It may be behind the log, and catches up between commits, in small steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from reconciler.core.budget import Account
from reconciler.core.events import Event
from reconciler.core.state import FOLD_VERSION, State, dump
from reconciler.log.creation import projection_rows
from reconciler.log.store import Snapshot, Store
from reconciler.recorder.indexer import Indexer


class Due(NamedTuple):
    """What was taken from the state after a batch, for what is due then: a block of the index, a snapshot."""

    accounts: Mapping[str, Account] | None = None
    frozen: State | None = None


NOTHING_DUE: Final = Due()


class Housekeeper:
    """Keeps what is derived from one store, whose lock or turn its caller holds."""

    def __init__(self, store: Store, state: State, snapshot: int, *, snapshot_every: int, block_events: int) -> None:
        """Go on from `state`, which is that of the log's end; `snapshot` is the position of the newest good one.

        `snapshot_every`: events between snapshots. `block_events`: of a block of the index. Raises LogDamaged,
        LogNotWritable.
        """
        self._store = store
        self._snapshot_every = snapshot_every
        self._frozen_at = snapshot
        self._frozen: tuple[State, bytes] | None = None  # to be saved, with its frontier
        self._indexer = Indexer(store, block_events, state.ledger.accounts)
        head = store.head()
        if head.projected != head.size or head.fold != FOLD_VERSION:
            store.project(projection_rows(state), FOLD_VERSION)
        store.plant()

    def is_due(self, position: int) -> bool:
        """Tell whether there is something to do, or something is going to be with a batch that ends at a position."""
        return self.behind or self._snapshot_due(position) or self._indexer.due(position)

    def take(self, state: State) -> Due:
        """Take from the state after a batch what `add` needs when the batch is committed."""
        accounts = frozen = None
        if self._indexer.due(state.position):
            self._indexer.end(state.position)
            accounts = dict(state.ledger.accounts)
        if self._snapshot_due(state.position):
            frozen, self._frozen_at = state.freeze(), state.position
        return Due(accounts, frozen) if accounts is not None or frozen is not None else NOTHING_DUE

    def add(self, events: Sequence[Event], due: Due) -> None:
        """Go on with a batch that was just committed. Raises LogNotWritable."""
        self._indexer.add(events, due.accounts)
        if due.frozen is not None:
            self._frozen = (due.frozen, self._peaks(due.frozen))

    @property
    def behind(self) -> bool:
        """Whether `step` has something to do."""
        return self._indexer.behind or self._frozen is not None

    def step(self) -> None:
        """Do a little of what is left: the next commit does not wait longer. Raises LogNotWritable."""
        if self._frozen is not None:
            (state, peaks), self._frozen = self._frozen, None
            self._save(state, peaks)
        else:
            self._indexer.step()

    def close(self, state: State) -> None:
        """Take a snapshot of the log's end if it spares a start much. Raises LogNotWritable."""
        if state.position - self._frozen_at >= max(1, self._snapshot_every // 10):
            self._save(state, self._peaks(state))

    def _snapshot_due(self, position: int) -> bool:
        return position - self._frozen_at >= self._snapshot_every

    def _peaks(self, state: State) -> bytes:
        """Give the frontier of the log, whose last event `state` must be the state after."""
        head = self._store.head()
        assert head.size == state.position
        return head.peaks

    def _save(self, state: State, peaks: bytes) -> None:
        self._store.save_snapshot(Snapshot.of(state.position, FOLD_VERSION, peaks, dump(state)))
