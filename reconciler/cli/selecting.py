"""Labels that objects are selected by, as kubectl writes them: `team=a,tier!=test,owner,!old,region in (eu, us)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.core.errors import UsageError

Selects = Callable[[Mapping[str, Any]], bool]
_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]{0,315}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<gone>{_LABEL})"
    rf"|(?P<key>{_LABEL})(?:\s*(?P<sign>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|\s+(?P<word>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|\Z)"
)


def selector(text: str) -> Selects:
    """Read a selector; an empty one selects everything. Raises UsageError."""
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    index = 0
    while index < len(text):
        found = _TERM.match(text, index)
        if found is None or (found.end() == len(text) and text.rstrip().endswith(",")):
            hint = "write k=v, k!=v, k, !k, k in (a,b) or k notin (a,b), with commas between them"
            raise UsageError(f"--selector: cannot read the labels {text[index:]!r}", hint)
        tests.append(_test(found))
        index = found.end()
    return lambda item: all(test(item["metadata"].get("labels", {})) for test in tests)


def _test(found: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    gone, key = found["gone"], found["key"]
    if found["absent"]:
        return lambda labels: gone not in labels
    if found["word"]:
        values = {value.strip() for value in found["values"].split(",")}
        wanted = found["word"] == "in"
        return lambda labels: (labels.get(key) in values) is wanted
    if found["sign"]:
        value, equal = found["value"], found["sign"] != "!="
        return lambda labels: (labels.get(key) == value) is equal
    return lambda labels: key in labels
