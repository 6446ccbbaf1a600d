"""A problem in a manifest: where it is, which rule it breaks and what to do about it.

Diagnostics are plain values, collected and sorted; only the edges print them. Lines and columns count from 1, columns
in Unicode code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

Severity = Literal["error", "warning"]


class Diagnostic(msgspec.Struct, frozen=True, order=True):
    """One problem at one place; sorts by path, line, column, then rule.

    `path` is relative to the repository (or to the folder that was validated), with forward slashes. `text` is the
    offending text, masked where it may be a key. `hint` says the way out.
    """

    path: str
    line: int
    column: int
    severity: Severity
    rule: str
    message: str
    hint: str = ""
    text: str = ""


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Tell whether any of `diagnostics` refuses the revision (warnings alone do not)."""
    return any(d.severity == "error" for d in diagnostics)


def foremost(diagnostics: Sequence[Diagnostic], most: int) -> Sequence[Diagnostic]:
    """Give at most `most` diagnostics in their order; a warning is left out before an error is."""
    if len(diagnostics) <= most:
        return diagnostics
    errors = [d for d in diagnostics if d.severity == "error"][:most]
    warnings = [d for d in diagnostics if d.severity != "error"][: most - len(errors)]
    return sorted(errors + warnings)


class Shown(msgspec.Struct, frozen=True):
    """The part of a verdict that a pusher is shown: the first diagnostics, errors preferred, and how many there are."""

    diagnostics: list[Diagnostic]
    problems: int
    errors: int


SHOWN_MAX = 100
"""The most diagnostics that a pusher is shown."""


def shown(diagnostics: Sequence[Diagnostic]) -> Shown:
    """Pick the part of a verdict that a pusher is shown."""
    errors = sum(diagnostic.severity == "error" for diagnostic in diagnostics)
    return Shown(list(foremost(diagnostics, SHOWN_MAX)), len(diagnostics), errors)


def format_line(diagnostic: Diagnostic) -> str:
    """Write `diagnostic` on one line: `path:line:col: error PAI101 message (hint)`, control characters escaped.

    A message that does not quote the offending text is followed by the first characters of its first line.
    A path that begins as a command to a CI runner (`::warning ...`) begins with `./`.
    """
    d = diagnostic
    hint = f" ({d.hint})" if d.hint else ""
    here = "./" if d.path.lstrip().startswith(("::", "##")) else ""
    return printable(f"{here}{d.path}:{d.line}:{d.column}: {d.severity} {d.rule} {d.message}{_quote(d)}{hint}")


TEXT_SHOWN_MAX = 60


def _quote(diagnostic: Diagnostic) -> str:
    text = diagnostic.text.split("\n", 1)[0].strip()
    shown = text[:TEXT_SHOWN_MAX]
    if not shown or shown in diagnostic.message or text == diagnostic.path:
        return ""
    return f": {shown}{'…' * (len(text) > TEXT_SHOWN_MAX)}"


def printable(text: str) -> str:
    r"""Escape what could move a terminal's cursor or reorder its text; bytes that are no UTF-8 become `\xff`.

    A CI runner takes some lines that a step prints for commands; the first character of such a command is escaped too.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    return _ORDER.sub(r"\1\\x3a", _ORDER_ANYWHERE.sub(r"\\x23", text)) if "##" in text or "::" in text else text


def printable_json(text: str) -> str:
    """Escape the same characters in JSON text in JSON's own way, which keeps its values; line ends stay."""
    text = _UNUSUAL.sub(_json_escaped, text)
    return _ORDER_ANYWHERE.sub(r"\\u0023", text) if "##" in text else text


_ORDER_ANYWHERE = re.compile(r"#(?=#(?:[A-Za-z]\w*)?\[)")
"""`##vso[...]`, which Azure's agent finds anywhere in a line, and `##[...]`, which GitHub's does."""
_ORDER = re.compile(r"\A(\s*):(?=:[A-Za-z][\w-]*(?: .*?)?::)")
"""`::warning ...::`, which runners of GitHub, Gitea and Forgejo find at the beginning of a line."""
_UNUSUAL = re.compile(r"[^\n -~]+")


def _json_escaped(found: re.Match[str]) -> str:
    if found[0].isprintable():
        return found[0]
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def csv_cell(text: str) -> str:
    """Make text safe in a cell of CSV: nothing that steers a terminal, and no spreadsheet takes it for a formula."""
    shown = printable(text)
    return f"'{shown}" if shown[:1] in _FORMULA else shown


_FORMULA = ("=", "+", "-", "@")


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds such a byte
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
