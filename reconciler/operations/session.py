"""How a command gets something done in a workspace: through the running daemon, or by opening the workspace itself.

Both ways run the same `Operations`, so the user sees no difference.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reconciler.control.client import NoDaemon
from reconciler.core.errors import LogBusy, UsageError
from reconciler.core.state import State
from reconciler.operations.asking import ask, ask_daemon
from reconciler.operations.operation import A, Caller, Operation
from reconciler.operations.orders import Ping
from reconciler.workspace import Workspace

if TYPE_CHECKING:
    from reconciler.core.health import Health
    from reconciler.operations.parts import Parts

WAIT_S = 30.0
"""How long a command waits for another command that holds the log."""
ACTOR_CHARACTERS_MAX = 254
"""Of the name that each event has: as long as an address may be (RFC 5321, 4.5.3.1.3)."""


class Session:
    """Carries out verbs, as who opened it."""

    def __init__(self, carry_out: Callable[[Operation[Any]], Any]) -> None:
        self._carry_out = carry_out

    def call(self, verb: Operation[A]) -> A:
        """Carry out a verb; raises what it raises, wherever it ran."""
        answer: A = self._carry_out(verb)
        return answer


@contextmanager
def session(workspace: Workspace, actor: str = "") -> Iterator[Session]:
    """Open a session: with the daemon if one answers, else with the workspace's parts.

    `actor` is who works at the keyboard (`cli.actor`), for what is recorded. While another command holds the log, both
    ways are tried until `WAIT_S` is over; then LogBusy is raised.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        if ask_daemon(workspace, Ping()) is not None:
            yield Session(lambda verb: _by_daemon(workspace, verb, actor))
            return
        from reconciler.operations.parts import Parts  # only a command without a daemon pays for these imports

        try:
            parts = Parts(workspace, wait_s=0.2)
        except LogBusy:
            if time.monotonic() >= deadline:
                raise
            continue
        with parts:
            yield _alone(parts, actor)
        return


def _by_daemon(workspace: Workspace, verb: Operation[A], actor: str) -> A:
    try:
        return ask(workspace, verb, actor)
    except NoDaemon:  # it stopped since it was asked last, and the request was not sent
        with session(workspace, actor) as other:
            return other.call(verb)


def _alone(parts: Parts, actor: str) -> Session:
    from reconciler.operations.handlers import Operations
    from reconciler.operations.health import standalone_health

    def health() -> Health:
        return standalone_health(parts.workspace, parts.recorder.read(State.freeze))

    operations, caller = Operations(parts, parts.look, health, addresses={}), at_keyboard(actor, os.geteuid())
    return Session(lambda verb: operations.call(verb, caller))


def at_keyboard(actor: str, uid: int) -> Caller:
    """Give the caller who works as this user of the system, by the name that git has for them, else the system's.

    Raises UsageError for a name that is no line of text.
    """
    if len(actor) > ACTOR_CHARACTERS_MAX or not actor.isprintable():
        told = f"who works at the keyboard, {actor[:40]!r}, is no line of at most {ACTOR_CHARACTERS_MAX} characters"
        raise UsageError(told, "set it with: git config --global user.email you@example.com")
    if not actor:
        import pwd

        try:
            actor = pwd.getpwuid(uid).pw_name
        except KeyError:  # a user of a container, who has no name
            actor = str(uid)
    return Caller(actor, "operator", "")
