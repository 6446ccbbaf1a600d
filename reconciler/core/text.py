"""Values and free text as people read them, on one line. Escaping for a terminal or for markup is the caller's."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

COMPARED_MAX = 200
"""The most words that an unknown one is compared with; a comparison takes up to a tenth of a millisecond."""
COMPARED_CHARACTERS_MAX = 100
_ENDS = 2

TEXT_MAX = 80
"""The most characters that a line shows of a message, a value, a list of names or an actor."""


def cut(text: str, most: int = TEXT_MAX) -> str:
    """Shorten free text to what a line has room for, with `…` where it was cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def counted(number: int, what: str) -> str:
    """Say how many of something there are, whose plural ends in s."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def alike(word: str, known: Collection[str]) -> list[str]:
    """Give the known words to compare a misspelled one with: all, or if they are many, some that begin or end alike."""
    if len(known) <= COMPARED_MAX:
        return [each for each in known if len(each) <= COMPARED_CHARACTERS_MAX]
    first, last = word[:_ENDS], word[-_ENDS:]
    near = (e for e in known if (e.startswith(first) or e.endswith(last)) and len(e) <= COMPARED_CHARACTERS_MAX)
    return list(islice(near, COMPARED_MAX))


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Give the known word that a misspelled one is most like, "" if none is so much like it (0 to 1)."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), 1, likeness)), "")


def value_text(value: object) -> str:
    """Write a manifest's value for people: thousands separators, JSON's own words, collections as YAML's flow style."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {value_text(item)}" for key, item in value.items()) + "}"
    return str(value)
