"""What the verbs about the versions of one object share: `pai history` and `pai blame`."""

from __future__ import annotations

import argparse

from reconciler.cli.beginning import tell_pruned
from reconciler.core.errors import NotFound
from reconciler.log.store import Reader


def about_object(parser: argparse.ArgumentParser) -> None:
    """Declare which object is meant, and how it is shown."""
    parser.add_argument("kind", choices=("model", "agent"), metavar="model|agent")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")


def not_on_the_log(log: Reader, kind: str, name: str) -> NotFound:
    """Make the error that an object is not in force, or never was; its hint is the nearest name."""
    from reconciler.audit import versions
    from reconciler.log.replay import projected
    from reconciler.views import not_found

    if kind in ("model", "agent") and next(versions(log, "model" if kind == "model" else "agent", name), None):
        return NotFound(f"{kind} {name} is not in force any more", f"pai history {kind} {name} shows what it was")
    tell_pruned(log)
    state = projected(log)
    return not_found(kind, name, state.models if kind == "model" else state.agents)
