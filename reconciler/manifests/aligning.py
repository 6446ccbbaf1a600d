"""Which item of a list becomes which of another list, so that little has to be written anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import SequenceMatcher


def aligned(old: list[object], new: list[object]) -> Iterator[tuple[int | None, object]]:
    """Yield each new item with the place of the old one that becomes it, None for one that is added.

    Equal items stay what they are, then items of one name, then those that stand at one place between these.
    """
    texts = [json.dumps(value, sort_keys=True) for value in old], [json.dumps(value, sort_keys=True) for value in new]
    for tag, i, stop_i, j, stop_j in _differences(*texts):
        if tag == "replace":
            names = [_named(value, f"old {n}") for n, value in enumerate(old[i:stop_i])]
            others = [_named(value, f"new {n}") for n, value in enumerate(new[j:stop_j])]
            for _, a, stop_a, b, stop_b in SequenceMatcher(None, names, others, autojunk=False).get_opcodes():
                for step in range(b, stop_b):
                    place = a + step - b
                    yield (i + place if place < stop_a else None), new[j + step]
        else:
            for step in range(j, stop_j):
                yield (i + step - j if tag == "equal" else None), new[step]


def _differences(old: list[str], new: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield the steps from one list to the other; what is equal at both ends is taken for itself first."""
    least = min(len(old), len(new))
    head = next((n for n in range(least) if old[n] != new[n]), least)
    tail = next((n for n in range(least - head) if old[-1 - n] != new[-1 - n]), least - head)
    yield "equal", 0, head, 0, head
    middle = SequenceMatcher(None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=False)
    for tag, *places in middle.get_opcodes():
        i, stop_i, j, stop_j = (head + place for place in places)
        yield tag, i, stop_i, j, stop_j
    yield "equal", len(old) - tail, len(old), len(new) - tail, len(new)


def _named(value: object, otherwise: str) -> tuple[str, str]:
    name = value.get("name") if isinstance(value, dict) else None
    return ("name", name) if isinstance(name, str) else ("place", otherwise)
