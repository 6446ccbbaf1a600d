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
from reconciler.manifests.facts import Facts, Problem, most_severe

PROBLEMS_MAX = 1000
"""Problems of one file that are listed; the rest is counted."""
LISTED_MAX = 50_000
"""Problems of a revision that are listed; the rest is counted."""
PARTS_MAX = 1_000_000
"""Objects, references and problems of a revision, counted at every path: a small push can have one file at many."""
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
    count = broken_count = 0
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
            problems[path] = []
            broken_count += len(facts.problems) + len(facts.named)
        if count + broken_count + len(references) > PARTS_MAX:
            return Verdict({}, (_too_much(path),))
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
    files: Mapping[str, Facts], problems: Mapping[str, list[Problem]], models: list[str]
) -> tuple[Diagnostic, ...]:
    """List what is wrong: what each file says of itself, and what `problems` adds to it."""
    hints: dict[str, str] = {}
    listed: list[Diagnostic] = []
    for path in sorted(problems):
        shown, facts = printable(path), files[path]
        of_path = [*facts.problems, *problems[path]]
        kept = most_severe(of_path, min(PROBLEMS_MAX, max(0, LISTED_MAX - len(listed))))
        for problem in kept:
            if problem.rule == rules.NO_BINDING:
                listed.append(_no_binding(problem, models, hints).at(shown))
            else:
                listed.append(problem.at(shown))
        if more := facts.omitted + len(of_path) - len(kept):
            # A file's facts leave out a warning before an error, so while they list one, no error is left out.
            hidden = facts.omitted > 0 and _errors(facts.problems) == len(facts.problems)
            severe = hidden or _errors(of_path) > _errors(kept)
            rule, what = (rules.MORE_PROBLEMS, "problems") if severe else (rules.MORE_WARNINGS, "warnings")
            place = (kept[-1].line, kept[-1].column) if kept else (1, 1)
            message = f"{more:,} more {what} in this file are not listed"
            listed.append(Diagnostic(shown, *place, rules.RULES[rule].severity, rule, message))
    return tuple(sorted(listed))


def _errors(problems: Collection[Problem]) -> int:
    return sum(problem.severity == "error" for problem in problems)


def _too_much(path: str) -> Diagnostic:
    message = f"the revision holds more than {PARTS_MAX:,} objects, references and problems together"
    hint = "point source.path at the folder of the manifests, or split the repository"
    return Diagnostic(printable(path), 1, 1, "error", rules.TREE, message, hint)


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
