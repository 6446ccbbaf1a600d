"""Where an index of a text is, by the lines and columns that people count, whatever a parser takes for a line."""

from __future__ import annotations

import re
from bisect import bisect_right

_ODD_BREAKS = re.compile("\r(?!\n)|\ufeff")


class Lines:
    """Where an index of a text is, by the lines that people count."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, index: int) -> tuple[int, int]:
        """Give line and column of the character at `index`."""
        line = bisect_right(self._starts, index)
        start = self._starts[line - 1]
        column = index - start + 1
        if column > 1 and self._text[start] == "\ufeff":
            column -= 1
        return line, column


def has_odd_breaks(text: str) -> bool:
    """Tell whether YAML's lines may be others, or a byte order mark stands somewhere."""
    return ("\r" in text or not text.isascii()) and _ODD_BREAKS.search(text) is not None
