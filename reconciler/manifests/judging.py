"""The rules of a whole revision: names defined twice, bindings that do not exist, too many deletions.

Pure: from the facts of every file to one Verdict, however the facts came about and in whatever order they are given.
This runs over every file at every push, so the usual path does nothing twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from operator import itemgetter
from typing import NamedTuple

from reconciler.core.diagnostics import Diagnostic, has_errors, printable
from reconciler.core.errors import PaiError
from reconciler.core.objects import MANIFEST_OF_KIND, Kind, Placed, Reference
from reconciler.core.text import cut
from reconciler.manifests import rules
from reconciler.manifests.facts import PROBLEMS_MAX, Facts, Problem, most_severe

LISTED_MAX = 50_000
"""The most problems of a revision that are listed; the rest is counted."""
LISTED_CHARACTERS_MAX = 16 * 1024 * 1024
"""The most characters of all listed problems, paths included: a path may have 4,096 and stand in many of them."""
COUNTED_FILES_MAX = 1000
"""The most files that get a count of unlisted problems of their own; those of further files are counted together."""
FILES_MAX = 200_000
"""The most manifests of a revision, counting links that stand in place of one."""
PARTS_MAX = 1_000_000
"""The most objects, references and problems, counted at every path: a small push can put one file at many paths."""
SIZE_MAX = 128 * 1024 * 1024
"""The most memory in bytes that a revision's objects may take by `Facts.size`: 75,000 usual ones.

A push of a few kilobytes can hold a thousand files of 1 MiB, or aliases that expand to as much.
"""
RECORDED_MAX = 16 * 1024 * 1024
"""The most bytes that the log has of a revision's objects if it changes all: spec, labels, annotations and paths.

One letter changed in each is a push of a few kilobytes, and what they said before is recorded as well. 75,000 usual
objects have room.
"""
_PLACE_MAX = 200
"""The most characters of a path that a message names."""
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
    if len(files) > FILES_MAX:
        return Verdict({}, (too_many_files("."),))
    objects: dict[_Key, Placed] = {}
    broken: set[_Key] = set()
    references: list[tuple[str, tuple[Reference, ...]]] = []
    wrong = _Wrong()
    count = broken_count = referred = size = 0
    for path in sorted(files):
        facts = files[path]
        for manifest in facts.manifests:
            placed = Placed(path, manifest)
            objects.setdefault((manifest.kind, manifest.name), placed)
            count += 1
            if manifest.references:
                references.append((path, manifest.references))
                referred += len(manifest.references)
        if facts.named:
            for name in facts.named:
                broken.add((name.kind, name.name))
                references.append((path, name.references))
                referred += len(name.references)
        if facts.problems:
            wrong.paths.add(path)
            broken_count += len(facts.problems) + len(facts.named)
        size += facts.size
        if count + broken_count + referred > PARTS_MAX:
            return Verdict({}, (_too_much(path),))
        if size > SIZE_MAX:
            return Verdict({}, (too_large("."),))
    if count != len(objects) or broken:
        _same_names(files, wrong)
    _no_bindings(references, objects.keys() | broken if broken else objects.keys(), wrong)
    diagnostics = _diagnostics(files, wrong, (*objects, *broken)) if wrong.paths else ()
    if recorded_by(files) > RECORDED_MAX and not has_errors(diagnostics):
        diagnostics = tuple(sorted((*diagnostics, _says_too_much(files))))
    return Verdict(objects, diagnostics)


class _Wrong:
    """Which files have problems, and those that lie between files: as many as can be listed, the others counted."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.problems: dict[str, list[Problem]] = {}
        self.more: dict[str, int] = {}
        self._room = LISTED_MAX

    def add(self, path: str, problem: Problem) -> None:
        """Add an error in the file at `path`."""
        self.paths.add(path)
        if self._room:
            self._room -= 1
            self.problems.setdefault(path, []).append(problem)
        else:
            self.more[path] = self.more.get(path, 0) + 1


def _same_names(files: Mapping[str, Facts], wrong: _Wrong) -> None:
    """Find the second and later definitions, in order of path and line, broken documents included."""
    first: dict[_Key, tuple[str, int, int]] = {}
    for path in sorted(files):
        facts = files[path]
        places = [(m.name_line, m.name_column, m.kind, m.name) for m in facts.manifests]
        places += [(n.line, n.column, n.kind, n.name) for n in facts.named if n.line]
        for line, column, kind, name in sorted(places):
            known = first.setdefault((kind, name), (path, line, column))
            if known == (path, line, column):
                continue
            message = f"{MANIFEST_OF_KIND[kind]} {cut(name)} is already defined at {_place(*known)}"
            hint = "rename or remove one of the two"
            wrong.add(path, Problem(line, column, "error", rules.SAME_NAME, message, hint, cut(name)))


def _place(path: str, line: int, column: int) -> str:
    """Name a place in a message; of a long path its end says most."""
    shown = printable(path[-_PLACE_MAX:])
    return f"{'…' * (len(path) > _PLACE_MAX)}{shown}:{line}:{column}"


def _no_bindings(references: list[tuple[str, tuple[Reference, ...]]], known: Set[_Key], wrong: _Wrong) -> None:
    """Find references to bindings that nobody defines."""
    for path, several in references:
        for reference in several:
            if ("model", reference.name) not in known:
                place = reference.line, reference.column
                wrong.add(path, Problem(*place, "error", rules.NO_BINDING, "", text=reference.name))


def _diagnostics(files: Mapping[str, Facts], wrong: _Wrong, known: Collection[_Key]) -> tuple[Diagnostic, ...]:
    """List what is wrong: what each file says of itself, and what `wrong` adds to it; `known` are all objects."""
    models = [name for kind, name in known if kind == "model"]
    hints: dict[str, str] = {}
    listing = _Listing()
    for path in sorted(wrong.paths):
        facts, between = files[path], wrong.problems.get(path, [])
        of_path = [*facts.problems, *between] if between else facts.problems
        kept = most_severe(of_path, min(PROBLEMS_MAX, listing.room)) if listing.room else []
        shown = printable(path)
        for problem in kept:
            whole = _no_binding(problem, models, hints) if problem.rule == rules.NO_BINDING else problem
            listing.add(whole.at(shown))
        beyond = wrong.more.get(path, 0)
        if more := facts.omitted + len(of_path) - len(kept) + beyond:
            # A file's facts leave out a warning before an error, so while they list one, no error is left out.
            hidden = facts.omitted > 0 and _errors(facts.problems) == len(facts.problems)
            severe = hidden or beyond > 0 or _errors(of_path) > _errors(kept)
            listing.count(shown, (kept[-1].line, kept[-1].column) if kept else (1, 1), more, severe=severe)
    return listing.all()


class _Listing:
    """Diagnostics in order of path, within the bounds of what is listed; the rest is counted."""

    def __init__(self) -> None:
        self._listed: list[Diagnostic] = []
        self._characters = LISTED_CHARACTERS_MAX
        self._counted = 0
        self._rest: list[tuple[str, int, bool]] = []
        self._problems = 0

    @property
    def room(self) -> int:
        """How many more may be listed."""
        return max(0, LISTED_MAX - self._problems) if self._characters > 0 else 0

    def add(self, diagnostic: Diagnostic) -> None:
        """List one problem."""
        d = diagnostic
        self._characters -= len(d.path) + len(d.message) + len(d.hint) + len(d.text)
        self._problems += 1
        self._listed.append(d)

    def count(self, path: str, place: tuple[int, int], problems: int, *, severe: bool) -> None:
        """Count problems of a file that are not listed; `severe` if there is an error among them."""
        if self._counted == COUNTED_FILES_MAX:
            self._rest.append((path, problems, severe))
            return
        self._counted += 1
        self._more(path, place, f"{problems:,} more {{}} in this file are not listed", severe=severe)

    def _more(self, path: str, place: tuple[int, int], message: str, *, severe: bool) -> None:
        rule, what = (rules.MORE_PROBLEMS, "problems") if severe else (rules.MORE_WARNINGS, "warnings")
        said = message.format(what)
        self._listed.append(
            Diagnostic(path, *place, rules.RULES[rule].severity, rule, said, rules.usual_fix(rule), path)
        )

    def all(self) -> tuple[Diagnostic, ...]:
        """Give everything, sorted."""
        if self._rest:
            paths, problems, severe = zip(*self._rest, strict=True)
            message = f"{sum(problems):,} more {{}} in {len(paths):,} files from here on are not listed"
            self._more(paths[0], (1, 1), message, severe=any(severe))
        return tuple(sorted(self._listed))


def _errors(problems: Collection[Problem]) -> int:
    return sum(problem.severity == "error" for problem in problems)


def too_many_files(path: str) -> Diagnostic:
    """Give the problem of a revision that holds too many manifests to be read."""
    message = f"the revision holds more than {FILES_MAX:,} manifests"
    return Diagnostic(path, 1, 1, "error", rules.TREE, message, _TREE_HINT, path)


def _too_much(path: str) -> Diagnostic:
    message = f"the revision holds more than {PARTS_MAX:,} objects, references and problems together"
    return Diagnostic(printable(path), 1, 1, "error", rules.TREE, message, _TREE_HINT, printable(path))


def too_large(path: str) -> Diagnostic:
    """Give the problem of a revision whose objects would take too much memory."""
    message = f"the revision's objects take more than {SIZE_MAX:,} bytes, aliases written out"
    return Diagnostic(path, 1, 1, "error", rules.TREE, message, _TREE_HINT, path)


def recorded_by(files: Mapping[str, Facts]) -> int:
    """Tell what the log has of a revision's objects if it changes all, in bytes; every event has its object's path."""
    return sum(
        facts.recorded + len(path.encode(errors="replace")) * len(facts.manifests) for path, facts in files.items()
    )


def _says_too_much(files: Mapping[str, Facts]) -> Diagnostic:
    """Give the problem of a revision that would take too much of the log, at the file that takes most."""
    path, most = max(((path, recorded_by({path: facts})) for path, facts in sorted(files.items())), key=itemgetter(1))
    message = (
        f"the revision's objects say more than {RECORDED_MAX:,} bytes in spec, labels, annotations and paths, which"
        f" the log keeps of every change; this file says {most:,} of them"
    )
    hint = "shorten their annotations, or split the repository"
    return Diagnostic(printable(path), 1, 1, "error", rules.TREE, message, hint, printable(path))


def unreadable(path: str, error: PaiError) -> Diagnostic:
    """Give the problem of a revision whose tree cannot be read."""
    return Diagnostic(path, 1, 1, "error", rules.TREE, error.message, error.hint or _TREE_HINT, path)


_TREE_HINT = "point source.path at the folder of the manifests, or split the repository"


def _no_binding(problem: Problem, models: list[str], hints: dict[str, str]) -> Problem:
    name = problem.text
    if name not in hints:
        from reconciler.manifests.schema import closest

        close = closest(name, models) if len(hints) < _SUGGESTIONS_MAX else None
        hints[name] = f"did you mean {close}?" if close else "add the binding, or take it off the list"
    message = f"there is no ModelBinding {cut(name)}"
    return Problem(problem.line, problem.column, "error", problem.rule, message, hints[name], cut(name))


def deletion_problem(present: Collection[_Key], wanted: Collection[_Key], allowed: bool) -> Diagnostic | None:
    """Give the problem of a revision that deletes more than half of at least four objects, unless that is `allowed`."""
    if allowed or len(present) < _GUARDED_MIN:
        return None
    deleted = len(set(present) - set(wanted))
    if deleted * 2 <= len(present):
        return None
    message = f"the revision deletes {deleted} of {len(present)} objects"
    hint = "if that is meant, put the trailer `Pai-Allow-Deletions: yes` into the commit message"
    return Diagnostic(".", 1, 1, "error", rules.MASS_DELETION, message, hint, f"{deleted} of {len(present)} objects")
