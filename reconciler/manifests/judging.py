"""The rules of a whole revision: names defined twice, bindings that do not exist, too many deletions.

Pure: from the facts of every file to one Verdict, however the facts came about and in whatever order they are given.
This runs over every file at every push, so the usual path does nothing twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from reconciler.core.diagnostics import Diagnostic, has_errors, printable
from reconciler.core.objects import MANIFEST_OF_KIND, Kind, Placed, Reference
from reconciler.manifests import rules
from reconciler.manifests.facts import Facts, Problem

PROBLEMS_MAX = 1000
_GUARDED_MIN = 4
_SUGGESTIONS_MAX = 20
_Key = tuple[Kind, str]


class Verdict(NamedTuple):
    """What a revision means: its objects in order of path, and every problem, sorted."""

    objects: dict[tuple[Kind, str], Placed]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def accepted(self) -> bool:
        """Tell whether the revision may come into force; warnings do not prevent that."""
        return not has_errors(self.diagnostics)


def judge(files: Mapping[str, Facts]) -> Verdict:
    """Judge a revision, given the facts of each of its files by path."""
    objects: dict[_Key, Placed] = {}
    broken: set[_Key] = set()
    references: list[tuple[str, Reference]] = []
    problems: dict[str, list[Problem]] = {}
    count = 0
    for path in sorted(files):
        facts = files[path]
        for manifest in facts.manifests:
            placed = Placed(path, manifest)
            objects.setdefault((manifest.kind, manifest.name), placed)
            count += 1
            if manifest.references:
                references += [(path, reference) for reference in manifest.references]
        if facts.named:
            for name in facts.named:
                broken.add((name.kind, name.name))
                references += [(path, reference) for reference in name.references]
        if facts.problems:
            problems[path] = list(facts.problems)
    if count != len(objects) or broken:
        _same_names(files, problems)
    for path, reference in references:
        if (key := ("model", reference.name)) not in objects and key not in broken:
            place = reference.line, reference.column
            problem = Problem(*place, "error", rules.NO_BINDING, "", text=reference.name)
            problems.setdefault(path, []).append(problem)
    if not problems:
        return Verdict(objects, ())
    return Verdict(
        objects, _diagnostics(files, problems, [name for kind, name in (*objects, *broken) if kind == "model"])
    )


def _same_names(files: Mapping[str, Facts], problems: dict[str, list[Problem]]) -> None:
    """Find the second and later definitions, in order of path and line, broken documents included."""
    first: dict[_Key, tuple[str, int]] = {}
    for path in sorted(files):
        facts = files[path]
        places = [(m.name_line, m.name_column, m.kind, m.name) for m in facts.manifests]
        places += [(n.line, n.column, n.kind, n.name) for n in facts.named if n.line]
        for line, column, kind, name in sorted(places):
            known = first.setdefault((kind, name), (path, line))
            if known == (path, line):
                continue
            message = f"{MANIFEST_OF_KIND[kind]} {name} is already defined at {printable(known[0])}:{known[1]}"
            problem = Problem(line, column, "error", rules.SAME_NAME, message, "rename or remove one of the two", name)
            problems.setdefault(path, []).append(problem)


def _diagnostics(
    files: Mapping[str, Facts], problems: dict[str, list[Problem]], models: list[str]
) -> tuple[Diagnostic, ...]:
    hints: dict[str, str] = {}
    listed: list[Diagnostic] = []
    for path, of_path in problems.items():
        shown = printable(path)
        of_path.sort(key=lambda p: (p.line, p.column, p.rule))
        for problem in of_path[:PROBLEMS_MAX]:
            if problem.rule == rules.NO_BINDING:
                listed.append(_no_binding(problem, models, hints).at(shown))
            else:
                listed.append(problem.at(shown))
        more = files[path].omitted + max(0, len(of_path) - PROBLEMS_MAX)
        if more:
            last = of_path[min(len(of_path), PROBLEMS_MAX) - 1]
            message = f"{more:,} more problems in this file are not listed"
            listed.append(Diagnostic(shown, last.line, last.column, "error", rules.MORE_PROBLEMS, message))
    return tuple(sorted(listed))


def _no_binding(problem: Problem, models: list[str], hints: dict[str, str]) -> Problem:
    name = problem.text
    if name not in hints:
        from reconciler.manifests.schema import closest

        close = closest(name, models) if len(hints) < _SUGGESTIONS_MAX else None
        hints[name] = f"did you mean {close}?" if close else "add the binding, or take it off the list"
    message = f"there is no ModelBinding {name}"
    return Problem(problem.line, problem.column, "error", problem.rule, message, hints[name], name)


def deletion_problem(present: Collection[_Key], wanted: Collection[_Key], allowed: bool) -> Diagnostic | None:
    """Give the problem of a revision that deletes more than half of at least four objects, unless that is `allowed`."""
    if allowed or len(present) < _GUARDED_MIN:
        return None
    deleted = len(set(present) - set(wanted))
    if deleted * 2 <= len(present):
        return None
    message = f"the revision deletes {deleted} of {len(present)} objects"
    hint = "if that is meant, put the trailer `Pai-Allow-Deletions: yes` into the commit message"
    return Diagnostic(".", 1, 1, "error", rules.MASS_DELETION, message, hint)
