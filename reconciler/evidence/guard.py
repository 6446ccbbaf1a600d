"""Rollback: is the log the one that was vouched for?

At a start, and before anything is published, the log is compared with its newest checkpoint on each of the config
repository's refs and with the workspace's own copy. A log that ends before one of them, or has another root at its
size, is not that log. Then nothing may be recorded until an operator accepts the log as it is, which is an event of its
own (`log.accepted.v1`) and excuses exactly what was published until then.

What the log's key did not sign says nothing about the log, whoever put it on a ref: that is a warning, no rollback.

The comparison begins with stored hashes, which is quick; where these do not give what was vouched for, the stored bytes
decide. That all bytes fit the hashes is looked at by `pai verify`.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.core.errors import LogDamaged, PaiError, SourceUnavailable
from reconciler.core.events import LogAccepted, decode
from reconciler.evidence import published
from reconciler.evidence.published import Claim, Line
from reconciler.log import pruned
from reconciler.log.store import Reader
from reconciler.log.tree import Tree, extend
from reconciler.tlog.merkle import TILE_WIDTH, Frontier
from reconciler.tlog.note import VerifierKey
from reconciler.tlog.signed_checkpoint import Checkpoint
from reconciler.workspace import Workspace

ROLLBACK = "rollback detected: "


class Finding(NamedTuple):
    """What a comparison found: `rollback` is "" or says what is contradicted, for people.

    `lines` and `copy` name what was looked at, also when an operator accepted it in spite of a contradiction; `last`
    is the workspace's own checkpoint if the log keeps it.
    """

    rollback: str
    lines: tuple[Line, ...]
    copy: str
    last: Checkpoint | None

    @property
    def warning(self) -> str:
        """Say what on the refs is not this log's, "" if nothing is."""
        return warning(self.lines)


def examine(workspace: Workspace, key: VerifierKey, known: Mapping[str, Line] | None = None) -> Finding:
    """Compare the log with the newest checkpoints; a repository that cannot be read is passed over.

    `known` is what each ref was found to have before.
    """
    lines = []
    with contextlib.suppress(SourceUnavailable):  # told when publishing fails; compared again before anything is
        lines = read_lines(workspace.local_repository(), key, known or {})
    local = published.own(workspace, key)
    claims = [claim for claim in (*(line.claim for line in lines), local) if claim is not None]
    with contextlib.closing(workspace.log().reader()) as log:
        problems = compare(log, claims)
        open_problems = _not_excused(workspace, log, problems, lines) if problems else []
    kept = local is not None and not any(claim is local for claim, _ in problems)
    return Finding(
        ROLLBACK + open_problems[0] if open_problems else "",
        tuple(lines),
        local.digest if local else "",
        local.checkpoint if local and kept and not open_problems else None,
    )


def read_lines(repository: Path, key: VerifierKey, known: Mapping[str, Line]) -> list[Line]:
    """Give what each ref has on which the log's checkpoints may be, the shared one first. Raises SourceUnavailable."""
    from reconciler.source.witness import refs_of, tips

    refs = refs_of(key.name)
    now = tips(repository, refs)
    found = []
    for ref in refs:
        line = known.get(ref)
        same = line is not None and not line.ended and ref in now and line.tip == now[ref]
        found.append(line if line is not None and same else published.newest(repository, ref, key, line))
    return found


def home(lines: Sequence[Line], *, lost: bool = False) -> Line:
    """Choose where the next checkpoint goes: to the shared ref, but beside it if that is another's, or no commit.

    `lost` tells that it is no commit at the remote.
    """
    shared, beside = lines
    return beside if lost or shared.broken or shared.whose == "another's" else shared


def warning(lines: Sequence[Line]) -> str:
    """Say what on the refs is not this log's, and what becomes of its checkpoints; "" if nothing is."""
    found = [line for line in lines if line.other]
    if not found:
        return ""
    where = home(lines).ref
    said = "; ".join(
        f"{line.ref} has checkpoints of another log" if line.whose == "another's" else line.other for line in found
    )
    return f"{said}; that says nothing about this log, whose checkpoints go to {where}"


def compare(log: Reader, claims: Iterable[Claim]) -> list[tuple[Claim, str]]:
    """Give the claims that contradict the log, and how. Raises LogDamaged if bytes and hashes do not fit."""
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
    """Tell whether the log begins as the checkpoint says.

    Of a pruned log, what lies before its beginning cannot be contradicted: `pai verify --with` compares that.
    """
    before = checkpoint.size < log.first() and checkpoint.size % TILE_WIDTH != 0
    return before or signed_frontier(log, checkpoint) is not None


def signed_frontier(log: Reader, checkpoint: Checkpoint) -> Frontier | None:
    """Give the frontier that a checkpoint signed: by stored hashes, and if they say no, by the bytes; None if neither.

    Raises LogDamaged if bytes and hashes do not fit.
    """
    with contextlib.suppress(LogDamaged):
        frontier = Tree(log).frontier(checkpoint.size)
        if frontier.root() == checkpoint.root:
            return frontier
    _, frontier = pruned.start(log)
    if checkpoint.size < frontier.size:
        return None
    extend(frontier, log, checkpoint.size)
    return frontier if frontier.root() == checkpoint.root else None


def acceptance(workspace: Workspace, finding: Finding) -> list[LogAccepted]:
    """Give the events that accept the log as it is now, in spite of what was found: one for each ref with a claim."""
    with contextlib.closing(workspace.log().reader()) as log, log.moment():
        head = log.head()
        size = head.size
        root = base64.b64encode(Frontier.unpack(size, head.peaks).root()).decode("ascii")
    commits = [line.claim.commit for line in finding.lines if line.claim is not None] or [""]
    return [
        LogAccepted(size=size, root=root, reason=finding.rollback, commit=commit, copy=finding.copy)
        for commit in commits
    ]


def accepted(log: Reader) -> list[LogAccepted]:
    """Give the acceptances on the log, newest first; it searches the whole log."""
    found = []
    for stored in log.read_back(contains=[b'"type":"log.accepted.v1"']):
        with contextlib.suppress(ValueError, PaiError):
            payload = decode(stored.body).payload
            if isinstance(payload, LogAccepted):
                found.append(payload)
    return found


def _not_excused(
    workspace: Workspace, log: Reader, problems: Iterable[tuple[Claim, str]], lines: Iterable[Line]
) -> list[str]:
    """Leave out what an operator accepted: a copy with that content, a commit also if a later one is on top of it."""
    events = accepted(log)
    commits, copies = {event.commit for event in events}, {event.copy for event in events}
    ref_of = {line.claim: line.ref for line in lines if line.claim is not None}
    found = []
    for claim, why in problems:
        above: list[str] = []
        if claim in ref_of:
            with contextlib.suppress(SourceUnavailable):
                above = published.down_to(workspace.local_repository(), ref_of[claim], claim.commit)
        if commits.isdisjoint(above) and (claim.commit or claim.digest not in copies):
            found.append(why)
    return found
