"""What checking a log finds: problems, which are told first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from reconciler.core.errors import PaiError

PROBLEMS_MAX: Final = 100


MADE_ANEW: Final = "the next start makes it anew"
"""How a problem ends that is none of the events: another version of Pai, or another tool, made what is beside them."""


class LogProblem(NamedTuple):
    """Something that does not fit; `position` is the event's, None if it concerns no single one."""

    position: int | None
    message: str


def gather(problems: Iterator[LogProblem]) -> list[LogProblem]:
    """Give the first PROBLEMS_MAX problems; what keeps from going on is the last of them."""
    found: list[LogProblem] = []
    try:
        found.extend(islice(problems, PROBLEMS_MAX))
    except PaiError as error:
        found.append(LogProblem(None, error.message))
    return found


def ranked(problems: Iterable[LogProblem]) -> list[LogProblem]:
    """Put the problems of single events first, each part in the order they came. At most PROBLEMS_MAX.

    That order is the log's, but where an event shows that one before it stands at a wrong place.
    """
    return sorted(problems, key=lambda problem: problem.position is None)[:PROBLEMS_MAX]


def cut(position: int, stops: Iterable[int | None], most: int) -> int:
    """Give how many of the next `most` events reach the first of `stops` beyond a position, else `most`."""
    return min([most, *(stop - position for stop in stops if stop is not None and stop > position)])
