"""How many connections each provider takes, so that none takes those of the others: one may answer nobody for minutes.

Pure but for the futures of those who wait. Invariants
- A provider has at most `each` connections, and never more than are free when it takes another: alone it gets all of
  `each`, two that take what they can have a third of twice that, and a provider that has none gets one.
- Who waits for one provider keeps nobody waiting for another.
- What was taken is given back exactly once, also by those who gave up waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Hashable


class Slots:
    """Counts connections by provider. For one loop."""

    def __init__(self, each: int) -> None:
        """Let one provider have at most `each`, and all together twice as many."""
        self._each = each
        self._free = 2 * each
        self._taken: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def short(self, provider: Hashable) -> bool:
        """Tell whether a provider gets no further one now."""
        return provider in self._waiting or not self._may(provider)

    def full(self, provider: Hashable) -> bool:
        """Tell whether a provider has all that one may have, whatever the others give back."""
        return self._taken[provider] >= self._each

    async def take(self, provider: Hashable) -> None:
        """Take one, or wait for it."""
        if not self.short(provider):
            self._take(provider)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(provider, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._let_in()  # which forgets it
            else:
                self.give(provider)
            raise

    def give(self, provider: Hashable) -> None:
        """Give one back."""
        self._free += 1
        self._taken[provider] -= 1
        if not self._taken[provider]:
            del self._taken[provider]
        if self._waiting:
            self._let_in()

    def _may(self, provider: Hashable) -> bool:
        return self._taken[provider] < min(self._each, self._free)

    def _take(self, provider: Hashable) -> None:
        self._free -= 1
        self._taken[provider] += 1

    def _let_in(self) -> None:
        """Let in who may have one now, in turn."""
        for provider, waiting in list(self._waiting.items()):
            while waiting and (waiting[0].done() or self._may(provider)):
                turn = waiting.popleft()
                if not turn.done():  # it did not give up
                    self._take(provider)
                    turn.set_result(None)
            if not waiting:
                del self._waiting[provider]
