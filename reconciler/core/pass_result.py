"""What one pass of the reconciler found, as metrics, the log lines and commands tell it."""

from __future__ import annotations

import msgspec

from reconciler.core.diagnostics import Diagnostic
from reconciler.core.payloads import Counts
from reconciler.core.state import Outcome


class Result(msgspec.Struct, frozen=True):
    """What a pass found. `head` is "" for a repository without a commit; `counts` is None if nothing was accepted.

    `waits` says why an operator's order keeps the tip from being followed, "" if none does. `held` is the commit that
    was the branch's before a force-push that is held, else "".
    """

    head: str
    outcome: Outcome | None
    revision: str
    diagnostics: tuple[Diagnostic, ...] = ()
    counts: Counts | None = None
    commits: int = 0
    waits: str = ""
    held: str = ""
