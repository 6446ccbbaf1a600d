"""The verbs of an operator who steers the reconciling: pin, unpin, suspend, resume.

A pin needs nothing but the log: what the revision put in force is read back from there, so it works while the
repository is away, and does not wait for a pass that hangs on it. Each is recorded with who ordered it and why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.audit.moments import acceptance
from reconciler.core import steering
from reconciler.core.errors import PaiError, Refused, SourceUnavailable
from reconciler.core.pass_result import Result, RewriteAccepted
from reconciler.core.state import State
from reconciler.log.past import objects_at
from reconciler.operations.operation import Caller, Operation
from reconciler.operations.orders import Passed, Pin, Pinned, Resume, Steered, Suspend, Unpin, Unpinned
from reconciler.operations.parts import Parts

REASON_CHARACTERS_MAX = 1000


class Steering:
    """Answers the verbs; `reconcile` does a pass that begins after the call."""

    def __init__(self, parts: Parts, reconcile: Callable[[RewriteAccepted | None], Result]) -> None:
        self._parts = parts
        self._reconcile = reconcile
        self._branch = parts.workspace.settings.source_branch

    def handlers(self) -> Mapping[type[Operation[Any]], Callable[[Any, Caller], Any]]:
        """Give what answers each verb."""
        return {Pin: self._pin, Unpin: self._unpin, Suspend: self._suspend, Resume: self._resume}

    def _pin(self, order: Pin, caller: Caller) -> Pinned:
        with contextlib.closing(self._parts.workspace.log().reader()) as log:
            row = acceptance(log, order.revision)
            then = objects_at(log, row.seq + 1)
        commit = str(row.data["commit"])
        receipt = self._parts.recorder.record(
            lambda state: steering.pin(state, then, commit, row.seq, caller.name, _bounded(order.reason)),
        )
        return Pinned(bool(receipt.events), commit)

    def _unpin(self, order: Unpin, caller: Caller) -> Unpinned:
        """Bring back what was accepted last and follow the branch again, in one step."""
        reason = _bounded(order.reason)
        state = self._parts.recorder.read(State.freeze)
        if state.pin is None:
            raise Refused("no revision is pinned", "pai status says what is in force")
        with contextlib.closing(self._parts.workspace.log().reader()) as log:
            then = objects_at(log, state.accepted + 1)
        passed = _passed(
            lambda: self._parts.reconciler.run(
                first=lambda live: steering.unpin(live, then, then.revision, caller.name, reason)
            )
        )
        judged = self._parts.recorder.read(lambda live: live.head)
        with contextlib.suppress(PaiError):  # the loop shall know too, and fetch; what else is wrong, readiness tells
            later = _passed(lambda: self._reconcile(None))
            if later.problem or self._parts.recorder.read(lambda live: live.head) != judged:
                passed = later
        return Unpinned(passed.result, passed.problem, state.pin.commit)

    def _suspend(self, order: Suspend, caller: Caller) -> Steered:
        reason = _bounded(order.reason)
        receipt = self._parts.recorder.record(lambda state: steering.suspend(state, self._branch, caller.name, reason))
        return Steered(bool(receipt.events))

    def _resume(self, order: Resume, caller: Caller) -> Passed:
        reason = _bounded(order.reason)
        self._parts.recorder.record(lambda state: steering.resume(state, self._branch, caller.name, reason))
        return _passed(lambda: self._reconcile(None))


def _passed(run: Callable[[], Result]) -> Passed:
    """Give what a pass found; that it could not read the source is told, as what was ordered holds all the same."""
    try:
        return Passed(run(), "")
    except SourceUnavailable as error:
        return Passed(None, error.message)


def _bounded(reason: str) -> str:
    """Write a reason on one line, and not without end."""
    return " ".join(reason.split())[:REASON_CHARACTERS_MAX]
