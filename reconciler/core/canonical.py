"""Canonical JSON (RFC 8785): one value, one sequence of bytes.

msgspec writes strings and integers exactly as RFC 8785 wants them; what it does not do is sort keys by UTF-16 code
units and write floats as ECMAScript does, so those two are done here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import msgspec

_encode = msgspec.json.Encoder().encode

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8785, section 3.2.2.3)."""


def canonical(value: object) -> bytes:
    """Encode JSON values (str, int, float, bool, None, list, tuple, dict) as RFC 8785 bytes.

    Raises ValueError for what has no canonical form: NaN, infinities, integers beyond 2^53 - 1, lone surrogates.
    """
    try:
        return _encode(_ordered(value))
    except UnicodeEncodeError as error:
        raise ValueError(f"text that is not Unicode: {error}") from error


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        keys = sorted(value) if all(map(str.isascii, value)) else sorted(value, key=_utf16)
        return {key: _ordered(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if isinstance(value, float):
        return msgspec.Raw(ecmascript_number(value).encode())
    if isinstance(value, int) and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        raise ValueError(f"{value} is beyond what JSON keeps exactly")
    return value


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


_PLAIN_KINDS = frozenset((str, bool, type(None)))


def is_plain(value: object) -> bool:
    """Tell whether msgspec alone writes `value` canonically: ASCII keys, no floats, integers that JSON keeps."""
    items: Iterable[object] = (value,)
    if type(value) is dict:
        if not "".join(value).isascii():
            return False
        items = value.values()
    elif type(value) is list:
        items = value
    for item in items:
        kind = type(item)
        if kind in _PLAIN_KINDS:
            continue
        if kind is int:
            if not -MAX_SAFE_INTEGER <= cast("int", item) <= MAX_SAFE_INTEGER:
                return False
        elif not ((kind is dict or kind is list) and is_plain(item)):
            return False
    return True


def same_value(one: object, other: object) -> bool:
    """Compare JSON values as JSON does: True is not 1, and False not 0, at any depth."""
    if isinstance(one, dict):
        if not isinstance(other, dict) or one.keys() != other.keys():
            return False
        return all(same_value(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        if not isinstance(other, list) or len(one) != len(other):
            return False
        return all(map(same_value, one, other))
    return type(one) is type(other) and one == other


def as_json_reads(value: float) -> float | int:
    """Give the number that reading `value` back from canonical JSON gives: whole floats come back as integers."""
    return int(value) if value.is_integer() and abs(value) <= MAX_SAFE_INTEGER else value


def ecmascript_number(value: float) -> str:
    """Write a finite float as ECMAScript's Number::toString does (RFC 8785, section 3.2.2.3)."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no JSON form")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, exponent = f"{abs(value)!r}e0".split("e")[:2]
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = int(exponent) + len(whole)  # the decimal point stands before digit number `point`
    if not whole.strip("0"):
        point -= len(fraction) - len(fraction.lstrip("0")) + len(whole)
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        padded = digits.ljust(point, "0")
        return sign + padded[:point] + ("." + padded[point:] if len(digits) > point else "")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = "." + digits[1:] if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"
