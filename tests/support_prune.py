"""A busy log to be pruned: pushes, keys, secrets and requests, one of which is open where the log is cut."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.core import events as ev
from reconciler.core.events import Draft
from reconciler.operations.parts import Parts
from reconciler.workspace import Workspace
from tests.support import Site, binding, copied
from tests.support_log import decide

CUT = 768
SPANNING = "req_00000000000000000000SPAN"
ROUNDS = 900
DAY = f"{datetime.now(UTC):%Y-%m-%d}"
"""The day of all requests: what is rehearsed are the last seven."""


def request(n: int) -> str:
    """Name a request."""
    return f"req_{n:026d}"


def reserved(position: int, name: str) -> Draft:
    """Give the reservation of a request on `flash`, whose binding was written at a position."""
    payload = ev.TokensReserved(
        request=name, agent="my-agent", key="key-a", surface="openai", day=DAY, tokens=150, input=100, output=50,
        binding=position,
    )  # fmt: skip
    return Draft("my-agent", "model/flash", payload)


def settled(name: str) -> Draft:
    """Give the settlement of a request."""
    payload = ev.TokensSettled(
        request=name, agent="my-agent", day=DAY, status=200, durations=ev.Durations(1, 2), reason="", input=5, cached=0,
        cache_write=0, output=5, reasoning=0, charged=10,
    )  # fmt: skip
    return Draft("my-agent", "model/flash", payload)


def _requests(parts: Parts, first: int, last: int) -> None:
    position = parts.recorder.read(lambda state: state.models["flash"].position)
    for n in range(first, last):
        parts.recorder.record(decide(reserved(position, request(n)), settled(request(n))))


def busy(template: Site, folder: Path) -> Site:
    """Make it: the budget of `flash` is changed at the beginning, and again after the cut."""
    site = copied(template, folder)
    clone = site.clone("pusher")
    clone.pushed({"models/flash.yaml": binding("flash", 900_000)}, "Less for flash")
    clone.pushed({"models/gone.yaml": binding("gone", 5)}, "A model for a day")
    site.pai("reconcile")
    clone.pushed({"models/gone.yaml": None}, "No model any more")
    site.pai("reconcile")
    site.pai("add", "key", "my-agent")
    workspace = Workspace.find(site.root)
    with Parts(workspace) as parts:
        _requests(parts, 0, 300)
        position = parts.recorder.read(lambda state: state.models["flash"].position)
        parts.recorder.record(decide(reserved(position, SPANNING)))
        _requests(parts, 300, 500)
        parts.recorder.record(decide(settled(SPANNING)))
    clone.pushed({"models/flash.yaml": binding("flash", 800_000)}, "Even less for flash")
    site.pai("reconcile")
    with Parts(workspace) as parts:
        _requests(parts, 500, ROUNDS)
    return site


def position_of(site: Site, *terms: str) -> int:
    """Give the position of the newest event that matches."""
    found: dict[str, Any] = site.rows(*terms)[-1]
    return int(found["seq"])
