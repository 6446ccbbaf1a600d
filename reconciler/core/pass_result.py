"""What one pass of the reconciler found, as metrics, the log lines and commands tell it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from reconciler.core.diagnostics import Diagnostic
from reconciler.core.payloads import Counts
from reconciler.core.state import Outcome


class RewriteAccepted(NamedTuple):
    """An operator's order that a held tip comes into force: who gives it, and which commit was looked at.

    Another commit never comes into force by it, and none if `commit` is "".
    """

    by: str
    commit: str


class Result(msgspec.Struct, frozen=True):
    """What a pass found. `head` is "" for a repository without a commit; `counts` is None if nothing was accepted.

    `waits` says why an operator's order keeps the tip from being followed, "" if none does. `held` is the commit that
    was the branch's before a force-push that is held, else "". `meant` is the commit that an order to accept it meant,
    since that is not the branch's tip now; "" if none did.
    """

    head: str
    outcome: Outcome | None
    revision: str
    diagnostics: tuple[Diagnostic, ...] = ()
    counts: Counts | None = None
    commits: int = 0
    waits: str = ""
    held: str = ""
    meant: str = ""
