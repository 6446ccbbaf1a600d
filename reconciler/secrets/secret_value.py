"""A secret's value as a type that cannot be printed by accident, and the rules for names.

Invariant: the bytes leave a SecretValue only through `reveal`. Every name or key that becomes part of a path has
passed `check_name` or `check_key` first, so none of them can leave its folder.
"""

from __future__ import annotations

import hmac
import re
from typing import NoReturn, SupportsIndex

from reconciler.core.errors import SecretMissing, UsageError

VALUE_BYTES_MAX = 1024 * 1024
HEADER_BYTES_MAX = 8 * 1024
"""Of a value that goes to a provider: most servers take no longer line, and each answer is searched for it."""

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_HEADER = re.compile(rb"[!-~]+")
"""What a header can carry, and any provider's key is made of."""
_MARKS = {
    b"\xef\xbb\xbf": "begins with a byte order mark (save its file without one)",
    b"\xff\xfe": "is UTF-16 text (save its file as UTF-8)",
    b"\xfe\xff": "is UTF-16 text (save its file as UTF-8)",
}
_MASK = "SecretValue(***)"


class SecretValue:
    """Bytes that show as `SecretValue(***)` wherever they are printed, and that refuse to be copied or pickled."""

    __slots__ = ("__value",)

    def __init__(self, value: bytes) -> None:
        self.__value = bytes(value)

    def reveal(self) -> bytes:
        """Give the value itself, for the one place that needs it."""
        return self.__value

    def __repr__(self) -> str:
        return _MASK

    def __format__(self, _: str) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and hmac.compare_digest(self.__value, other.__value)

    __hash__ = None  # type: ignore[assignment] # a dictionary key is sooner or later printed

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError("a SecretValue cannot be pickled or copied")


def header_text(name: str, key: str, value: bytes) -> str:
    """Give a value as a header carries it. Raises SecretMissing, which says why it can serve no request."""
    if why := unfit(value):
        raise SecretMissing(f"secret {name} key {key} {why}", f"store it again: pai add secret {name}")
    return value.decode("ascii")


def unfit(value: bytes) -> str:
    """Say why no header can carry a value, as what follows its name; "" if one can. Nothing of the value is shown."""
    if len(value) > HEADER_BYTES_MAX:
        return f"has more than {HEADER_BYTES_MAX:,} bytes"
    if _HEADER.fullmatch(value):
        return ""
    for mark, text in _MARKS.items():
        if value.startswith(mark):
            return text
    if not value:
        return "is empty"
    if not value.isascii():
        return "is not ASCII text"
    return "has blanks or control characters"


def check_name(name: str) -> str:
    """Check a secret's name (RFC 1123 subdomain, at most 253 characters). Raises UsageError."""
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} is no name for a secret",
            "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
        )
    return name


def check_key(key: str) -> str:
    """Check the name of a secret's key (letters, digits, '-', '.', '_', at most 253 characters). Raises UsageError."""
    if len(key) > 253 or not _KEY.fullmatch(key) or key in (".", ".."):
        raise UsageError(f"{key[:80]!r} is no name for a key", "letters, digits, '-', '.' and '_'")
    return key


def check_value(name: str, key: str, value: bytes) -> None:
    """Check that a value has between one byte and 1 MiB. Raises UsageError, which does not show the value."""
    if not value:
        raise UsageError(f"the value of {name} key {key} is empty", "check where it comes from")
    if len(value) > VALUE_BYTES_MAX:
        raise UsageError(f"the value of {name} key {key} is over 1 MiB", "a key is one line; check where it comes from")
