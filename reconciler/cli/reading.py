"""What reading verbs share: the state from the log, now or as it was, without its lock and without git."""

from __future__ import annotations

import argparse
import contextlib

from reconciler.core.state import State
from reconciler.daemon.reading import view_of
from reconciler.log.replay import projected
from reconciler.log.sqlite import open_reader
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
