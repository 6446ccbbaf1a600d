"""What was found in a body besides text, as the walk through it goes on."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from reconciler.gateway.judging.rules import Treatment

SHOWN_MAX: Final = 40
"""Characters of a name, a kind or a value that a refusal tells."""


class Found(msgspec.Struct):
    """What a body holds besides text; `unbounded` and `uncertain` as in `Needs`: of each the first that is found.

    `images`: all that may be looked at, `image_bytes`: of those that are nothing else to the provider than an image.
    `clients`: tools that bring a prompt of their own and that the client runs. `compacts`: the answer is the input made
    shorter. `rendered`: bytes by which definitions, schemas and arguments may grow, `unrolled`: schemas besides where
    their references are written out. `endless`: where they stand of which that does not show, tools or settings.
    `tiled`: what each image costs at Google's models, where that shows. `frames` and `closer`: by how much films and
    other media may be more there than is usual. `packed`: whether the texts at hand are (`packing.py`).
    """

    images: int = 0
    image_bytes: int = 0
    tools: bool = False
    clients: int = 0
    compacts: bool = False
    unbounded: str = ""
    uncertain: str = ""
    rendered: int = 0
    unrolled: int = 0
    endless: set[Treatment] = set()  # msgspec makes a new one for each
    tiled: list[int] = []
    frames: int = 1
    closer: int = 1
    packed: bool = False

    def refuse(self, what: str) -> None:
        """Take note of what nothing bounds."""
        self.unbounded = self.unbounded or self._worded(what)

    def count(self, what: str) -> None:
        """Take note of what the provider has to count."""
        self.uncertain = self.uncertain or self._worded(what)

    def _worded(self, what: str) -> str:
        """Give words with what may be a packed text in them, for people."""
        return what.encode("latin-1").decode(errors="ignore") if self.packed else what


def shown(value: Any) -> str:
    """Give the beginning of a text, or of a value's JSON, for a refusal; of a list or an object only that it is one."""
    if isinstance(value, dict | list):
        return "{...}" if isinstance(value, dict) else "[...]"
    return (value if isinstance(value, str) else msgspec.json.encode(value).decode())[:SHOWN_MAX]
