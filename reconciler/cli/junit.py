"""Findings as JUnit XML, the format that every CI reads: a test suite per file, a test case per finding.

An error is a failed case; a warning, of which JUnit knows nothing, is a passed one with output. A file without findings
is a passed case, so that a report is never empty, which some readers take for a failure. Pure ASCII, control characters
escaped as elsewhere in Pai, so that no reader stumbles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from xml.sax.saxutils import escape, quoteattr

from reconciler.cli.findings import Findings, omitted_words
from reconciler.core.diagnostics import Diagnostic, format_line, printable

SHOWN_MAX = 10_000
"""Findings listed, and as many files without one."""
NAME = "pai validate"


def print_findings(findings: Findings) -> None:
    """Print the report: files with findings, then files without; what is left out is a skipped case."""
    suites = [
        (path, [_case(diagnostic) for diagnostic in group])
        for path, group in groupby(findings.shown, attrgetter("path"))
    ]
    suites += [(path, [_passed(path)]) for path in islice(_clean(findings), SHOWN_MAX)]
    if findings.omitted:
        skipped = f"<skipped message={_quoted(omitted_words(findings.omitted))}/>"
        suites.append(
            (NAME, [f"<testcase {_attributes(classname=NAME, name='further problems')}>{skipped}</testcase>"])
        )
    if not suites:
        suites.append((NAME, [f"<testcase {_attributes(classname=NAME, name=findings.summary)}/>"]))
    cases = [case for _, cases in suites for case in cases]
    print('<?xml version="1.0" encoding="UTF-8"?>')
    print(f"<testsuites {_attributes(name=NAME, **_counts(cases))}>")
    for path, cases in suites:
        print(f"  <testsuite {_attributes(name=path, **_counts(cases))}>")
        print("".join(f"    {case}\n" for case in cases), end="")
        print("  </testsuite>")
    print("</testsuites>")


def _clean(findings: Findings) -> Iterator[str]:
    """Name the files that hold objects and have no finding."""
    found = {diagnostic.path for diagnostic in findings.verdict.diagnostics}
    files = dict.fromkeys(placed.path for placed in findings.verdict.objects.values())
    return (findings.place.path(path) for path in files if path not in found)


def _case(diagnostic: Diagnostic) -> str:
    place = f"{diagnostic.line}:{diagnostic.column}"
    name = f"{diagnostic.rule} at {place}: {diagnostic.message}"
    path = diagnostic.path
    attributes = _attributes(classname=path, name=name, file=path, line=str(diagnostic.line))
    text = _text(format_line(diagnostic))
    if diagnostic.severity == "error":
        kind = _attributes(message=diagnostic.message, type=diagnostic.rule)
        return f"<testcase {attributes}><failure {kind}>{text}</failure></testcase>"
    return f"<testcase {attributes}><system-out>{text}</system-out></testcase>"


def _passed(path: str) -> str:
    return f"<testcase {_attributes(classname=path, name='no problems', file=path)}/>"


def _counts(cases: Sequence[str]) -> dict[str, str]:
    failures = sum("><failure " in case for case in cases)
    skipped = sum("><skipped " in case for case in cases)
    return {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}


def _attributes(**values: str) -> str:
    return " ".join(f"{name}={_quoted(value)}" for name, value in values.items())


def _quoted(text: str) -> str:
    return quoteattr(_text(text, escape_markup=False)).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _text(text: str, *, escape_markup: bool = True) -> str:
    shown = printable(text)
    return escape(shown).encode("ascii", "xmlcharrefreplace").decode("ascii") if escape_markup else shown
