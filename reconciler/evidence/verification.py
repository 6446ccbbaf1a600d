"""`pai verify` of a workspace: the log recomputed from its stored bytes, and held against all that was ever published.

Reads only. Every commit of the config repository's ref is compared, oldest first, and the workspace's own copy last.
What an operator accepted (`log.accepted.v1`) is counted, not complained about.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.core.errors import LogDamaged, SourceUnavailable
from reconciler.core.events import LogAccepted
from reconciler.evidence import published
from reconciler.evidence.parts import check_parts
from reconciler.evidence.published import Claim
from reconciler.log.check import Marks, Problem, check
from reconciler.log.note import VerifierKey
from reconciler.log.sqlite import open_reader
from reconciler.log.store import Reader
from reconciler.workspace import Workspace


class Report(NamedTuple):
    """What was found: `size` events, `checkpoints` that hold, `excused` ones that an operator accepted.

    `warning` says what could not be compared, "" if everything was. A pruned log begins at `first`, and `before` of the
    checkpoints are about sizes before it, of which nothing is known here.
    """

    problems: list[Problem]
    size: int
    checkpoints: int
    excused: int
    warning: str
    first: int = 0
    before: int = 0


def verify(workspace: Workspace, checked: Callable[[int], None], parts: Sequence[Path] = ()) -> Report:
    """Recompute and compare everything; `checked` is told how many more events are done.

    `parts` are the folders with what was pruned, to be verified as well. Raises what opening the log raises.
    """
    with contextlib.closing(open_reader(workspace.database)) as log:
        key, problems = _key(workspace, log)
        claims, warning = _claims(workspace, key) if key else ([], "")
        marks = Marks(claim.checkpoint.size for claim in claims if claim.checkpoint)
        size, first = log.size(), log.first()
        problems += check(log, checked=checked, marks=marks, path=workspace.database)
        if parts and key:
            problems += check_parts(log, key, parts, marks, checked)
    open_claims = _without_excused(claims, marks.accepted)
    known = [claim for claim in open_claims if not _is_before(claim, first, marks)]
    wrong = list(_compare(known, marks, size))
    before = len(open_claims) - len(known)
    return Report([*problems, *wrong], size, len(known), len(claims) - len(open_claims), warning, first, before)


def _is_before(claim: Claim, first: int, marks: Marks) -> bool:
    """Tell whether a claim is about a size before the log's beginning, of which nothing is known."""
    return claim.checkpoint is not None and claim.checkpoint.size < first and claim.checkpoint.size not in marks.roots


def _key(workspace: Workspace, log: Reader) -> tuple[VerifierKey | None, list[Problem]]:
    """Give the key that the log's first event names, and what is wrong with it."""
    try:
        key = published.first_key(log)
    except LogDamaged as error:
        return None, [Problem(0, error.message)]
    try:
        beside = workspace.vkey.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        return key, [Problem(None, f"data/vkey cannot be read: {error}")]
    wrong = Problem(None, "data/vkey is not the key that the log's first event names")
    return key, [] if beside == str(key) else [wrong]


def _claims(workspace: Workspace, key: VerifierKey) -> tuple[list[Claim], str]:
    """Give all that was published, oldest first, the workspace's own copy last."""
    claims: list[Claim] = []
    warning = ""
    try:
        claims = list(published.history(workspace.local_repository(), key))[::-1]
    except SourceUnavailable as error:
        warning = f"published checkpoints are not compared: {error.message}"
    own = published.own(workspace, key)
    return [*claims, own] if own else claims, warning


def _without_excused(claims: list[Claim], accepted: Iterable[LogAccepted]) -> list[Claim]:
    """Leave out what was published up to the newest acceptance."""
    commits, copies = {event.commit for event in accepted} - {""}, {event.copy for event in accepted}
    last = max((n for n, claim in enumerate(claims) if claim.commit in commits), default=-1)
    return [claim for n, claim in enumerate(claims) if n > last and (claim.commit or claim.digest not in copies)]


def _compare(claims: list[Claim], marks: Marks, end: int) -> Iterator[Problem]:
    good = before = 0
    for claim in claims:
        if claim.checkpoint is None:
            yield Problem(None, claim.problem)
            continue
        _, size, root = claim.checkpoint
        if size > end:
            known = f"the first {good:,} are as vouched for before" if good else "none of them is vouched for otherwise"
            yield Problem(end, f"the log ends here, {claim.where} vouches for {size:,} events; {known}")
        elif marks.roots.get(size) != root:
            yield Problem(good, f"positions {good} to {size - 1} are not those that {claim.where} vouches for")
        else:
            good = max(good, size)
        if size < before:
            yield Problem(None, f"{claim.where} vouches for {size:,} events, the checkpoint before it for {before:,}")
        before = size
