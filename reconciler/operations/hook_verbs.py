"""What the pre-receive hook asks."""

from __future__ import annotations

from reconciler.core.diagnostics import Shown
from reconciler.operations.operation import Done, Operation


class JudgePush(Operation[Shown], frozen=True, tag="judge"):
    """Judge a push that is under way, before git moves the ref.

    `repository` is the commit's git directory, `folders` are where git keeps the pushed objects. Raises TooLarge for
    what the hook judges better itself.
    """

    reads = True

    ref: str
    deleted: bool
    commit: str
    repository: str
    folders: list[str]


class AdmitPush(Operation[Done], frozen=True, tag="push.admit"):
    """Record a push that comes through the daemon's HTTP: its hook names it by the number that it was given."""

    push: str
    updates: list[tuple[str, str, str]]
