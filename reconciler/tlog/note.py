r"""Keys of signed notes (C2SP signed-note): the key pair that the log's checkpoints are signed with.

A verifier key is `<name>+<hash>+<base64(0x01 || public key)>`, a signing key
`PRIVATE+KEY+<name>+<hash>+<base64(0x01 || seed)>`, where hash is the first four bytes, in hex, of
SHA-256(name || "\n" || 0x01 || public key) and 0x01 stands for Ed25519. Knows no files; a signing key must never be
logged or shown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final, NamedTuple

_ED25519: Final = b"\x01"
_PRIVATE: Final = "PRIVATE+KEY+"


class VerifierKey(NamedTuple):
    """Who signed (`name`), the four-byte key id, and the Ed25519 public key of 32 bytes."""

    name: str
    key_id: bytes
    public: bytes

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public)}"


class KeyPair(NamedTuple):
    """The two texts of one key; `secret` is to be kept in a file of mode 0600."""

    secret: str
    vkey: str

    def __repr__(self) -> str:
        return f"KeyPair({self.vkey})"


def generate(name: str) -> KeyPair:
    """Make a new Ed25519 key for the origin `name` (as `example.com/log`; no spaces, no plus, not empty)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _pair(name, Ed25519PrivateKey.generate().private_bytes_raw())


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key. Raises ValueError if it is none or its hash does not match."""
    name, key_id, data = _split(text)
    if len(data) != 33 or data[:1] != _ED25519:
        raise ValueError("the verifier key is not an Ed25519 key")
    key = _verifier(name, data[1:])
    if key.key_id != key_id:
        raise ValueError("the verifier key's hash does not match")
    return key


def parse_secret(text: str) -> KeyPair:
    """Read a signing key. Raises ValueError, which never quotes it, if it is none or its hash does not match."""
    if not text.startswith(_PRIVATE):
        raise ValueError("this is no signing key")
    name, key_id, data = _split(text.removeprefix(_PRIVATE))
    if len(data) != 33 or data[:1] != _ED25519:
        raise ValueError("the signing key is not an Ed25519 key")
    pair = _pair(name, data[1:])
    if parse_vkey(pair.vkey).key_id != key_id:
        raise ValueError("the signing key's hash does not match")
    return pair


def sign(secret: str, message: bytes) -> bytes:
    """Sign a note's text; give the four bytes of the key's id and the signature. Raises ValueError for a bad key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = parse_vkey(parse_secret(secret).vkey)
    seed = _split(secret.removeprefix(_PRIVATE))[2][1:]
    return key.key_id + Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def signed_by(key: VerifierKey, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` (without the key's id) is that of `key` over a note's text."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _pair(name: str, seed: bytes) -> KeyPair:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise ValueError(f"{name!r} cannot name a key: no spaces, no plus sign, not empty")
    key = _verifier(name, Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())
    return KeyPair(f"{_PRIVATE}{name}+{key.key_id.hex()}+{_base64(_ED25519 + seed)}", str(key))


def _verifier(name: str, public: bytes) -> VerifierKey:
    return VerifierKey(name, hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4], public)


def _split(text: str) -> tuple[str, bytes, bytes]:
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0] or len(parts[1]) != 8:
        raise ValueError("a key reads name+hash+base64")
    try:
        return parts[0], bytes.fromhex(parts[1]), base64.b64decode(parts[2], validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("a key reads name+hash+base64") from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
