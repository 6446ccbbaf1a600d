"""Proofs as text (C2SP tlog-proof): that one event is in the log that a checkpoint vouches for, checkable offline.

    c2sp.org/tlog-proof@v1
    index 73894
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=      the audit path, the leaf's sibling first
    ...
                                                      an empty line, then the checkpoint as it was signed

Pure. The event itself is no part of it: whoever checks hashes the stored bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final, NamedTuple

_FIRST: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = "index "


class Proof(NamedTuple):
    """Position, audit path, and the checkpoint as signed."""

    position: int
    path: Sequence[bytes]
    note: bytes


def write(proof: Proof) -> str:
    """Give the text of a proof."""
    lines = [_FIRST, f"{_INDEX}{proof.position}", *(base64.b64encode(step).decode("ascii") for step in proof.path)]
    return "\n".join(lines) + "\n\n" + proof.note.decode("utf-8")


def parse(text: str) -> Proof:
    """Read what `write` gave, extra data passed over; nothing is verified. Raises ValueError."""
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != _FIRST:
        raise ValueError(f"a proof begins with {_FIRST}")
    if lines and lines[0].startswith("extra "):
        lines.pop(0)
    number = lines.pop(0).removeprefix(_INDEX) if lines and lines[0].startswith(_INDEX) else ""
    if not (number.isascii() and number.isdigit()) or (number[0] == "0" and number != "0"):
        raise ValueError("a proof has a line: index POSITION")
    try:
        path = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        raise ValueError("the steps of a proof are base64") from None
    return Proof(int(number), path, note.encode())
