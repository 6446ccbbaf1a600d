"""The verbs of an operator who steers the reconciling: pin, unpin, suspend, resume.

A pin needs nothing but the log: what the revision put in force is read back from there, so it works while the
repository is away, and does not wait for a pass that hangs on it. Each is recorded with who ordered it and why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import msgspec

from reconciler.audit import acceptance, accepted_commit, objects_at
from reconciler.core import steering
from reconciler.core.errors import PaiError, Refused, SourceUnavailable
from reconciler.core.pass_result import Result
from reconciler.core.state import State
from reconciler.operations.parts import Parts

Answer = dict[str, object]
REASON_CHARACTERS_MAX = 1000


class Steering:
    """Answers the verbs; `reconcile` does a pass that begins after the call."""

    def __init__(self, parts: Parts, reconcile: Callable[[str], Result]) -> None:
        self._parts = parts
        self._reconcile = reconcile
        self._branch = parts.workspace.settings.source_branch

    def verbs(self) -> Mapping[str, Callable[[Mapping[str, object]], Answer]]:
        """Give the verbs by name."""
        return {"pin": self._pin, "unpin": self._unpin, "suspend": self._suspend, "resume": self._resume}

    def _pin(self, arguments: Mapping[str, object]) -> Answer:
        actor, reason = _order(arguments)
        with contextlib.closing(self._parts.workspace.log().reader()) as log:
            row = acceptance(log, str(arguments.get("revision", "")))
            then = objects_at(log, row.seq + 1)
        commit = str(row.data["commit"])
        receipt = self._parts.recorder.record(
            lambda state: steering.pin(state, then, commit, row.seq, actor, reason),
        )
        return {"commit": commit, "changed": bool(receipt.events)}

    def _unpin(self, arguments: Mapping[str, object]) -> Answer:
        """Bring back what was accepted last and follow the branch again, in one step."""
        actor, reason = _order(arguments)
        state = self._parts.recorder.read(State.freeze)
        if state.pin is None:
            raise Refused("no revision is pinned", "pai status says what is in force")
        with contextlib.closing(self._parts.workspace.log().reader()) as log:
            then, revision = objects_at(log, state.accepted + 1), accepted_commit(log, state)
        answer = _told(
            lambda: self._parts.reconciler.run(first=lambda live: steering.unpin(live, then, revision, actor, reason))
        )
        judged = self._parts.recorder.read(lambda live: live.head)
        with contextlib.suppress(PaiError):  # the loop shall know too, and fetch; what else is wrong, readiness tells
            later = _told(lambda: self._reconcile(""))
            if later["problem"] or self._parts.recorder.read(lambda live: live.head) != judged:
                answer = later
        return {"commit": state.pin.commit, **answer}

    def _suspend(self, arguments: Mapping[str, object]) -> Answer:
        actor, reason = _order(arguments)
        receipt = self._parts.recorder.record(lambda state: steering.suspend(state, self._branch, actor, reason))
        return {"changed": bool(receipt.events)}

    def _resume(self, arguments: Mapping[str, object]) -> Answer:
        actor, reason = _order(arguments)
        self._parts.recorder.record(lambda state: steering.resume(state, self._branch, actor, reason))
        return _told(lambda: self._reconcile(""))


def _told(run: Callable[[], Result]) -> Answer:
    """Give what a pass found; that it could not read the source is told, as what was ordered holds all the same."""
    try:
        result = run()
    except SourceUnavailable as error:
        return {"result": None, "problem": error.message}
    return {"result": msgspec.to_builtins(result), "problem": ""}


def _order(arguments: Mapping[str, object]) -> tuple[str, str]:
    """Give the actor and the reason, both bounded."""
    reason = " ".join(str(arguments.get("reason") or "").split())
    return str(arguments.get("actor") or "unknown"), reason[:REASON_CHARACTERS_MAX]
