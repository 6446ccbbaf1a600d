"""What was vouched for and where it lies: the checkpoints on the repository's refs, and the workspace's own copy.

Reads only. A claim is what a file there says and whether the log's key signed it; others compare it with the log.
Whoever can write to the repository can put anything on the refs: what the log's key did not sign says nothing about the
log, and is passed over. What is read has bounds, in bytes and in commits.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from reconciler.core.diagnostics import printable
from reconciler.core.errors import CouldNotRun, LogDamaged
from reconciler.core.events import LogCreated
from reconciler.log.replay import event_at
from reconciler.log.store import Reader
from reconciler.tlog.note import VerifierKey, parse_vkey
from reconciler.tlog.signed_checkpoint import NOTE_BYTES_MAX, Checkpoint, read, verify
from reconciler.workspace import Workspace

if TYPE_CHECKING:  # libgit2 costs more to import than a proof takes
    from reconciler.source.witness import Published

SAID_CHARACTERS_MAX: Final = 200
PASSED_MAX: Final = 1000
"""How many commits that are not this log's are passed over in the search for one that is, from the ref down.

Who puts more of them there could as well have moved the ref elsewhere.
"""


class Claim(NamedTuple):
    """A checkpoint at one place: `checkpoint` is None if `problem` says why nothing can be believed there.

    `commit` is "" for the workspace's own copy; `digest` is the SHA-256 of the file, in hex.
    """

    where: str
    commit: str
    digest: str
    checkpoint: Checkpoint | None
    problem: str


class Line(NamedTuple):
    """What one ref has for a log: `claim` is the newest checkpoint there that its key signed, None if none was found.

    `tip` is the commit that the ref is at, None if there is no ref, or none that leads to a commit (`broken`). `other`
    says what is not the log's above the claim, "" if nothing is. `whose` tells of which log the newest checkpoint is,
    "" for none. `ended` tells that the search met what it could not read, which may be there another time.
    """

    ref: str
    tip: str | None
    claim: Claim | None
    other: str
    whose: Literal["", "ours", "another's"]
    ended: bool = False

    @property
    def broken(self) -> bool:
        """Tell whether there is a ref, and it leads to no commit."""
        return self.ended and self.tip is None


def key_of(workspace: Workspace) -> VerifierKey:
    """Give the key that the log's first event names. Raises LogDamaged, and what opening the log raises."""
    with contextlib.closing(workspace.log().reader()) as log:
        return first_key(log)


def first_key(log: Reader) -> VerifierKey:
    """Give the key that the first event of an open log names. Raises LogDamaged."""
    payload = event_at(log, 0).payload
    if not isinstance(payload, LogCreated):
        raise LogDamaged("the log's first event is not log.created", "restore the log from a backup")
    try:
        return parse_vkey(payload.vkey)
    except ValueError as error:
        raise LogDamaged(f"the log names no verifier key: {error}", "restore the log from a backup") from error


def note(workspace: Workspace) -> bytes | None:
    """Give the workspace's own copy of the newest checkpoint as it lies there, None if none. Raises CouldNotRun."""
    try:
        with workspace.checkpoint.open("rb") as file:
            return file.read(NOTE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CouldNotRun(f"{workspace.checkpoint} cannot be read: {error.strerror}", "check its owner") from error


def own(workspace: Workspace, key: VerifierKey) -> Claim | None:
    """Give the claim of the workspace's own copy, None if there is none. Raises CouldNotRun."""
    found = note(workspace)
    return None if found is None else claim_of(found, key)


def claim_of(note: bytes, key: VerifierKey) -> Claim:
    """Give the claim of what lies in the workspace's own copy."""
    return _claim("data/checkpoint", "", note, key)


def newest(repository: Path, ref: str, key: VerifierKey, known: Line | None = None) -> Line:
    """Give what a ref has. `known` is what it had before, which is not read again. Raises SourceUnavailable."""
    from reconciler.source import witness

    tip: str | None = None
    other = ""
    whose: Literal["", "ours", "another's"] = ""
    try:
        for found in islice(witness.history(repository, ref), PASSED_MAX):
            tip = tip or found.commit
            if known is not None and found.commit == known.tip and not known.ended:
                return Line(ref, tip, known.claim, other or known.other, whose or known.whose)
            claim = _published(found, ref, key)
            whose = whose or _whose(found, claim, key)
            if claim.checkpoint is not None:
                return Line(ref, tip, claim, other, whose)
            other = other or claim.problem
    except witness.NoCommit as error:
        return Line(ref, tip, None, other or error.message, whose, ended=True)
    return Line(ref, tip, None, other, whose)


def ours(ref: str, commit: str, note: Claim) -> Line:
    """Give what a ref has after the claim of our own copy was published there as a commit."""
    claim = note._replace(where=_place(ref, commit), commit=commit)
    return Line(ref, commit, claim, "", "ours")


def history(repository: Path, ref: str, key: VerifierKey) -> Iterator[Claim]:
    """Give everything that was published on a ref, newest first. Raises SourceUnavailable."""
    from reconciler.source import witness

    return (_published(found, ref, key) for found in witness.history(repository, ref))


def down_to(repository: Path, ref: str, commit: str) -> list[str]:
    """List the commits of a ref from its newest down to `commit`. Raises SourceUnavailable."""
    from reconciler.source import witness

    found = []
    for each in witness.history(repository, ref):
        found.append(each.commit)
        if each.commit == commit:
            break
    return found


def _published(found: Published, ref: str, key: VerifierKey) -> Claim:
    return _claim(_place(ref, found.commit), found.commit, found.files.get("checkpoint"), key)


def _place(ref: str, commit: str) -> str:
    return f"commit {commit[:12]} of {ref}"


def _whose(found: Published, claim: Claim, key: VerifierKey) -> Literal["", "ours", "another's"]:
    """Tell of which log a checkpoint is; "" for what is none, and for what only says that it is this log's."""
    if claim.checkpoint is not None:
        return "ours"
    with contextlib.suppress(ValueError):
        if read(found.files.get("checkpoint", b"")).origin != key.name:
            return "another's"
    return ""


def _claim(where: str, commit: str, text: bytes | None, key: VerifierKey) -> Claim:
    if text is None:
        return Claim(where, commit, "", None, f"{where} has no checkpoint")
    digest = hashlib.sha256(text).hexdigest()
    try:
        return Claim(where, commit, digest, verify(text, key), "")
    except ValueError as error:
        said = printable(str(error))[:SAID_CHARACTERS_MAX]
        return Claim(where, commit, digest, None, f"the checkpoint in {where} is not this log's: {said}")
