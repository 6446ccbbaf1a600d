"""`pai verify` of a proof file, and the keys that verifying trusts.

The event comes from --event, from the proof itself, or from the workspace that the command stands in; the key from
--vkey, from the file `vkey` beside the proof, or from that workspace. What nobody vouches for is said, never assumed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler import durable
from reconciler.cli.output import note
from reconciler.core.diagnostics import printable
from reconciler.core.errors import CouldNotRun, PaiError, Refused, UsageError
from reconciler.workspace import Workspace

if TYPE_CHECKING:
    from reconciler.tlog.note import VerifierKey


class _Key(NamedTuple):
    """A key to check with; `origin` says where it is from, "" if the caller named it."""

    key: VerifierKey
    origin: str


def verify_proof(path: Path, vkey: str | None, event: Path | None, workspace: Path | None) -> int:
    """Check the proof in a file, and say what it shows and what was not looked at."""
    from reconciler.evidence.proof_check import PROOF_BYTES_MAX, check
    from reconciler.tlog import tlog_proof

    try:
        text = _read(path, PROOF_BYTES_MAX).decode("utf-8")
        position = tlog_proof.parse(text).position
        bodies = _bodies(text, position, event, workspace)
    except ValueError as error:
        raise _refusal(path, f"{path} is neither an export nor a proof: {error}") from None
    if not bodies:
        hint = "--event FILE: a row of pai log -o jsonl; or have it in the proof: pai prove SEQ --with-event"
        raise UsageError(f"{path} says where an event stands, and not which one it is", hint)
    key = named_key(vkey) if vkey is not None else None
    known = _Key(key, "") if key is not None else _found_key(path, workspace)
    proven = check(text, known.key if known else None, bodies)
    if proven.problem or proven.checkpoint is None:
        raise _refusal(path, proven.problem)
    size, origin = proven.checkpoint.size, proven.checkpoint.origin
    shown = f"position {position} ({_what(proven.body)}) is one of the {size:,} events of {origin}"
    if known is None:
        print(printable(f"{shown} by the proof's own checkpoint"))
        raise Refused(
            "nobody knows who signed that checkpoint: there is no verifier key",
            "--vkey KEY, with the text or the file of the log's data/vkey",
        )
    print(printable(f"ok: {shown} that the checkpoint vouches for"))
    if known.origin:
        note(f"the key is {known.origin}; name one that you trust with --vkey")
    return 0


def named_key(text: str) -> VerifierKey:
    """Read a key that was given as text or as a file that holds it. Raises UsageError."""
    from reconciler.tlog.note import parse_vkey

    try:
        return parse_vkey(text)
    except ValueError as error:
        problem = error
    with contextlib.suppress(OSError, ValueError):
        return parse_vkey(Path(text).read_text("utf-8"))
    raise UsageError(f"--vkey: {problem}", "give the text of the log's data/vkey, or the file")


def _bodies(text: str, position: int, event: Path | None, workspace: Path | None) -> Sequence[bytes]:
    from reconciler.evidence.proof_check import PROOF_BYTES_MAX, bodies_in
    from reconciler.tlog.tlog_proof import extra_data

    if event is not None:
        data = _read(event, PROOF_BYTES_MAX)
        try:
            return bodies_in(data, position)
        except ValueError as error:
            raise UsageError(f"{event} cannot be taken: {error}", "--event FILE with that one row") from error
    extra = extra_data(text)
    if extra:
        return [extra]
    return _stored(position, workspace)


def _stored(position: int, folder: Path | None) -> list[bytes]:
    with contextlib.suppress(PaiError), contextlib.closing(Workspace.find(folder).log().reader()) as log:
        return [stored.body for stored in log.read(position, position + 1)]
    return []


def _found_key(path: Path, folder: Path | None) -> _Key | None:
    from reconciler.tlog.note import parse_vkey
    from reconciler.tlog.signed_checkpoint import NOTE_BYTES_MAX

    with contextlib.suppress(OSError, ValueError):
        beside = durable.read(path.with_name("vkey"), NOTE_BYTES_MAX).decode("utf-8")
        return _Key(parse_vkey(beside), "that of the file vkey beside the proof")
    with contextlib.suppress(OSError, ValueError, PaiError):
        return _Key(parse_vkey(Workspace.find(folder).vkey.read_text("utf-8")), "that of this workspace")
    return None


def _what(body: bytes) -> str:
    from reconciler.core.events import decode

    try:
        event = decode(body)
    except ValueError:  # a newer Pai wrote it; it is proven all the same
        return "an event of a kind that this version of Pai does not know"
    return f"{event.type} {event.subject}, {event.time[:19].replace('T', ' ')}"


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise CouldNotRun(f"{path} cannot be read: {error.strerror}", "check its name, owner and mode") from error
    if len(data) > most:
        raise ValueError(f"{path} has more than {most:,} bytes")
    return data


def _refusal(path: Path, problem: str) -> Refused:
    """Print what is wrong with a proof, and give the error to raise."""
    print(printable(problem))
    return Refused(
        f"{path} proves nothing, or something in it was changed",
        "have it printed again, and compare the key with the one that you were given",
    )
