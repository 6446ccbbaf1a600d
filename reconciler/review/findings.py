"""What a comparison means: objects and fields that change, agents concerned, budgets before and after, what to heed.

Pure. Objects in files that the head has broken are left out and counted: nobody knows what becomes of them. What the
base has broken was not in force, so what the head has in its place counts as created: nothing of the head is left out.
An object counts as moved if its path changes and nothing else; another line in the same file is no change at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from reconciler.core.diagnostics import Diagnostic
from reconciler.core.objects import DAY_LIMIT, MANIFEST_OF_KIND, AgentSpec, BindingSpec, Kind, Manifest, Placed
from reconciler.core.plan import differences
from reconciler.core.rehearsal import Rehearsal
from reconciler.core.text import counted
from reconciler.manifests.ignore import IGNORE_FILE
from reconciler.manifests.plain import Glimpse
from reconciler.review.compare import Comparison, Key, Side, references

DAYS_A_YEAR = 365
_CI_FILES = re.compile(
    r"""\.(?:github|gitea|forgejo)/(?:workflows|actions)/.+
      | (?:.+/)?\.gitlab-ci\.ya?ml | \.gitlab/ci/.+ | \.woodpecker(?:/.+|\.ya?ml) | \.drone\.yml | \.circleci/.+
      | bitbucket-pipelines\.yml | azure-pipelines\.yml | Jenkinsfile | \.ci/.+
      | \.pre-commit-config\.yaml | (?:\.(?:github|gitlab|gitea|forgejo)/|docs/)?CODEOWNERS""",
    re.VERBOSE,
)


class Field(NamedTuple):
    """A field that differs, with both values; None is none. `line` is where the side that has it says so."""

    field: str
    old: object
    new: object
    line: int


class ObjectChange(NamedTuple):
    """What becomes of one object.

    `path`, `line`: where it is defined, after the change if it is still there. `was`: where it was before, if that is
    another file. `like`: a deleted object of another name with the very same content, for a created one. `unjudged`:
    its file is still there, but no longer judged.
    """

    kind: Kind
    name: str
    change: Literal["created", "changed", "deleted", "moved"]
    path: str
    line: int
    fields: tuple[Field, ...] = ()
    was: str = ""
    like: str = ""
    unjudged: bool = False

    def as_json(self) -> dict[str, object]:
        """Give the object that `pai diff -o json` prints."""
        fields = [{"field": field.field, "old": field.old, "new": field.new} for field in self.fields]
        return {
            "kind": MANIFEST_OF_KIND[self.kind],
            "name": self.name,
            "change": self.change,
            "path": self.path,
            "line": self.line,
            "fields": fields,
        }


class Sum(NamedTuple):
    """The daily limits of one provider's bindings: their sum in tokens, and how many bindings have none."""

    tokens: int = 0
    unlimited: int = 0


class ProviderBudget(NamedTuple):
    """One provider's sums."""

    provider: str
    before: Sum
    after: Sum


class Affected(NamedTuple):
    """An agent, and those of its bindings that change, in its own order."""

    agent: str
    bindings: tuple[str, ...]


class Review(NamedTuple):
    """Everything there is to say about a change. `problems` are the head's, `notices` sentences to heed.

    `rehearsals`: what last week's requests would have met under the proposed limits, if there is a log to ask.
    """

    base: str
    head: str
    changes: tuple[ObjectChange, ...]
    agents: tuple[Affected, ...]
    budgets: tuple[ProviderBudget, ...]
    notices: tuple[str, ...]
    problems: tuple[Diagnostic, ...]
    rehearsals: tuple[Rehearsal, ...] = ()

    @property
    def limits(self) -> list[tuple[str, int]]:
        """Give the bindings that get another daily limit, with that limit in tokens."""
        return [
            (change.name, field.new)
            for change in self.changes
            for field in change.fields
            if change.kind == "model" and field.field == DAY_LIMIT and isinstance(field.new, int)
        ]

    @property
    def refused(self) -> bool:
        """Tell whether the head would be refused."""
        return any(problem.severity == "error" for problem in self.problems)


def review(comparison: Comparison) -> Review:
    """Say what a comparison means."""
    base, head = comparison.base, comparison.head
    found, left_out = _changes(comparison)
    return Review(
        base.commit,
        head.commit,
        tuple(found),
        tuple(_affected(found, [*comparison.common, *head.own])),
        tuple(_budgets(comparison)),
        tuple(_notices(comparison, left_out)),
        head.diagnostics,
    )


def _changes(comparison: Comparison) -> tuple[list[ObjectChange], int]:
    """Give what becomes of each object, models first, by name, and how many are left out."""
    base, head = comparison.base, comparison.head
    broken_before, broken_after = _broken(base), _broken(head)
    found: list[ObjectChange] = []
    left_out = 0
    for key in sorted(base.objects.keys() | head.objects.keys(), key=lambda key: (key[0] != "model", key[1])):
        old, new = base.objects.get(key), head.objects.get(key)
        if new and old and old.path in broken_before:
            old = None  # nothing of a broken file was in force
        if new is None and old and old.path in broken_after:
            left_out += 1
        elif change := _change(key, old, new):
            unjudged = change.change == "deleted" and change.path in comparison.unjudged
            found.append(change._replace(unjudged=unjudged))
    return _renamed(found, base, head), left_out


def _broken(side: Side) -> frozenset[str]:
    return frozenset(d.path for d in side.diagnostics if d.severity == "error")


def _change(key: Key, old: Placed | None, new: Placed | None) -> ObjectChange | None:
    there = new or old
    assert there is not None
    fields = tuple(
        Field(field, before, after, _line(field, there.manifest))
        for field, before, after in differences(old and old.manifest, new and new.manifest)
    )
    was = f"{old.path}:{old.manifest.line}" if old and new and old.path != new.path else ""
    change: Literal["created", "changed", "deleted", "moved"] = "changed"
    if old is None or new is None:
        change = "created" if old is None else "deleted"
    elif not fields:
        if not was:
            return None
        change = "moved"
    return ObjectChange(*key, change, there.path, there.manifest.line, fields, was)


def _line(field: str, manifest: Manifest) -> int:
    """Find the line of a field: fields of `spec` know theirs, what is inside them is near."""
    while field:
        if field in manifest.lines:
            return manifest.lines[field]
        field = field.rpartition(".")[0]
    return manifest.line


def _renamed(changes: list[ObjectChange], base: Side, head: Side) -> list[ObjectChange]:
    """Note for what is new that it is what was deleted under another name."""
    gone = [c for c in changes if c.change == "deleted"]
    result: list[ObjectChange] = []
    for change in changes:
        if change.change == "created":
            new = head.objects[change.kind, change.name].manifest
            for old in gone:
                if old.kind == change.kind and not differences(base.objects[old.kind, old.name].manifest, new):
                    gone.remove(old)
                    change = change._replace(like=old.name)
                    break
        result.append(change)
    return result


def _affected(changes: Sequence[ObjectChange], proposed: Sequence[Glimpse]) -> Iterator[Affected]:
    touched = {change.name for change in changes if change.kind == "model" and _matters(change)}
    if touched:
        for glimpse in sorted((g for g in proposed if g.kind == "agent"), key=lambda glimpse: glimpse.name):
            named = tuple(name for name in references(glimpse) if name in touched)
            if named:
                yield Affected(glimpse.name, named)


def _matters(change: ObjectChange) -> bool:
    """Tell whether whoever uses the binding would notice."""
    return any(is_read(field, change.kind) for field in change.fields)


def is_read(field: Field, kind: Kind) -> bool:
    """Tell whether Pai goes by a field. Of an agent that is its list of bindings: all else is kept untouched."""
    if field.field.startswith(("metadata.labels.", "metadata.annotations.")):
        return field.field.startswith("metadata.annotations.pai.io/")
    return kind == "model" or field.field in AgentSpec.__struct_encode_fields__


def _budgets(comparison: Comparison) -> Iterator[ProviderBudget]:
    common = _sums({}, comparison.common)
    before, after = (_sums(common, side.own) for side in (comparison.base, comparison.head))
    for provider in sorted(before.keys() | after.keys()):
        yield ProviderBudget(provider, before.get(provider, Sum()), after.get(provider, Sum()))


def _sums(start: Mapping[str, Sum], glimpses: Sequence[Glimpse]) -> dict[str, Sum]:
    sums = dict(start)
    for glimpse in glimpses:
        if glimpse.kind == "model":
            spec = BindingSpec.of(glimpse.spec)
            tokens, unlimited = sums.get(spec.provider, Sum())
            limit = spec.max_tokens_per_day
            sums[spec.provider] = Sum(tokens, unlimited + 1) if limit is None else Sum(tokens + limit, unlimited)
    return sums


def _notices(comparison: Comparison, left_out: int) -> Iterator[str]:
    base = comparison.base
    for path in comparison.paths:
        if path.rpartition("/")[2] == IGNORE_FILE:
            yield f"This change edits {path}.{_judged(comparison)}"
    if edited := [path for path in comparison.paths if _CI_FILES.fullmatch(path)]:
        names = _named(edited)
        yield f"This change edits {names}: what checks changes, or who must approve them, is itself changed."
    if not base.accepted:
        problems = counted(sum(d.severity == "error" for d in base.diagnostics), "problem")
        told = "what can be read of it is compared; what the head has in files that it has broken counts as created"
        yield f"The base {base.commit[:7]} would itself be refused ({problems}): {told}."
    if left_out:
        yield f"{counted(left_out, 'object')} in files that the head has broken left out."


def _judged(comparison: Comparison) -> str:
    said = ""
    for paths, verb in ((comparison.unjudged, "no longer"), (comparison.judged, "now")):
        if paths:
            said += (
                f" {counted(len(paths), 'file')} {'are' if len(paths) != 1 else 'is'} {verb} judged: {_named(paths)}."
            )
    return said or " The same files are judged as before."


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED_MAX:,} more" if len(paths) > _NAMED_MAX else ""
    return ", ".join(paths[:_NAMED_MAX]) + more


_NAMED_MAX = 5
