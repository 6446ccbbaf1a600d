"""`pai verify PROOF`: one proof (C2SP tlog-proof) checked offline, with no trust in whoever hands it over.

A proof says where an event stands, not what it is; so the event comes along: as stored bytes, as a row of `pai log -o
json|jsonl` (the stored bytes are the canonical JSON of six of its fields), or in the proof's own `extra` line. Whatever
of that was changed leads to another root than the signed one. Pure.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from reconciler.core.canonical import canonical
from reconciler.tlog import tlog_proof
from reconciler.tlog.merkle import leaf_hash
from reconciler.tlog.note import VerifierKey
from reconciler.tlog.proofs import verify_inclusion
from reconciler.tlog.signed_checkpoint import Checkpoint, read, verify

PROOF_BYTES_MAX: Final = 128 << 20
"""More than the largest event in base64."""
ROW_BYTES_MAX: Final = 4 << 20
"""A larger row has to be written as the log has it."""
LIST_BYTES_MAX: Final = 16 << 20
"""A larger file has to have a row a line."""
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
    """Give what may be the stored bytes in a file: the file itself, or its row at `position` (or without one).

    Raises ValueError if the file has two rows for that position that differ.
    """
    found = [data, data[:-1]] if data.endswith(b"\n") else [data]
    rows = {body for row in _rows(data) if row.seq in (position, UNSET) for body in row.bodies()}
    if len(rows) > 1:
        raise ValueError(f"it has different rows for position {position}: leave the one that is meant")
    return [*found, *rows]


class _Row(msgspec.Struct, frozen=True):
    """A row of `pai log`: the six fields of an event as they are written there, and where it stands."""

    actor: msgspec.Raw
    data: msgspec.Raw
    id: msgspec.Raw
    subject: msgspec.Raw
    time: msgspec.Raw
    type: msgspec.Raw
    seq: int | UnsetType = UNSET

    def bodies(self) -> list[bytes]:
        """Give the canonical JSON of the fields, or nothing; of a large row what is written, which is cheap to take."""
        fields = ",".join(f'"{name}":{bytes(getattr(self, name)).decode()}' for name in _FIELDS)
        written = f"{{{fields}}}".encode()
        if len(written) > ROW_BYTES_MAX:
            return [written]
        try:
            return [canonical(json.loads(written))]
        except (ValueError, RecursionError):  # JSON that RFC 8785 cannot write is no event of a log
            return []


def _rows(data: bytes) -> Iterator[_Row]:
    """Give the rows of a file: one, a list of them, or one a line; what is none is passed over."""
    with contextlib.suppress(ValueError, RecursionError):
        if len(data) > LIST_BYTES_MAX:
            raise ValueError
        read = msgspec.json.decode(data, type=_Row | list[_Row])
        yield from read if isinstance(read, list) else [read]
        return
    for line in io.BytesIO(data):
        if b'"actor"' not in line:
            continue
        with contextlib.suppress(ValueError, RecursionError):
            yield msgspec.json.decode(line, type=_Row)
