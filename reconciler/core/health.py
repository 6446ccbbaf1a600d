"""Whether a workspace can do its work, as pages, probes and commands are told."""

from __future__ import annotations

import msgspec


class Following(msgspec.Struct, frozen=True):
    """How following the remote goes: all times RFC 3339 or "". `problem` is "" while it goes well.

    `since` is the first failure in a row, `fetched` the last good fetch, `next` the next try.
    """

    remote: str
    problem: str
    since: str
    fetched: str
    next: str


class Health(msgspec.Struct, frozen=True):
    """Readiness as `/readyz` and `pai status` tell it. `reasons` may be given although ready.

    `source` says how following a remote goes, None for a repository on this machine.
    """

    ready: bool
    reasons: list[str]
    revision: str
    head: str
    source: Following | None = None
