"""How a command gets something done in a workspace: through the running daemon, or by opening the workspace itself.

Both ways run the same `Operations`, so the user sees no difference.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from reconciler.control.server import NoDaemon
from reconciler.control.server import call as call_daemon
from reconciler.core.errors import LogBusy
from reconciler.core.state import State
from reconciler.workspace import Workspace

if TYPE_CHECKING:
    from reconciler.core.health import Health
    from reconciler.operations.parts import Parts

WAIT_S = 30.0
"""How long a command waits for another command that holds the log."""
TIMEOUT_S = 120.0
"""How long a command waits for the daemon's answer."""

Answer = dict[str, object]


class Session(Protocol):
    """Carries out verbs of `Operations`."""

    def call(self, verb: str, arguments: dict[str, object]) -> Answer:
        """Carry out a verb; raises what it raises, wherever it ran."""
        ...


class _Daemon:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def call(self, verb: str, arguments: dict[str, object]) -> Answer:
        try:
            return call_daemon(self._workspace.socket, verb, arguments, TIMEOUT_S, self._workspace.keeper)
        except NoDaemon:  # it stopped since it was asked last, and the request was not sent
            with session(self._workspace) as other:
                return other.call(verb, arguments)


@contextmanager
def session(workspace: Workspace) -> Iterator[Session]:
    """Open a session: with the daemon if one answers, else with the workspace's parts.

    While another command holds the log, both ways are tried until `WAIT_S` is over; then LogBusy is raised.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        if ask_daemon(workspace, "ping") is not None:
            yield _Daemon(workspace)
            return
        from reconciler.operations.parts import Parts  # only a command without a daemon pays for these imports

        try:
            parts = Parts(workspace, wait_s=0.2)
        except LogBusy:
            if time.monotonic() >= deadline:
                raise
            continue
        with parts:
            yield _alone(parts)
        return


def _alone(parts: Parts) -> Session:
    from reconciler.operations.handlers import Operations
    from reconciler.operations.health import standalone_health

    def health() -> Health:
        return standalone_health(parts.workspace, parts.recorder.read(State.freeze))

    return Operations(parts, parts.look, health, addresses={})


def ask_daemon(workspace: Workspace, verb: str) -> Answer | None:
    """Give the running daemon's answer to a verb without arguments, None if no daemon runs."""
    try:
        return call_daemon(workspace.socket, verb, {}, TIMEOUT_S, workspace.keeper)
    except NoDaemon:
        return None
