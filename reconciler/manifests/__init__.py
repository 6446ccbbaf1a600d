"""Manifests: bytes to objects with places, the schema, the rules of a whole revision, and writing back.

Importing this package is cheap; YAML, JSON Schema and gitignore machinery are imported when first used. It does no I/O
of its own except for reading the schema files that belong to the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.manifests.facts import VERSION, Entry, Facts, Problem, dump_facts, load_facts
from reconciler.manifests.ignore import IgnoreRefused, IgnoreRules
from reconciler.manifests.inline_keys import redact, redact_beginning
from reconciler.manifests.judging import Verdict, deletion_problem, judge
from reconciler.manifests.reading import facts_of, read_manifests
from reconciler.manifests.rules import RULES, Rule, rules_document

if TYPE_CHECKING:
    from reconciler.manifests.edit import append_document, delete_document, load_documents, replace_document
    from reconciler.manifests.emit import render
    from reconciler.manifests.given import Given, GivenDocument, read_given

__all__ = [
    "RULES",
    "VERSION",
    "Entry",
    "Facts",
    "Given",
    "GivenDocument",
    "IgnoreRefused",
    "IgnoreRules",
    "Problem",
    "Rule",
    "Verdict",
    "append_document",
    "delete_document",
    "deletion_problem",
    "dump_facts",
    "facts_of",
    "judge",
    "load_documents",
    "load_facts",
    "read_given",
    "read_manifests",
    "redact",
    "redact_beginning",
    "render",
    "replace_document",
    "rules_document",
]

_LAZY = (
    {"render": "emit"}
    | dict.fromkeys(("Given", "GivenDocument", "read_given"), "given")
    | dict.fromkeys(("append_document", "delete_document", "load_documents", "replace_document"), "edit")
)


def __getattr__(name: str) -> object:
    """Import what writes YAML when it is first asked for: it brings the parser along."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
