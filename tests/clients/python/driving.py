"""Runs the cells of one client and prints what came of each as a line of JSON: `said`, or `failed` and its trace.

Called as `drive_CLIENT.py KIND BINDING SPENT`: the cells are run on BINDING, the plain one also on SPENT. All run in
one event loop, since clients keep connections that belong to one.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import traceback
from collections.abc import Awaitable, Callable

Cell = Callable[[str], str | Awaitable[str]]
KIND = sys.argv[1]
PIECES_MIN = 3


async def _try(cell: Cell, binding: str) -> dict[str, str]:
    try:
        said = cell(binding)
        return {"said": await said if inspect.isawaitable(said) else said}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def drive(plain: Cell, tools: Cell, stream: Cell) -> None:
    """Run all cells and print what came of them."""
    _, _, binding, spent = sys.argv
    cells = {"plain": (plain, binding), "tools": (tools, binding), "stream": (stream, binding), "spent": (plain, spent)}

    async def run() -> dict[str, dict[str, str]]:
        return {name: await _try(cell, at) for name, (cell, at) in cells.items()}

    sys.stdout.write(f"\n{json.dumps(asyncio.run(run()))}\n")


def joined(pieces: list[str]) -> str:
    """Give the text of a stream, which has to come in pieces."""
    assert len(pieces) >= PIECES_MIN, pieces
    return "".join(pieces)


def look(at: str) -> str:
    """Look at something."""
    return f"the {at} is calm"
