"""What an attack saw, and the loop that attacks are: again and again, on several connections, until the time is up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple


class Told(NamedTuple):
    """What came of an attack; `wrong` counts what must not happen whatever it takes: what got through."""

    text: str
    wrong: int = 0


Seen = Counter[str]
"""How often an attack saw what. What got through begins with `WRONG`."""
WRONG = "WRONG: "


def told(seen: Seen) -> Told:
    """Put into words what was seen."""
    wrong = sum(count for what, count in seen.items() if what.startswith(WRONG))
    return Told(", ".join(f"{count:,} {' '.join(what.split())}" for what, count in seen.most_common(6)), wrong)


PAUSE_S = 0.1
"""What is measured is what one attempt costs, not how many a machine can make."""


def again(seconds: float, at_once: int, once: Callable[[float, Seen], None], pause_s: float = PAUSE_S) -> Told:
    """Call `once` again and again, `at_once` at a time, with the time when to stop. An OSError is counted too."""
    seen: Seen = Counter()
    deadline = time.monotonic() + seconds

    def go_on() -> None:
        while time.monotonic() < deadline:
            try:
                once(deadline, seen)
            except OSError as error:
                seen[type(error).__name__] += 1
            time.sleep(pause_s)

    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 20)
    return told(seen)
