"""Checkpoints: size and root of the log, signed (C2SP tlog-checkpoint, which is a C2SP signed note).

    example.com/log            the origin
    20852163                   the size
    CsUYapGPPo4dkMgIAUqom/...  the root, base64
                               an empty line, then signatures:
    — example.com/log Az3grl...   base64(key id of 4 bytes || Ed25519 signature over the three lines)

Pure. What was not verified must not be believed: `verify` is the way in, `read` only says what a text claims.
"""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

from reconciler.tlog import note
from reconciler.tlog.merkle import HASH_SIZE
from reconciler.tlog.note import VerifierKey

NOTE_BYTES_MAX: Final = 65_536
_MARK: Final = "— "  # em dash, space


class Checkpoint(NamedTuple):
    """What a checkpoint vouches for: the log `origin` has a beginning of `size` events with this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Give the signed text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


def sign(checkpoint: Checkpoint, secret: str) -> str:
    """Sign with a signing key in note notation, whose name must be the origin; give the whole note.

    Raises ValueError for a key that is none or another log's.
    """
    name = note.parse_vkey(note.parse_secret(secret).vkey).name
    if name != checkpoint.origin:
        raise ValueError(f"the key of {name} cannot sign for {checkpoint.origin}")
    signature = note.sign(secret, checkpoint.text().encode())
    return f"{checkpoint.text()}\n{_MARK}{name} {base64.b64encode(signature).decode('ascii')}\n"


def verify(text: bytes, key: VerifierKey) -> Checkpoint:
    """Give what the note says, once a signature of `key` over it holds. Raises ValueError, saying what is wrong."""
    body, lines = _split(text)
    checkpoint = _parse(body)
    if checkpoint.origin != key.name:
        raise ValueError(f"it is a checkpoint of {checkpoint.origin}, not of {key.name}")
    found = [_signature(line) for line in lines]
    ours = [signature[4:] for name, signature in found if name == key.name and signature[:4] == key.key_id]
    if not ours:
        raise ValueError(f"it is not signed by the key {key.name}+{key.key_id.hex()}")
    if not all(note.signed_by(key, body.encode(), signature) for signature in ours):
        raise ValueError("its signature does not hold")
    return checkpoint


def read(text: bytes) -> Checkpoint:
    """Give what a note claims, whoever signed it. Raises ValueError if it is no checkpoint."""
    body, lines = _split(text)
    for line in lines:
        _signature(line)
    return _parse(body)


def _split(data: bytes) -> tuple[str, list[str]]:
    if len(data) > NOTE_BYTES_MAX:
        raise ValueError(f"it has {len(data)} bytes, a checkpoint at most {NOTE_BYTES_MAX}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    if any(ord(character) < 0x20 and character != "\n" for character in text):
        raise ValueError("it has control characters")
    body, blank, signatures = text.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise ValueError("it is no signed note: text, an empty line, signatures")
    return body + "\n", signatures[:-1].split("\n")


def _parse(text: str) -> Checkpoint:
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise ValueError("a checkpoint has three lines: origin, size, root")
    origin, size, root = lines[:3]
    if not (size.isascii() and size.isdigit()) or (size[0] == "0" and size != "0") or len(size) > 19:
        raise ValueError(f"{size[:40]!r} is no size")
    if len(lines) > 3:
        raise ValueError("it has extension lines, which no checkpoint of Pai has")
    hashed = _base64(root)
    if len(hashed) != HASH_SIZE:
        raise ValueError("its root is no SHA-256 hash")
    return Checkpoint(origin, int(size), hashed)


def _signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    data = _base64(encoded)
    if not line.startswith(_MARK) or not name or len(data) < 5:
        raise ValueError("a signature line reads: — NAME BASE64")
    return name, data


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text)
    except ValueError:
        data = b""
    if base64.b64encode(data) != text.encode():  # also other characters and spare bits: one value has one spelling
        raise ValueError(f"{text[:60]!r} is not base64")
    return data
