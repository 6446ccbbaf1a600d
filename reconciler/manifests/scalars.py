"""What a plain scalar means: the YAML 1.2 core schema, except that a decimal integer with a leading zero stays text.

So `no`, `on`, `2026-11-23`, `12:30:45` and `0777` are the strings the author typed. Nothing here knows about fields.
"""

from __future__ import annotations

import math
import re

from reconciler.core.canonical import MAX_SAFE_INTEGER

Value = str | int | float | bool | None

WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
MAYBE_NUMBER = frozenset("+-.0123456789")
"""A plain scalar that is none of `WORDS` and begins with none of these is the text itself."""
_NUMBER = re.compile(
    r"""(?P<int>[-+]?(?:0|[1-9][0-9]*))
      | (?P<octal>0o[0-7]+)
      | (?P<hex>0x[0-9a-fA-F]+)
      | (?P<zeros>[-+]?0[0-9]+)
      | (?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)
      | (?P<infinity>[-+]?\.(?:inf|Inf|INF))
      | (?P<nan>\.(?:nan|NaN|NAN))""",
    re.VERBOSE,
)
_HUGE = 10**18
"""Stands for an integer of more digits than JSON keeps; such a value is always refused, so it only has to be unsafe."""


def plain_value(text: str) -> Value:
    """Give the value of an untagged plain scalar."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in MAYBE_NUMBER:
        return text
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    kind = found.lastgroup
    if kind == "zeros":
        return text
    if kind == "float":
        return float(text)
    if kind in ("infinity", "nan"):
        return float(text.replace(".", ""))
    return _integer(text)


def _integer(text: str) -> int:
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    if len(text) > 24:  # Python itself refuses to read thousands of digits
        digits = text[2:] if base != 10 else text.lstrip("+-")
        if len(digits.lstrip("0")) > 20:
            return -_HUGE if text[0] == "-" else _HUGE
    value = int(text[2:] if base != 10 else text, base)
    return max(-_HUGE, min(_HUGE, value))


def tagged_value(tag: str, text: str) -> Value:
    """Give the value of a scalar with one of YAML's own tags (its last word). Raises ValueError if it does not fit."""
    if tag == "str":
        return text
    value = plain_value(text)
    if tag == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value).__name__.replace("NoneType", "null") != tag:
        raise ValueError(f"{text!r} is no {tag}")
    return value


def is_exact(value: object) -> bool:
    """Tell whether JSON keeps a number as it is (other values always are)."""
    if isinstance(value, float):
        # A whole float is written as an integer up to 1e21, and integers are exact only so far.
        return math.isfinite(value) and not (value.is_integer() and MAX_SAFE_INTEGER < abs(value) < 1e21)
    return not isinstance(value, int) or -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
