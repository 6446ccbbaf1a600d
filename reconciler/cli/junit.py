"""Findings as JUnit XML, the format that every CI reads: a test suite per file, a test case per finding.

An error is a failed case; a warning, of which JUnit knows nothing, is a passed one with output. A file without findings
is a passed case, so that a report is never empty, which some readers take for a failure. Pure ASCII, control characters
escaped as elsewhere in Pai, so that no reader stumbles.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from operator import attrgetter
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from reconciler.cli.findings import Findings, omitted_words
from reconciler.core.diagnostics import Diagnostic, format_line, printable

SHOWN_MAX = 10_000
"""Findings listed, and as many files without one."""
NAME = "pai validate"


def print_findings(findings: Findings) -> None:
    """Print the report: files with findings, then files without; what is left out is a skipped case."""
    root = Element("testsuites")
    for path, group in groupby(findings.shown, attrgetter("path")):
        _suite(root, path, [_case(diagnostic) for diagnostic in group])
    for path in islice(_clean(findings), SHOWN_MAX):
        _suite(root, path, [_element("testcase", classname=path, name="no problems", file=path)])
    if findings.omitted:
        skipped = _element("testcase", classname=NAME, name="further problems")
        skipped.append(_element("skipped", message=omitted_words(findings.omitted)))
        _suite(root, NAME, [skipped])
    if not len(root):
        _suite(root, NAME, [_element("testcase", classname=NAME, name=findings.summary)])
    root.attrib |= {"name": NAME, **_counts(root)}
    indent(root)
    print('<?xml version="1.0" encoding="UTF-8"?>')
    print(tostring(root, encoding="us-ascii").decode("ascii"))


def _clean(findings: Findings) -> Iterator[str]:
    """Name the files that hold objects and have no finding."""
    found = {diagnostic.path for diagnostic in findings.verdict.diagnostics}
    files = dict.fromkeys(placed.path for placed in findings.verdict.objects.values())
    return (findings.place.path(path) for path in files if path not in found)


def _suite(root: Element, path: str, cases: list[Element]) -> None:
    suite = SubElement(root, "testsuite", name=printable(path))
    suite.extend(cases)
    suite.attrib |= _counts(suite)


def _case(diagnostic: Diagnostic) -> Element:
    place = f"{diagnostic.line}:{diagnostic.column}"
    name = f"{diagnostic.rule} at {place}: {diagnostic.message}"
    path = diagnostic.path
    case = _element("testcase", classname=path, name=name, file=path, line=str(diagnostic.line))
    if diagnostic.severity == "error":
        case.append(_element("failure", message=diagnostic.message, type=diagnostic.rule))
    else:
        case.append(Element("system-out"))
    case[0].text = printable(format_line(diagnostic))
    return case


def _element(tag: str, **attributes: str) -> Element:
    """Make an element; XML 1.0 knows no control characters, so they are escaped as elsewhere in Pai."""
    return Element(tag, {name: printable(value) for name, value in attributes.items()})


def _counts(element: Element) -> dict[str, str]:
    failures, skipped = (sum(1 for _ in element.iter(tag)) for tag in ("failure", "skipped"))
    tests = sum(1 for _ in element.iter("testcase"))
    return {"tests": str(tests), "failures": str(failures), "errors": "0", "skipped": str(skipped)}
