"""What the questions to a large log are about: requests, commits and positions picked from all over it."""

from __future__ import annotations

import random

from reconciler.audit.query import read_row
from reconciler.log.store import Reader

RESERVED, REFUSED = "tokens.reserved.v1", "request.refused.v1"


def requests(log: Reader, chance: random.Random, count: int, of: str = RESERVED) -> list[str]:
    """Pick requests that have an event of this type."""
    found: list[str] = []
    size = log.size()
    while len(found) < count:
        position = chance.randrange(size)
        rows = map(read_row, log.read(position, position + 1))
        found += [row.data["request"] for row in rows if row.type == of]
    return found


def commits(log: Reader, chance: random.Random, count: int) -> list[str]:
    """Pick commits that events are about."""
    known = log.marked("revision")
    return [chance.choice(known) for _ in range(count)]


def positions(log: Reader, chance: random.Random, count: int) -> list[int]:
    """Pick positions, but for the first twentieth of the log."""
    size = log.size()
    return [chance.randrange(size // 20, size) for _ in range(count)]
