"""What reading verbs share: the state from the log, now or as it was, without its lock and without git."""

from __future__ import annotations

import argparse
import contextlib

from reconciler.audit.terms import Query
from reconciler.cli.output import note
from reconciler.core.diagnostics import printable
from reconciler.core.errors import NotFound
from reconciler.core.state import State
from reconciler.daemon.reading import view_of
from reconciler.log.pruned import dropped, prunings
from reconciler.log.replay import event_at, projected
from reconciler.log.sqlite import open_reader
from reconciler.log.store import Reader
from reconciler.views import View
from reconciler.workspace import Workspace


def read_state(workspace: Workspace) -> State:
    """Read the state that is in force. Raises LogDamaged and what else opening the log raises."""
    with contextlib.closing(open_reader(workspace.database)) as log:
        return projected(log)


def at_option(parser: argparse.ArgumentParser) -> None:
    """Declare `--at WHEN`."""
    text = "as it was: a time, a date (its beginning, UTC), 7d (ago), #SEQ, or a commit (when it was accepted)"
    parser.add_argument("--at", metavar="WHEN", help=text)


def read_view(workspace: Workspace, at: str | None = None) -> View:
    """Read the state as people see it, at the moment WHEN that `at` names if it is given."""
    with contextlib.closing(open_reader(workspace.database)) as log:
        return view_of(workspace, log, at)


def tell_pruned(log: Reader, query: Query | None = None) -> None:
    """Say that an answer lacks what was pruned, if it may. Raises NotFound if all that is asked for was."""
    first = log.first()
    if not first:
        return
    begins = event_at(log, first).time
    if query is not None and query.until and query.until <= begins:
        raise dropped(log, first - 1, f"what was before {query.until}")
    if query is None or query.since < begins:
        cut = next(prunings(log))
        told = f"what was before was pruned on {cut.event.time[:10]}, to {cut.payload.export}"
        note(printable(f"warning: the log begins at #{first} ({begins}); {told}"))


def not_on_the_log(log: Reader, kind: str, name: str) -> NotFound:
    """Make the error that an object is not in force, or never was; its hint is the nearest name."""
    from reconciler.audit import versions
    from reconciler.views import not_found

    if kind in ("model", "agent") and next(versions(log, "model" if kind == "model" else "agent", name), None):
        return NotFound(f"{kind} {name} is not in force any more", f"pai history {kind} {name} shows what it was")
    tell_pruned(log)
    state = projected(log)
    return not_found(kind, name, state.models if kind == "model" else state.agents)
