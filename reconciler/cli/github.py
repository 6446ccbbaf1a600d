"""Findings as GitHub's workflow commands: `::error file=...,line=...,col=...,title=...::message`, one a line.

The runner turns them into annotations of the pull request's lines. It shows ten errors and ten warnings of a step and
leaves the others in the step's log, so if there are more, a notice says so. The message repeats the place, as the log
shows nothing else of a command.
"""

from __future__ import annotations

from reconciler.cli.findings import Findings, omitted_words
from reconciler.core.diagnostics import Diagnostic, format_line, printable
from reconciler.manifests.rules import RULES

SHOWN_MAX = 1000
ANNOTATED_MAX = 10
"""Annotations of one severity that GitHub shows of a step."""


def print_findings(findings: Findings) -> None:
    """Print one command a finding, and a notice first if GitHub will not show them all."""
    by_severity = [sum(1 for d in findings.shown if d.severity == severity) for severity in ("error", "warning")]
    if max(by_severity) > ANNOTATED_MAX or findings.omitted:
        said = f"{findings.summary}. GitHub marks the first {ANNOTATED_MAX} errors and warnings, the log has the others"
        if findings.omitted:
            said += f"; {omitted_words(findings.omitted)}"
        print(f"::notice title={_property('pai validate')}::{_message(said)}")
    for diagnostic in findings.shown:
        print(_command(diagnostic))


def _command(diagnostic: Diagnostic) -> str:
    place = {"file": diagnostic.path, "line": str(diagnostic.line), "col": str(diagnostic.column)}
    properties = {**place, "title": f"{diagnostic.rule} {RULES[diagnostic.rule].title}"}
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{diagnostic.severity} {written}::{_message(format_line(diagnostic))}"


def _message(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
