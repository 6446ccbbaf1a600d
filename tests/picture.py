"""The picture of the rooms in docs/ARCHITECTURE.md, drawn from the imports: `python -m tests.picture` prints it.

An arrow is drawn from a room to one that it imports, unless the way leads over a room between them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import grimp

Imports = Mapping[str, frozenset[str]]


def imports() -> dict[str, frozenset[str]]:
    """Give which rooms each room imports."""
    graph = grimp.build_graph("reconciler")
    rooms = sorted(module.removeprefix("reconciler.") for module in graph.find_children("reconciler"))
    for room in rooms:
        if graph.find_children(f"reconciler.{room}"):
            graph.squash_module(f"reconciler.{room}")
    return {
        room: frozenset(
            found.removeprefix("reconciler.")
            for found in graph.find_modules_directly_imported_by(f"reconciler.{room}")
            if found not in ("reconciler", f"reconciler.{room}")
        )
        for room in rooms
    }


def below(of: Imports, room: str) -> frozenset[str]:
    """Give all rooms that a room imports, at whatever distance."""
    return of[room].union(*(below(of, other) for other in of[room]))


def drawn(of: Imports) -> str:
    """Draw rooms and arrows for Mermaid."""
    lines = ["flowchart TD"]
    for room, imported in sorted(of.items()):
        farther = frozenset[str]().union(*(below(of, other) for other in imported))
        lines += [f"    {room} --> {other}" for other in sorted(imported - farther)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(drawn(imports()))
