"""What was vouched for and where it lies: the checkpoints on the config repository's ref, and the workspace's own copy.

Reads only. A claim says what a file there says and whether the log's key signed it; whether the log keeps it is for
others to compare. Files are bounded: whoever can write to the repository must not fill our memory.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler.core.errors import CouldNotRun, LogDamaged
from reconciler.core.events import LogCreated
from reconciler.log.checkpoint import NOTE_BYTES_MAX, Checkpoint, verify
from reconciler.log.note import VerifierKey, parse_vkey
from reconciler.log.replay import event_at
from reconciler.log.sqlite import open_reader
from reconciler.log.store import Reader
from reconciler.workspace import Workspace

if TYPE_CHECKING:  # libgit2 costs more to import than a proof takes
    from reconciler.source.witness import Published


class Claim(NamedTuple):
    """A checkpoint at one place: `checkpoint` is None if `problem` says why nothing can be believed there.

    `commit` is "" for the workspace's own copy; `digest` is the SHA-256 of the file, in hex.
    """

    where: str
    commit: str
    digest: str
    checkpoint: Checkpoint | None
    problem: str


def key_of(workspace: Workspace) -> VerifierKey:
    """Give the key that the log's first event names. Raises LogDamaged, and what opening the log raises."""
    with contextlib.closing(open_reader(workspace.database)) as log:
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
    return None if found is None else _claim("data/checkpoint", "", found, None, key)


def newest(repository: Path, key: VerifierKey) -> Claim | None:
    """Give what was published last, None if nothing was. Raises SourceUnavailable."""
    from reconciler.source import witness

    found = witness.newest(repository)
    return None if found is None else _published(found, key)


def history(repository: Path, key: VerifierKey) -> Iterator[Claim]:
    """Give everything that was published, newest first. Raises SourceUnavailable."""
    from reconciler.source import witness

    return (_published(found, key) for found in witness.history(repository))


def verifies(text: bytes, key: VerifierKey) -> bool:
    """Tell whether a note is a checkpoint signed by `key`."""
    try:
        verify(text, key)
    except ValueError:
        return False
    return True


def _published(found: Published, key: VerifierKey) -> Claim:
    where = f"commit {found.commit[:12]} of refs/pai/checkpoints"
    return _claim(where, found.commit, found.files.get("checkpoint"), found.files.get("vkey", b""), key)


def _claim(where: str, commit: str, text: bytes | None, vkey: bytes | None, key: VerifierKey) -> Claim:
    if text is None:
        return Claim(where, commit, "", None, f"{where} has no checkpoint")
    digest = hashlib.sha256(text).hexdigest()
    try:
        if vkey is not None and parse_vkey(vkey.decode("utf-8", "replace")) != key:
            raise ValueError("its vkey is not the log's")
        return Claim(where, commit, digest, verify(text, key), "")
    except ValueError as error:
        return Claim(where, commit, digest, None, f"the checkpoint in {where} is not this log's: {error}")
