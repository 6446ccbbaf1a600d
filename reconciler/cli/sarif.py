"""Findings as one SARIF 2.1.0 log (OASIS, with errata 01), for code scanning and editors.

Paths are percent-encoded and relative to SRCROOT, the top of the repository. Columns are code points, as everywhere in
Pai, and the log says so. A fingerprint stays when lines above it come and go: it is made of the rule, the path, the
offending text and which of several equal ones it is.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from reconciler import __version__
from reconciler.cli.findings import Findings, omitted_words
from reconciler.cli.output import print_json
from reconciler.core.diagnostics import Diagnostic, printable
from reconciler.manifests.rules import RULES, Rule

SHOWN_MAX = 5000
"""Results that GitHub's code scanning shows of one run."""
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "SRCROOT"
_NUMBER = {rule: number for number, rule in enumerate(RULES)}


def print_findings(findings: Findings) -> None:
    """Print the log: every rule, the findings, and a notification if there are more of them."""
    print_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(findings)]})


def _run(findings: Findings) -> dict[str, object]:
    top = findings.place.top
    root: dict[str, object] = {"description": {"text": "The top of the repository."}}
    if top:
        root = {"uri": f"{Path(top).as_uri().rstrip('/')}/", **root}
    invocation: dict[str, object] = {"executionSuccessful": True}
    if findings.omitted:
        told = {"level": "warning", "message": {"text": f"{omitted_words(findings.omitted)}."}}
        invocation["toolExecutionNotifications"] = [told]
    return {
        "tool": {"driver": {"name": "pai", "semanticVersion": __version__, "rules": list(map(_rule, RULES.values()))}},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: root},
        "results": list(_results(findings)),
    }


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.meaning},
        "help": {"text": rule.fix, "markdown": f"{rule.meaning}\n\n**{rule.fix}**"},
        "defaultConfiguration": {"level": rule.severity},
    }


def _results(findings: Findings) -> Iterator[dict[str, object]]:
    seen: Counter[tuple[str, str, str]] = Counter()
    for diagnostic in findings.shown:
        same = (diagnostic.rule, diagnostic.path, diagnostic.text)
        seen[same] += 1
        yield _result(diagnostic, f"{_digest(*same)}:{seen[same]}")


def _result(diagnostic: Diagnostic, fingerprint: str) -> dict[str, object]:
    region: dict[str, object] = {"startLine": diagnostic.line, "startColumn": diagnostic.column}
    if diagnostic.text:
        region["snippet"] = {"text": printable(diagnostic.text)}
    hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
    path = diagnostic.path
    # A path that is absolute lies outside of SRCROOT.
    place = {"uri": Path(path).as_uri()} if path.startswith("/") else {"uri": quote(path), "uriBaseId": ROOT}
    return {
        "ruleId": diagnostic.rule,
        "ruleIndex": _NUMBER[diagnostic.rule],
        "level": diagnostic.severity,
        "message": {"text": printable(f"{diagnostic.message}{hint}")},
        "locations": [{"physicalLocation": {"artifactLocation": place, "region": region}}],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint},
    }


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]
