"""Proofs as text (C2SP tlog-proof): that one event is in the log that a checkpoint vouches for, checkable offline.

    c2sp.org/tlog-proof@v1
    index 73894
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=      the audit path, the leaf's sibling first
    ...
                                                      an empty line, then the checkpoint as it was signed

Pure. The event itself is no part of it: whoever checks hashes the stored bytes. They may come along as the
second line (`extra BASE64`), which proves nothing by itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final, NamedTuple

_FIRST: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = "index "
_EXTRA: Final = "extra "
STEPS_MAX: Final = 64
"""The audit path of any log: positions have 63 bits."""


class Proof(NamedTuple):
    """Position, audit path, and the checkpoint as signed."""

    position: int
    path: Sequence[bytes]
    note: bytes


def write(proof: Proof, extra: bytes = b"") -> str:
    """Give the text of a proof, with extra data if there is any."""
    more = [_EXTRA + base64.b64encode(extra).decode("ascii")] if extra else []
    path = [base64.b64encode(step).decode("ascii") for step in proof.path]
    lines = [_FIRST, *more, f"{_INDEX}{proof.position}", *path]
    return "\n".join(lines) + "\n\n" + proof.note.decode("utf-8")


def parse(text: str) -> Proof:
    """Read what `write` gave, extra data passed over; nothing is verified. Raises ValueError."""
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n", STEPS_MAX + 3)
    if not blank or lines.pop(0) != _FIRST:
        raise ValueError(f"a proof begins with {_FIRST}")
    if lines and lines[0].startswith(_EXTRA):
        lines.pop(0)
    number = lines.pop(0).removeprefix(_INDEX) if lines and lines[0].startswith(_INDEX) else ""
    if not (number.isascii() and number.isdigit()) or (number[0] == "0" and number != "0"):
        raise ValueError("a proof has a line: index POSITION")
    if len(lines) > STEPS_MAX:
        raise ValueError(f"a proof has at most {STEPS_MAX} steps")
    try:
        path = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        raise ValueError("the steps of a proof are base64") from None
    return Proof(int(number), path, note.encode())


def extra_data(text: str) -> bytes:
    """Give the extra data of a proof, b"" if it has none. Raises ValueError."""
    lines = text.split("\n", 2)
    if len(lines) < 2 or not lines[1].startswith(_EXTRA):
        return b""
    try:
        return base64.b64decode(lines[1].removeprefix(_EXTRA), validate=True)
    except binascii.Error:
        raise ValueError("the extra data of a proof is base64") from None
