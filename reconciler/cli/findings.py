"""What is found in manifests, in the format that whoever asked can read: text, json, GitHub's, SARIF, JUnit.

`text` and `json` name files as the verdict does. The formats that a forge reads name them from the top of the
repository, whatever folder was judged, since the forge marks the line in its own view of it. Every format is bounded;
what it leaves out it counts, in the format itself and on stderr. Errors are never left out for warnings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from reconciler.cli.output import note, print_diagnostics, print_json
from reconciler.core.diagnostics import Diagnostic, foremost
from reconciler.core.text import counted
from reconciler.manifests.judging import Verdict

SHOWN_MAX = 1000
"""Lines of text and of GitHub's commands."""


class Place(NamedTuple):
    """Where the paths of a verdict begin: a folder, and the top of the repository around it.

    Both are absolute; "" stands for a repository without files on disk, and then for its top.
    """

    folder: str
    top: str

    def path(self, path: str) -> str:
        """Give a verdict's path from the top of the repository, with forward slashes; one outside stays absolute."""
        whole = os.path.normpath(os.path.join(self.folder, path))
        if not self.top:
            return whole
        inside = os.path.relpath(whole, self.top)
        return whole if inside.split("/", 1)[0] == ".." else inside


class Findings(NamedTuple):
    """A verdict for a forge: `shown` are the diagnostics listed, their paths from the top; `omitted` counts others."""

    verdict: Verdict
    shown: Sequence[Diagnostic]
    omitted: int
    place: Place
    summary: str


def place_of(folder: Path) -> Place:
    """Find the top of the work tree around a folder, which is the folder itself if there is none."""
    from reconciler.source.surroundings import work_tree

    absolute = folder.resolve()
    return Place(str(absolute), str(work_tree(absolute) or absolute))


def print_findings(verdict: Verdict, output: str, place: Callable[[], Place]) -> None:
    """Print a verdict in one of `OUTPUTS`, and what it comes to on stderr. `place` is asked if paths need it."""
    summary = summary_of(verdict)
    if output == "json":
        print_json({"diagnostics": msgspec.to_builtins(verdict.diagnostics)})
        return
    if output == "text":
        shown = foremost(verdict.diagnostics, SHOWN_MAX)
        print_diagnostics(shown, len(verdict.diagnostics) - len(shown))
    else:
        from reconciler.cli import github, junit, sarif

        module = {"github": github, "junit": junit, "sarif": sarif}[output]
        where = place()
        shown = [replace(d, path=where.path(d.path)) for d in foremost(verdict.diagnostics, module.SHOWN_MAX)]
        omitted = len(verdict.diagnostics) - len(shown)
        module.print_findings(Findings(verdict, shown, omitted, where, summary))
        if omitted:
            note(f"{omitted_words(omitted)}; pai validate -o json lists all")
    note(summary)


OUTPUTS = ("text", "json", "github", "sarif", "junit")


def omitted_words(omitted: int) -> str:
    """Say how many problems are not listed."""
    return f"{omitted:,} more problem{'s are' if omitted != 1 else ' is'} not listed"


def summary_of(verdict: Verdict) -> str:
    """Say in one line what a verdict comes to."""
    diagnostics = verdict.diagnostics
    errors = sum(1 for d in diagnostics if d.severity == "error")
    if errors:
        files = len({d.path for d in diagnostics if d.severity == "error"})
        return f"{counted(errors, 'error')} in {counted(files, 'file')}"
    warnings = f", {counted(len(diagnostics), 'warning')}" if diagnostics else ""
    return f"ok: {counted(len(verdict.objects), 'object')}{warnings}"
