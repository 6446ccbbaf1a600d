"""What one file says, as path-free values that can be kept and reused by blob id.

Nothing here parses or judges. Invariant: two files with the same bytes have equal Facts, whatever their paths, so a
blob is read once. Facts never hold a secret: texts are masked before they get here, and the content of a file with an
inline key is not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from reconciler.core.diagnostics import Diagnostic, Severity
from reconciler.core.objects import Kind, Manifest, Reference
from reconciler.core.text import cut
from reconciler.manifests.inline_keys import redact, redact_beginning
from reconciler.manifests.rules import RULES_VERSION, usual_fix


class Entry(NamedTuple):
    """What a tree or folder holds at one path.

    `path` is relative to the source path, with forward slashes; bytes that are no UTF-8 arrive as surrogate escapes.
    `oid` is the git blob id, "" if there is none; `size` in bytes, -1 if unknown.
    """

    path: str
    kind: Literal["file", "symlink", "submodule"]
    oid: str
    size: int
    read: Callable[[], bytes]


SAID_MAX = 1000
"""The most characters of a problem's message, of its hint and of its text."""


class Problem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A Diagnostic without its path. In place of an empty `text` it shows the path, of an empty `hint` the rule's."""

    line: int
    column: int
    severity: Severity
    rule: str
    message: str
    hint: str = ""
    text: str = ""

    def at(self, path: str) -> Diagnostic:
        """Give the Diagnostic of this problem in the file at `path`."""
        hint, text = self.hint or usual_fix(self.rule), self.text or path
        said = (redact(self.message), redact(hint), redact(text))  # whatever was quoted, never a key
        return Diagnostic(path, self.line, self.column, self.severity, self.rule, *said)

    def short(self) -> Problem:
        """Give it with texts of at most `SAID_MAX` characters, whatever they quote."""
        said = self.message, self.hint, self.text
        if max(map(len, said)) <= SAID_MAX:
            return self
        message, hint, text = (cut(redact_beginning(each, SAID_MAX), SAID_MAX) for each in said)
        return Problem(self.line, self.column, self.severity, self.rule, message, hint, text)


PROBLEMS_MAX = 1000
"""The most problems of one file that are listed; the rest is counted."""


class Problems(list[Problem]):
    """Problems of one document; `omitted` counts those that were found beyond what a file lists."""

    omitted = 0

    def add_in_order(self, problem: Problem) -> None:
        """List an error that stands behind all listed ones, or count it if the list is full."""
        if len(self) < PROBLEMS_MAX:
            self.append(problem)
        else:
            self.omitted += 1

    def clear(self) -> None:
        """Forget all of them."""
        super().clear()
        self.omitted = 0


class Named(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A broken document whose kind and name can be read: references to it hold, so that one mistake stays one problem.

    `line` is 0 if the name was only guessed from text that is no YAML; such a name never counts as a
    second definition. The references of a broken agent are still checked. Its name is "" if it cannot be read.
    """

    kind: Kind
    name: str
    line: int = 0
    column: int = 0
    references: tuple[Reference, ...] = ()


class Facts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Everything one blob says; `omitted` counts the problems beyond those listed.

    `size` estimates the memory that its objects take, `recorded` what the log has of them when they change, in bytes.
    """

    manifests: tuple[Manifest, ...] = ()
    named: tuple[Named, ...] = ()
    problems: tuple[Problem, ...] = ()
    omitted: int = 0
    size: int = 0
    recorded: int = 0


def most_severe(problems: Iterable[Problem], most: int) -> list[Problem]:
    """Give at most `most` of them, sorted by place; a warning is left out before an error is."""
    problems = sorted(problems, key=lambda p: (p.line, p.column, p.rule))
    if len(problems) <= most:
        return problems
    errors = [problem for problem in problems if problem.severity == "error"][:most]
    warnings = [problem for problem in problems if problem.severity != "error"][: most - len(errors)]
    return sorted(errors + warnings, key=lambda p: (p.line, p.column, p.rule))


@cache
def schema_folder() -> Path:
    """Find the JSON Schema files: inside an installed package, else at the top of the checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_files" / "schemas"
    return installed if installed.is_dir() else package.parent / "schemas"


def _version() -> str:
    digest = hashlib.sha256(RULES_VERSION.encode())
    for name in ("modelbinding_v1.json", "agentworkload_v1.json"):
        digest.update(b"\0" + (schema_folder() / name).read_bytes())
    return digest.hexdigest()[:16]


VERSION = _version()
"""Names the rules and schemas that facts were made by; kept facts of another version are not used."""
