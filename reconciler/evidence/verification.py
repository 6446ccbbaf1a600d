"""`pai verify` of a workspace: the log recomputed from its stored bytes, and held against all that was ever published.

Reads only. Every commit of the config repository's refs is compared, oldest first, and the workspace's own copy last.
What an operator accepted (`log.accepted.v1`) is counted, not complained about. What the log's key did not sign is told.
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
from reconciler.log.check.whole import LogProblem, Marks, check
from reconciler.log.store import Reader
from reconciler.source.witness import refs_of
from reconciler.tlog.note import VerifierKey
from reconciler.workspace import Workspace


class Report(NamedTuple):
    """What was found: `size` events, `checkpoints` that hold, `excused` ones that an operator accepted.

    `warning` says what was not compared, and what is there that is not this log's, "" if nothing. A pruned log begins
    at `first`, and `before` of the checkpoints are about sizes before it, of which nothing is known here. `amiss` are
    settings of the file that the next writer puts right. `shorter`: nothing is wrong but that the log ends before a
    checkpoint, as one that was put back from a backup does.
    """

    problems: list[LogProblem]
    size: int
    checkpoints: int
    excused: int
    warning: str
    first: int = 0
    before: int = 0
    amiss: tuple[str, ...] = ()
    shorter: bool = False


def verify(workspace: Workspace, checked: Callable[[int], None], parts: Sequence[Path] = ()) -> Report:
    """Recompute and compare everything; `checked` is told how many more events are done.

    `parts` are the folders with what was pruned, to be verified as well. Raises what opening the log raises.
    """
    with contextlib.closing(workspace.log().reader()) as log:
        key, problems = _key(workspace, log)
        lines, warning = _lines(workspace, key) if key else ([], "")
        marks = Marks(claim.checkpoint.size for line in lines for claim in line if claim.checkpoint)
        size, first, amiss = log.size(), log.first(), log.amiss()
        problems += check(log, checked=checked, marks=marks, place=workspace.log().place())
        if parts and key:
            problems += check_parts(log, key, parts, marks, checked)
    total = sum(1 for line in lines for claim in line if _counts(claim))
    lines = [[claim for claim in _without_excused(line, marks.accepted) if _counts(claim)] for line in lines]
    open_claims = sum(map(len, lines))
    lines = [[claim for claim in line if not _is_before(claim, first, marks)] for line in lines]
    wrong = list(_compare(lines, marks, size))
    known = sum(map(len, lines))
    shorter = bool(wrong) and not problems and all(problem.message.startswith(_ENDS) for problem in wrong)
    return Report(
        [*problems, *wrong],
        size,
        known,
        total - open_claims,
        warning,
        first,
        open_claims - known,
        tuple(amiss),
        shorter,
    )


_ENDS = "the log ends here"


def _counts(claim: Claim) -> bool:
    """Tell whether a claim is about the log: its key signed it, or it is the own copy, which should be signed."""
    return claim.checkpoint is not None or not claim.commit


def _is_before(claim: Claim, first: int, marks: Marks) -> bool:
    """Tell whether a claim is about a size before the log's beginning, of which nothing is known."""
    return claim.checkpoint is not None and claim.checkpoint.size < first and claim.checkpoint.size not in marks.roots


def _key(workspace: Workspace, log: Reader) -> tuple[VerifierKey | None, list[LogProblem]]:
    """Give the key that the log's first event names, and what is wrong with it."""
    try:
        key = published.first_key(log)
    except LogDamaged as error:
        return None, [LogProblem(0, error.message)]
    try:
        beside = workspace.vkey.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return key, [
            LogProblem(None, f"{workspace.vkey} cannot be read: {why}; pai init writes it again if it is missing")
        ]
    wrong = LogProblem(None, "data/vkey is not the key that the log's first event names")
    return key, [] if beside == str(key) else [wrong]


def _lines(workspace: Workspace, key: VerifierKey) -> tuple[list[list[Claim]], str]:
    """Give all that was published on each ref, oldest first, and last the workspace's own copy; and what to warn of."""
    lines, warnings = [], []
    for ref in refs_of(key.name):
        line: list[Claim] = []
        try:
            line.extend(published.history(workspace.local_repository(), ref, key))  # an error leaves what came before
        except SourceUnavailable as error:
            warnings.append(f"the checkpoints on {ref} are not all compared: {error.message}")
        if others := [claim for claim in line if claim.checkpoint is None]:
            warnings.append(
                f"{ref} has {len(others):,} that say nothing about this log. The newest: {others[0].problem}"
            )
        lines.append(line[::-1])
    own = published.own(workspace, key)
    return [*lines, [own] if own else []], "; ".join(warnings)


def _without_excused(claims: list[Claim], accepted: Iterable[LogAccepted]) -> list[Claim]:
    """Leave out what was published up to the newest acceptance."""
    commits, copies = {event.commit for event in accepted} - {""}, {event.copy for event in accepted}
    last = max((n for n, claim in enumerate(claims) if claim.commit in commits), default=-1)
    return [claim for n, claim in enumerate(claims) if n > last and (claim.commit or claim.digest not in copies)]


def _compare(lines: list[list[Claim]], marks: Marks, end: int) -> Iterator[LogProblem]:
    good = most = 0
    for line in lines:
        before = most if line is lines[-1] else 0  # the own copy is never behind what was published
        for claim in line:
            if claim.checkpoint is None:
                yield LogProblem(None, claim.problem)
                continue
            _, size, root = claim.checkpoint
            if size > end:
                known = (
                    f"the first {good:,} are as vouched for before" if good else "none of them is vouched for otherwise"
                )
                yield LogProblem(end, f"{_ENDS}, {claim.where} vouches for {size:,} events; {known}")
            elif marks.roots.get(size) != root:
                yield LogProblem(good, f"positions {good} to {size - 1} are not those that {claim.where} vouches for")
            else:
                good = max(good, size)
            if size < before:
                yield LogProblem(
                    None, f"{claim.where} vouches for {size:,} events, the checkpoint before it for {before:,}"
                )
            before = size
        most = max(most, before)
