"""Keys that agents authenticate with: what one looks like and what is kept of it.

A key is `pak_` and 256 random bits in base64url. Only its SHA-256 is ever kept; with that much randomness in it a slow
hash would add nothing. Pure: randomness comes in as an argument.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

PREFIX: Final = "pak_"
KEY_BYTES: Final = 32
ID_BYTES: Final = 7
_KEY = re.compile(r"pak_[A-Za-z0-9_-]{43}")
_WITHIN = re.compile(r"pak_[A-Za-z0-9_-]{8,}")


def make_key(random: bytes) -> str:
    """Write 32 random bytes as a key."""
    assert len(random) == KEY_BYTES
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def make_id(random: bytes) -> str:
    """Write 7 random bytes as a key's public name, an RFC 1123 label."""
    assert len(random) == ID_BYTES
    return "key-" + base64.b32encode(random).rstrip(b"=").decode("ascii").lower()


def looks_like_key(text: str) -> bool:
    """Tell whether the text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def masked(text: str) -> str:
    """Give a text without the keys in it, also mistyped ones."""
    return _WITHIN.sub(f"{PREFIX}***", text)


def digest(key: str) -> str:
    """Give what is kept of a key: its SHA-256, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
