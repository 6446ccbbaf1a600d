"""The problems that checking a log finds, and the order in which they are reported. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from reconciler.core.errors import PaiError

PROBLEMS_MAX: Final = 100


MADE_ANEW: Final = "the next start makes it anew"
"""How a problem's message ends that is about derived data alone; another version of Pai may have made those."""


class LogProblem(NamedTuple):
    """Something that does not fit; `position` is the event's, None if it concerns no single one."""

    position: int | None
    message: str


def gather(problems: Iterator[LogProblem]) -> list[LogProblem]:
    """Give the first PROBLEMS_MAX problems; an error that ends the check becomes the last of them."""
    found: list[LogProblem] = []
    try:
        found.extend(islice(problems, PROBLEMS_MAX))
    except PaiError as error:
        found.append(LogProblem(None, error.message))
    return found


def ranked(problems: Iterable[LogProblem]) -> list[LogProblem]:
    """Put the problems of single events first, each part in the order they came. At most PROBLEMS_MAX.

    That is the log's order, except where an event shows that an earlier one stands at a wrong position.
    """
    return sorted(problems, key=lambda problem: problem.position is None)[:PROBLEMS_MAX]


def cut(position: int, stops: Iterable[int | None], most: int) -> int:
    """Give how many of the next `most` events reach the first of `stops` beyond a position, else `most`."""
    return min([most, *(stop - position for stop in stops if stop is not None and stop > position)])
