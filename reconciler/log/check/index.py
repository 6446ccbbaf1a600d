"""Checking the index of a log against what the events give, beside the replay that `check` makes.

Blocks, sums and the newest block of each value are made anew and compared as the replay passes; a block's end is where
the next one begins. Requests are compared as a whole, by a sum of hashes that differ from run to run, so that nobody
can prepare rows that make up for missing ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from reconciler.core.events import Event
from reconciler.core.state import State
from reconciler.log.index import INDEX_VERSION, SPANS, Block, BlockBuilder, Mark, SpentKey, added
from reconciler.log.problems import MADE_ANEW
from reconciler.log.store import LogHead, Reader

_MASK: Final = 2**64 - 1
_Marks = dict[tuple[str, str], tuple[int | None, Mark]]
_Sums = dict[SpentKey, list[int]]


class IndexCheck:
    """Follows a replay, event by event, and says where the stored index differs."""

    def __init__(self, reader: Reader, head: LogHead) -> None:
        index = reader.whole_index()
        first = reader.first()
        self._usable = head.index_version == INDEX_VERSION and 0 <= head.indexed <= head.size
        self._indexed = head.indexed if self._usable else first
        self._index = index
        self._builder = BlockBuilder(first)
        self._blocks = groupby(index.marks, lambda found: found[0])
        self._next = next(self._blocks, None) if self._usable else None
        self._stored = self._take()
        self._newest: dict[tuple[str, str], int] = {}
        self._requests = 0
        self._sums = [_SumsCheck(index.spent[span], span) for span in SPANS]

    @property
    def stop(self) -> int:
        """The position that the block being checked ends at, as the index has it; events are taken up to there."""
        return self._indexed if self._next is None else min(self._indexed, self._next[0])

    def take(self, events: Sequence[Event | None], state: State) -> Iterator[str]:
        """Take the next events (None for what cannot be read), up to `stop` at most, and the state after them."""
        builder = self._builder
        if builder.stop < self._indexed:
            builder.extend(events)
            if builder.stop == (self._indexed if self._next is None else self._next[0]):
                yield from self._compare(state)

    def end(self) -> Iterator[str]:
        """Compare what is known only when all events have been taken."""
        if not self._usable:
            yield f"the index is of another version or beyond the log; {MADE_ANEW}"
            return
        if self._next is not None or self._stored[1] or self._builder.first != self._indexed:
            yield f"the blocks of the index are not those of {self._indexed} events"
        if dict(self._index.newest) != self._newest:
            yield "the index does not name the newest blocks of all values"
        if sum(map(hash, self._index.requests)) & _MASK != self._requests:
            yield "the index of requests is not what the events give"
        for sums in self._sums:
            yield from sums.end()

    def _take(self) -> tuple[int, _Marks]:
        """Read the block that comes next in the table, and move on to the one after it."""
        if self._next is None:
            return -1, {}
        first, found = self._next
        marks = {(mark.kind, mark.value): (previous, mark) for _, previous, mark in found}
        self._next = next(self._blocks, None)
        return first, marks

    def _compare(self, state: State) -> Iterator[str]:
        block = self._builder.seal(state.ledger.accounts)
        self._requests = (self._requests + sum(map(hash, block.requests))) & _MASK
        wanted = {(m.kind, m.value): (self._newest.get((m.kind, m.value)), m) for m in block.marks}
        first, stored = self._stored
        if wanted != stored or first != block.first:
            differing = sorted(key for key in wanted.keys() | stored.keys() if wanted.get(key) != stored.get(key))
            which = " ".join(differing[0]) if differing else "where they begin"
            yield f"the index of events {block.first} to {block.stop - 1} is not what they give, as to {which}"
        self._newest.update(dict.fromkeys(wanted, block.first))
        self._stored = self._take()
        for sums in self._sums:
            yield from sums.add(block)


class _SumsCheck:
    """Compares the sums of one span, each period when the events have passed it."""

    def __init__(self, stored: Iterator[tuple[SpentKey, list[int]]], span: str) -> None:
        self._stored = groupby(stored, lambda found: found[0][1])
        self._span = span
        self._periods: dict[str, _Sums] = {}

    def add(self, block: Block) -> Iterator[str]:
        periods, span = self._periods, self._span
        for key, figures in block.spent.items():
            if key[0] == span:
                sums = periods.get(key[1])
                if sums is None:
                    sums = periods[key[1]] = {}
                before = sums.get(key)
                sums[key] = figures if before is None else added(before, figures)
        for period in sorted(self._periods)[:-1]:
            yield from self._compare(period)

    def end(self) -> Iterator[str]:
        for period in sorted(self._periods):
            yield from self._compare(period)
        if (left := next(self._stored, None)) is not None:
            yield f"the sums of tokens spent hold the {self._span} {left[0]}, which the events do not give"

    def _compare(self, period: str) -> Iterator[str]:
        wanted = self._periods.pop(period)
        found = next(self._stored, None)
        if found is None or dict(found[1]) != wanted:
            yield f"the tokens spent in the {self._span} {period} are not what the events give"
