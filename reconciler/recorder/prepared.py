"""The events of a decision, encoded and read back before it is decided, so that the recorder's lock is held shortly.

Only a time and ids are missing, which say what the order of events is and so are given under the lock. Both have one
length: they are put where others stood. The rest of the work for a revision that changes 20,000 objects, a quarter of a
second, keeps nobody waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Final

from reconciler.core.events import Draft, Event, decode, encode
from reconciler.core.state import RowKey, rows_touched
from reconciler.log.stamp import Stamper

_NO_ID: Final = "0" * 26
_NO_TIME: Final = "0000-00-00T00:00:00.000000Z"
# A quotation mark within a text is never bare, and only texts follow these two: the last one is the event's own.
_ID: Final = f'"id":"{_NO_ID}","subject":"'.encode()
_TIME: Final = f'"time":"{_NO_TIME}","type":"'.encode()


class Prepared:
    """Drafts that only lack what the recorder gives under its lock."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        """Encode each draft. Raises ValueError if one cannot be stored."""
        # The bytes before the id, between id and time, and after the time: lists of bytes cost no garbage collection.
        self._heads: list[bytes] = []
        self._middles: list[bytes] = []
        self._tails: list[bytes] = []
        self._events: list[Event] = []
        keys: set[RowKey] = set()
        for actor, subject, payload in drafts:
            body = encode(Event(actor, payload, _NO_ID, subject, _NO_TIME))
            event = decode(body)
            ident = body.rindex(_ID) + len(b'"id":"')
            time = body.rindex(_TIME) + len(b'"time":"')
            self._heads.append(body[:ident])
            self._middles.append(body[ident + len(_NO_ID) : time])
            self._tails.append(body[time + len(_NO_TIME) :])
            self._events.append(event)
            keys.update(rows_touched(event))
        self.keys = sorted(keys)
        """The rows of the projection that the events change, in the order of their table."""

    def stamped(self, stamper: Stamper) -> tuple[tuple[Event, ...], list[bytes]]:
        """Give the events and their bytes with a time and ids, which are what `decode` gives of these bytes."""
        now = stamper.now()
        ids = [stamper.next_id() for _ in self._events]
        time = repeat(now.encode())
        events = [
            type(event)(event.actor, event.payload, each, event.subject, now)
            for each, event in zip(ids, self._events, strict=True)
        ]
        bodies = zip(self._heads, map(str.encode, ids), self._middles, time, self._tails, strict=False)
        return tuple(events), list(map(b"".join, bodies))
