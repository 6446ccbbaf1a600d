"""What reading verbs share: the state from the log, now or as it was, without its lock and without git."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from reconciler.audit.in_force import InForce, Wanted
from reconciler.audit.reading import Reading
from reconciler.audit.terms import Query
from reconciler.audit.views import Missing
from reconciler.cli.output import note
from reconciler.core.diagnostics import printable
from reconciler.core.errors import NotFound, PaiError
from reconciler.core.state import State
from reconciler.log.replay import projected
from reconciler.operations.asking import ask, ask_daemon
from reconciler.operations.orders import Ping
from reconciler.workspace import Workspace

DAY_S = 2.0
"""How long a command waits for the daemon's day."""


def read_state(workspace: Workspace) -> State:
    """Read the state that is in force. Raises LogDamaged and what else opening the log raises."""
    with contextlib.closing(workspace.log().reader()) as log:
        return projected(log)


@contextlib.contextmanager
def or_what_waits(workspace: Workspace) -> Iterator[None]:
    """Let what is not found be answered with a commit that waits, if there is one: what it brings is not there yet.

    Raises NotFound as it came, with another hint.
    """
    try:
        yield
    except NotFound as error:
        if waits := _waiting(workspace):
            raise NotFound(error.message, waits) from None
        raise


def _waiting(workspace: Workspace) -> str:
    from reconciler.operations.health import WAITS, standalone_health

    with contextlib.suppress(PaiError):
        if ask_daemon(workspace, Ping()) is None:
            reasons = standalone_health(workspace, read_state(workspace)).reasons
            return next((each for each in reasons if each.startswith(WAITS)), "")
    return ""


def at_option(parser: argparse.ArgumentParser) -> None:
    """Declare `--at WHEN`."""
    text = "as it was: a time, a date (its beginning, UTC), 7d (ago), #SEQ, or a commit (when it was accepted)"
    parser.add_argument("--at", metavar="WHEN", help=text)


@contextlib.contextmanager
def open_reading(workspace: Workspace) -> Iterator[Reading]:
    """Open what answers the verbs that read."""
    with contextlib.closing(workspace.log().reader()) as log:
        yield Reading(workspace, log, lambda: _today(workspace))


def objects(workspace: Workspace, wanted: Sequence[Wanted], at: str | None = None) -> InForce:
    """Give objects, now or at the moment WHEN that `at` names. Raises as `Reading` does."""
    try:
        with open_reading(workspace) as reading:
            return reading.objects(wanted, at)
    except Missing:
        with or_what_waits(workspace):
            raise


def tell_pruned(reading: Reading, query: Query | None = None) -> None:
    """Say that an answer lacks what was pruned, if it may. Raises NotFound if all that is asked for was."""
    begin = reading.beginning(query)
    if begin is not None:
        told = f"what was before was pruned on {begin.pruned[:10]}, to {begin.export}"
        note(printable(f"warning: the log begins at #{begin.position} ({begin.time}); {told}"))


def _today(workspace: Workspace) -> str:
    """Give the day that the running daemon counts on, whatever this machine's clock says; without one, the clock's."""
    with contextlib.suppress(PaiError):  # a daemon that is older, or has no time, is no reason to show nothing
        return ask(workspace, Ping(), timeout_s=DAY_S).day
    return datetime.now(UTC).date().isoformat()
