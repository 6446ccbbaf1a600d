"""Rollback: is the log the one that was vouched for?

At a start, and before anything is published, the log is compared with the newest checkpoint on the config repository's
ref and with the workspace's own copy. A log that ends before one of them, or has another root at its size, is not that
log. Then nothing may be recorded until an operator accepts the log as it is, which is an event of its own
(`log.accepted.v1`) and excuses exactly what was published until then.

The comparison begins with stored hashes, which is quick; where these do not give what was vouched for, the stored bytes
decide. That all bytes fit the hashes is looked at by `pai verify`.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from reconciler.core.errors import LogDamaged, PaiError, SourceUnavailable
from reconciler.core.events import LogAccepted, decode
from reconciler.evidence import published
from reconciler.evidence.published import Claim
from reconciler.log import pruned
from reconciler.log.checkpoint import Checkpoint
from reconciler.log.merkle import TILE_WIDTH, Frontier
from reconciler.log.note import VerifierKey
from reconciler.log.sqlite import open_reader
from reconciler.log.store import Reader
from reconciler.log.tree import Tree, extend
from reconciler.workspace import Workspace

ROLLBACK = "rollback detected: "


class Finding(NamedTuple):
    """What a comparison found: `rollback` is "" or says what is contradicted, for people.

    `commit` and `copy` name what was looked at, also when an operator accepted it in spite of a contradiction; `last`
    is the workspace's own checkpoint if the log keeps it.
    """

    rollback: str
    commit: str
    copy: str
    last: Checkpoint | None


def examine(workspace: Workspace, key: VerifierKey) -> Finding:
    """Compare the log with the newest checkpoints; a repository that cannot be read is passed over."""
    remote: Claim | None = None
    with contextlib.suppress(SourceUnavailable):  # told when publishing fails; compared again before anything is
        remote = published.newest(workspace.local_repository(), key)
    local = published.own(workspace, key)
    claims = [claim for claim in (remote, local) if claim is not None]
    with contextlib.closing(open_reader(workspace.database)) as log:
        problems = compare(log, claims)
        open_problems = [why for claim, why in problems if not _is_excused(log, claim)] if problems else []
    kept = local is not None and not any(claim is local for claim, _ in problems)
    return Finding(
        ROLLBACK + open_problems[0] if open_problems else "",
        remote.commit if remote else "",
        local.digest if local else "",
        local.checkpoint if local and kept and not open_problems else None,
    )


def compare(log: Reader, claims: Iterable[Claim]) -> list[tuple[Claim, str]]:
    """Give the claims that the log does not keep, and why. Raises LogDamaged if bytes and hashes do not fit."""
    found = []
    with log.moment():
        end = log.head().size
        for claim in claims:
            if claim.checkpoint is None:
                found.append((claim, claim.problem))
            elif claim.checkpoint.size > end:
                size = claim.checkpoint.size
                found.append((claim, f"the log ends after {end:,} events, {claim.where} vouches for {size:,}"))
            elif not keeps(log, claim.checkpoint):
                size = claim.checkpoint.size
                found.append((claim, f"the first {size:,} events are not those that {claim.where} vouches for"))
    return found


def keeps(log: Reader, checkpoint: Checkpoint) -> bool:
    """Tell whether the log begins as the checkpoint says: by stored hashes, and if they say no, by the bytes.

    Of a pruned log, what lies before its beginning cannot be contradicted: `pai verify --with` compares that.
    """
    with contextlib.suppress(LogDamaged):
        if Tree(log).root(checkpoint.size) == checkpoint.root:
            return True
    _, frontier = pruned.start(log)
    if checkpoint.size < frontier.size:
        return checkpoint.size % TILE_WIDTH != 0
    extend(frontier, log, checkpoint.size)
    return frontier.root() == checkpoint.root


def acceptance(workspace: Workspace, finding: Finding) -> LogAccepted:
    """Give the event that accepts the log as it is now, in spite of what was found."""
    with contextlib.closing(open_reader(workspace.database)) as log, log.moment():
        head = log.head()
        size = head.size
        root = base64.b64encode(Frontier.unpack(size, head.peaks).root()).decode("ascii")
    return LogAccepted(size=size, root=root, reason=finding.rollback, commit=finding.commit, copy=finding.copy)


def accepted(log: Reader) -> list[LogAccepted]:
    """Give the acceptances on the log, newest first; it searches the whole log."""
    found = []
    for stored in log.read_back(contains=[b'"type":"log.accepted.v1"']):
        with contextlib.suppress(ValueError, PaiError):
            payload = decode(stored.body).payload
            if isinstance(payload, LogAccepted):
                found.append(payload)
    return found


def _is_excused(log: Reader, claim: Claim) -> bool:
    for payload in accepted(log):
        if claim.commit == payload.commit if claim.commit else claim.digest == payload.copy:
            return True
    return False
