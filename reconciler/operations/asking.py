"""Asks the running daemon a verb, over its control socket."""

from __future__ import annotations

import msgspec

from reconciler.control.client import NoAnswer, NoDaemon, call
from reconciler.core.errors import OutcomeUnknown
from reconciler.operations.operation import A, Operation
from reconciler.workspace import Workspace

TIMEOUT_S = 120.0
"""How long a command waits for the daemon's answer."""


def ask(workspace: Workspace, verb: Operation[A], actor: str = "", timeout_s: float = TIMEOUT_S) -> A:
    """Give the daemon's answer; `actor` is who works at the keyboard.

    Raises as `call`, and OutcomeUnknown if what came does not tell whether the verb was carried out.
    """
    arguments = msgspec.to_builtins(verb)
    try:
        told = call(workspace.socket, verb.word(), arguments, timeout_s, workspace.keeper, actor)
        try:
            return msgspec.convert(told, verb.answer())
        except msgspec.ValidationError:
            raise NoAnswer("the daemon's answer cannot be read", "is it another version? restart it") from None
    except NoAnswer as error:
        if verb.reads:
            raise
        raise OutcomeUnknown.because(error.message, error.hint) from None


def ask_daemon(workspace: Workspace, verb: Operation[A], timeout_s: float = TIMEOUT_S) -> A | None:
    """Give the daemon's answer, None if no daemon runs."""
    try:
        return ask(workspace, verb, timeout_s=timeout_s)
    except NoDaemon:
        return None
