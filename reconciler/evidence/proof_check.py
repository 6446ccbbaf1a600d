"""`pai verify PROOF`: one proof (C2SP tlog-proof) checked offline, with no trust in whoever hands it over.

A proof says where an event stands, not what it is; so the event comes along: as stored bytes, as a row of `pai log -o
json|jsonl` (the stored bytes are the canonical JSON of six of its fields), or in the proof's own `extra` line. Whatever
of that was changed leads to another root than the signed one. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from reconciler.core.canonical import canonical
from reconciler.tlog import tlog_proof
from reconciler.tlog.merkle import leaf_hash
from reconciler.tlog.note import VerifierKey
from reconciler.tlog.proofs import verify_inclusion
from reconciler.tlog.signed_checkpoint import Checkpoint, read, verify

PROOF_BYTES_MAX: Final = 128 << 20
"""More than the largest event in base64."""
_FIELDS: Final = ("actor", "data", "id", "subject", "time", "type")


class Proven(NamedTuple):
    """What a proof shows: `body` are the bytes of the event at `position`, `checkpoint` what it leads to.

    `problem` says why nothing is proven, "" if it is.
    """

    position: int
    checkpoint: Checkpoint | None
    body: bytes
    problem: str


def check(text: str, key: VerifierKey | None, bodies: Sequence[bytes]) -> Proven:
    """Check that one of `bodies` is the event that a proof is about, and the checkpoint under `key`.

    Without a key the signature is not looked at. Raises ValueError if the text is no proof.
    """
    proof = tlog_proof.parse(text)
    try:
        checkpoint = read(proof.note) if key is None else verify(proof.note, key)
    except ValueError as error:
        return Proven(proof.position, None, b"", f"the checkpoint cannot be believed: {error}")
    for body in bodies:
        if verify_inclusion(leaf_hash(body), proof.position, checkpoint.size, proof.path, checkpoint.root):
            return Proven(proof.position, checkpoint, body, "")
    size = checkpoint.size
    problem = f"the event is not at position {proof.position} of the {size:,} that the checkpoint vouches for"
    return Proven(proof.position, checkpoint, b"", problem)


def bodies_in(data: bytes, position: int) -> list[bytes]:
    """Give what may be the stored bytes in a file: the file itself, or its rows at `position` (or without one)."""
    found = [data]
    if data.endswith(b"\n"):
        found.append(data[:-1])
    for row in _rows(data):
        if row.get("seq", position) == position and all(name in row for name in _FIELDS):
            try:
                found.append(canonical({name: row[name] for name in _FIELDS}))
            except ValueError:  # JSON that RFC 8785 cannot write is no event of a log
                continue
    return found


def _rows(data: bytes) -> Iterator[dict[str, object]]:
    for text in (data, *data.splitlines()):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict))
        if text is data:
            return
