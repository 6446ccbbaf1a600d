"""Two commits judged and laid side by side.

What takes long is judging 10,000 files that both commits have. So they are compared by their trees first, and a file
that both have is only glanced at: if every one of them is certainly valid, and names and references hold on both sides,
both commits are what the changed files say. Whatever is in doubt, one file or the whole, is judged in full.

Invariant: `compare` says what judging both commits in full would say (`in_full`), however it came to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from reconciler import quick
from reconciler.core.diagnostics import Diagnostic, has_errors
from reconciler.core.objects import AgentSpec, Kind, Placed
from reconciler.manifests import judging
from reconciler.manifests.facts import Facts
from reconciler.manifests.ignore import IGNORE_FILE, IgnoreRefused, IgnoreRules
from reconciler.manifests.plain import BYTES_MAX, Glimpse, glance
from reconciler.manifests.reading import SUFFIXES, size_of, wrong_path
from reconciler.source.git import Repository, TreeEntry
from reconciler.source.tree_walk import TreeRefused
from reconciler.verdict import Judge

Key = tuple[Kind, str]
FILES_MAX = 100_000
PARTS_MAX = 500_000
SIZE_MAX = judging.SIZE_MAX // 2
"""Files, objects with their references, and bytes of common or own ones, up to which no limit of a whole revision can
have been reached."""


class Side(NamedTuple):
    """One commit. `objects` are those of files that the other does not have alike or sound, by kind and name.

    `own` are the objects that it has beside those that are common to both. `diagnostics`: every error, and the warnings
    of the changed files.
    """

    commit: str
    objects: Mapping[Key, Placed]
    own: Sequence[Glimpse]
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def accepted(self) -> bool:
        """Tell whether the commit may come into force."""
        return not has_errors(self.diagnostics)


class Comparison(NamedTuple):
    """Both sides, the paths that differ between them anywhere in the repository, and objects that both have.

    `unjudged`: files of the head that are no longer judged since the ignore file changed; `judged`: those that now are.
    """

    base: Side
    head: Side
    paths: tuple[str, ...]
    common: Sequence[Glimpse] = ()
    unjudged: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()


def compare(repository: Repository, path: str, base: str, head: str) -> Comparison:
    """Compare two commits below the source path `path`. Raises SourceUnavailable."""
    judge = Judge(repository, path)
    found = None
    try:
        for sha in (base, head):
            repository.require_folder(sha, path)
        found = None if quick.PLAIN else _by_what_differs(judge, path, base, head)
    except (TreeRefused, IgnoreRefused):
        pass  # judging in full says what is wrong, and where
    return found or in_full(repository, path, base, head)


def in_full(repository: Repository, path: str, base: str, head: str) -> Comparison:
    """Compare two commits by judging each as the hook would."""
    judge = Judge(repository, path)
    before = judge.commit(base)
    after = judge.commit(head)
    guarded = judge.guarded(after, head, before.objects.keys(), base) if before.accepted else after
    paths = _paths(repository, base, head)
    unjudged, judged = _ignored(judge, path, base, head)
    changed = {*paths, *map(judge.full, (*unjudged, *judged))}
    changed |= {d.path for d in before.diagnostics if d.severity == "error"}  # files of which nothing was in force
    if not before.accepted and not before.objects:
        changed |= {placed.path for placed in guarded.objects.values()}
    sides = [
        Side(
            sha,
            {key: placed for key, placed in verdict.objects.items() if placed.path in changed},
            [Glimpse(p.manifest.kind, p.manifest.name, p.manifest.spec) for p in verdict.objects.values()],
            tuple(d for d in verdict.diagnostics if d.severity == "error" or d.path in changed),
        )
        for sha, verdict in ((base, before), (head, guarded))
    ]
    return Comparison(sides[0], sides[1], paths, (), unjudged, judged)


def _paths(repository: Repository, base: str, head: str) -> tuple[str, ...]:
    try:
        return tuple(path for path, _ in repository.changes(base, head))
    except TreeRefused:
        return ()  # the verdict says so


def _by_what_differs(judge: Judge, path: str, base: str, head: str) -> Comparison | None:
    """Compare by what differs; None if anything else than the changed files might have a say."""
    repository = judge.repository
    new = dict(repository.changes(base, head, path))
    if IGNORE_FILE in new:
        return None
    old = dict(repository.changes(head, base, path))
    entries = list(repository.entries(head, path))
    if len(entries) + len(old) > FILES_MAX:
        return None
    ignore = next((e.oid for e in entries if e.path == IGNORE_FILE and e.kind == "file"), "")
    rules = judge.rules(ignore)
    found = _unchanged(judge, (entry for entry in entries if entry.path not in new), rules)
    common = None if found is None else _Common.of(found)
    if common is None:
        return None
    before, after = (_side(judge, sha, files, rules, common) for sha, files in ((base, old), (head, new)))
    if before is None or after is None:
        return None
    gone = {(g.kind, g.name) for g in before.own} - {(g.kind, g.name) for g in after.own}
    if 2 * len(gone) > len(common.objects) + len(before.own):
        return None  # many deletions need a trailer
    return Comparison(before, after, _paths(repository, base, head), common.objects)


class _Common(NamedTuple):
    """The objects of files that both commits have: their names, and the bindings that agents miss among them."""

    objects: Sequence[Glimpse]
    names: Set[Key]
    missing: Set[str]

    @classmethod
    def of(cls, objects: Sequence[Glimpse]) -> _Common | None:
        """Put them together; None if a name is used twice, or if limits of a whole revision may have been reached."""
        names = {(glimpse.kind, glimpse.name) for glimpse in objects}
        named = [name for glimpse in objects if glimpse.kind == "agent" for name in references(glimpse)]
        if len(names) != len(objects) or len(names) + len(named) > PARTS_MAX:
            return None
        return cls(objects, names, {name for name in named if ("model", name) not in names})

    def holds_with(self, own: Sequence[Glimpse]) -> bool:
        """Tell whether these and one side's own use no name twice and name no binding that is not there."""
        names = {(glimpse.kind, glimpse.name) for glimpse in own}
        if len(names) != len(own) or not names.isdisjoint(self.names) or len(own) > PARTS_MAX:
            return False
        if any(("model", name) not in names for name in self.missing):
            return False
        named = (("model", name) for glimpse in own for name in references(glimpse))
        return all(key in names or key in self.names for key in named)


def _unchanged(judge: Judge, entries: Iterable[TreeEntry], rules: IgnoreRules) -> list[Glimpse] | None:
    """Glance at the files that both commits have; None if one of them may be wrong."""
    found: list[Glimpse] = []
    taken = 0
    size, blob = judge.repository.size, judge.repository.blob
    for entry in entries:
        if entry.kind == "file" and not entry.path.endswith(SUFFIXES):
            continue
        if rules.skips(entry.path):
            continue
        if entry.kind != "file" or wrong_path(entry.path):
            return None
        data = blob(entry.oid) if size(entry.oid) <= BYTES_MAX else None
        glimpses = None if data is None else glance(data)
        facts = None
        if glimpses is None:
            facts = judge.facts(entry, rules, {})
            if facts is None or _has_errors(facts):
                return None
            glimpses = _glimpses(facts)
        taken += facts.size if facts else size_of(data or b"")
        if taken > SIZE_MAX:
            return None
        found += glimpses
    return found


def _side(
    judge: Judge, sha: str, files: Mapping[str, TreeEntry | None], rules: IgnoreRules, common: _Common
) -> Side | None:
    """Read one side's changed files, and judge it together with what both have; None if it would be refused."""
    objects: dict[Key, Placed] = {}
    diagnostics: list[Diagnostic] = []
    own: list[Glimpse] = []
    taken = 0
    for path, entry in sorted(files.items()):
        facts = None if entry is None else judge.facts(entry, rules, {})
        if facts is None:
            continue
        if _has_errors(facts):
            return None
        taken += facts.size
        place = judge.full(path)
        diagnostics += [problem.at(place) for problem in facts.problems]
        objects.update({(m.kind, m.name): Placed(place, m) for m in facts.manifests})
        own += _glimpses(facts)
    if taken > SIZE_MAX or not common.holds_with(own):
        return None
    return Side(sha, objects, own, tuple(sorted(diagnostics)))


def references(glimpse: Glimpse) -> Iterator[str]:
    """Name the bindings that an agent lists."""
    if glimpse.kind == "agent":
        yield from AgentSpec.of(glimpse.spec).model_bindings


def _glimpses(facts: Facts) -> list[Glimpse]:
    return [Glimpse(m.kind, m.name, m.spec) for m in facts.manifests]


def _has_errors(facts: Facts) -> bool:
    return bool(facts.omitted or facts.named or any(p.severity == "error" for p in facts.problems))


def _ignored(judge: Judge, path: str, base: str, head: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the files of the head that only the old ignore file, or only the new one, lets be judged."""
    repository = judge.repository
    try:
        if not any(name == IGNORE_FILE for name, _ in repository.changes(base, head, path)):
            return (), ()
        before, after = (
            judge.rules(next((e.oid for e in repository.entries(sha, path) if e.path == IGNORE_FILE), ""))
            for sha in (base, head)
        )
        entries = [e for e in repository.entries(head, path) if e.kind != "file" or e.path.endswith(SUFFIXES)]
        skipped = [(e.path, before.skips(e.path), after.skips(e.path)) for e in entries]
    except (TreeRefused, IgnoreRefused):
        return (), ()  # the verdict says so
    return tuple(p for p, old, new in skipped if new and not old), tuple(
        p for p, old, new in skipped if old and not new
    )
